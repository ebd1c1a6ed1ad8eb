package tokenreview

import (
	"encoding/base64"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/meridiankds/meridian/federation"
)

// kubeconfig is a kubeconfig file, as much of it as says where the API server is
// and as whom to ask. Everything else in it is passed over.
type kubeconfig struct {
	CurrentContext string         `json:"current-context"`
	Contexts       []namedContext `json:"contexts"`
	Clusters       []namedCluster `json:"clusters"`
	Users          []namedUser    `json:"users"`
}

type namedContext struct {
	Name    string `json:"name"`
	Context struct {
		Cluster string `json:"cluster"`
		User    string `json:"user"`
	} `json:"context"`
}

type namedCluster struct {
	Name    string `json:"name"`
	Cluster struct {
		Server        string `json:"server"`
		ServerName    string `json:"tls-server-name"`
		CAFile        string `json:"certificate-authority"`
		CAData        string `json:"certificate-authority-data"`
		SkipTLSVerify bool   `json:"insecure-skip-tls-verify"`
		ProxyURL      string `json:"proxy-url"`
	} `json:"cluster"`
}

type namedUser struct {
	Name string `json:"name"`
	User struct {
		Token     string `json:"token"`
		TokenFile string `json:"tokenFile"`
		CertFile  string `json:"client-certificate"`
		CertData  string `json:"client-certificate-data"`
		KeyFile   string `json:"client-key"`
		KeyData   string `json:"client-key-data"`
		Exec      any    `json:"exec"`
		Provider  any    `json:"auth-provider"`
		Username  string `json:"username"`
	} `json:"user"`
}

// readKubeconfig reads the file, and the files that it names relative to itself.
func readKubeconfig(path string) (credentials, error) {
	data, err := readFile(path)
	if err != nil {
		return credentials{}, err
	}
	var k kubeconfig
	if err := yaml.Unmarshal(data, &k); err != nil {
		return credentials{}, bad(path, "it is not a kubeconfig in YAML")
	}
	return k.credentials(path)
}

// bad says what is wrong with a kubeconfig. The YAML library's account is left
// out: it may repeat a line with a token.
func bad(path, format string, args ...any) *federation.Error {
	e := federation.Errorf(federation.Invalid, format, args...)
	e.Detail = "the kubeconfig " + path + " cannot be used: " + e.Detail
	return e.WithHint("`kubectl config view` shows what it says; its current-context must name a cluster, and a user with a token or a certificate")
}

func (k kubeconfig) credentials(path string) (credentials, error) {
	var c credentials
	at, ok := find(k.Contexts, func(n namedContext) bool { return n.Name == k.CurrentContext })
	if !ok {
		return c, bad(path, "its current-context %.60q is not one of its contexts", k.CurrentContext)
	}
	cluster, ok := find(k.Clusters, func(n namedCluster) bool { return n.Name == at.Context.Cluster })
	if !ok {
		return c, bad(path, "the cluster %.60q is not in it", at.Context.Cluster)
	}
	user, ok := find(k.Users, func(n namedUser) bool { return n.Name == at.Context.User })
	if !ok {
		return c, bad(path, "the user %.60q is not in it", at.Context.User)
	}
	switch {
	case cluster.Cluster.SkipTLSVerify:
		return c, bad(path, "insecure-skip-tls-verify is set, and whoever answers would be believed")
	case cluster.Cluster.ProxyURL != "":
		return c, bad(path, "proxy-url is not supported, HTTPS_PROXY is")
	case user.User.Exec != nil || user.User.Provider != nil:
		return c, bad(path, "the user %.60q is authenticated by a program, which this zone does not run", user.Name)
	case user.User.Username != "":
		return c, bad(path, "the user %.60q is authenticated by a password, which Kubernetes has given up", user.Name)
	}
	dir := filepath.Dir(path)
	c.Server, c.ServerName = cluster.Cluster.Server, cluster.Cluster.ServerName
	for _, item := range []struct {
		into       *[]byte
		data, file string
		name       string
	}{
		{&c.CA, cluster.Cluster.CAData, cluster.Cluster.CAFile, "certificate-authority-data"},
		{&c.Cert, user.User.CertData, user.User.CertFile, "client-certificate-data"},
		{&c.Key, user.User.KeyData, user.User.KeyFile, "client-key-data"},
	} {
		text, err := inlineOrFile(dir, item.data, item.file)
		if err != nil {
			if federation.CodeOf(err) != federation.Internal {
				return c, err
			}
			return c, bad(path, "its %s is not base64", item.name)
		}
		*item.into = text
	}
	c.Token = user.User.Token
	if user.User.TokenFile != "" {
		token, err := readFile(absolute(dir, user.User.TokenFile))
		if err != nil {
			return c, err
		}
		c.Token = strings.TrimSpace(string(token))
	}
	return c, nil
}

func find[T any](list []T, match func(T) bool) (T, bool) {
	for _, item := range list {
		if match(item) {
			return item, true
		}
	}
	var none T
	return none, false
}

// inlineOrFile returns what stands in the kubeconfig in base64, else what the file
// holds that it names.
func inlineOrFile(dir, data, file string) ([]byte, error) {
	switch {
	case data != "":
		return base64.StdEncoding.DecodeString(data)
	case file != "":
		return readFile(absolute(dir, file))
	}
	return nil, nil
}

func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
