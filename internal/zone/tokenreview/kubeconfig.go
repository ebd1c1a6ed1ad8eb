package tokenreview

import (
	"encoding/base64"
	"io/fs"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
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
	Name string     `json:"name"`
	User userFields `json:"user"`
}

type userFields struct {
	Token     string `json:"token"`
	TokenFile string `json:"tokenFile"`
	CertFile  string `json:"client-certificate"`
	CertData  string `json:"client-certificate-data"`
	KeyFile   string `json:"client-key"`
	KeyData   string `json:"client-key-data"`
	Exec      any    `json:"exec"`
	Provider  any    `json:"auth-provider"`
	Username  string `json:"username"`
}

// readKubeconfig reads the file, and the files that it names relative to itself.
func readKubeconfig(path string) (credentials, error) {
	data, info, err := readFile("kubeconfig", path)
	if err != nil {
		return credentials{}, err
	}
	var k kubeconfig
	if err := yaml.Unmarshal(data, &k); err != nil {
		return credentials{}, bad(path, "it is not a kubeconfig in YAML")
	}
	c, user, err := k.credentials(path)
	if err != nil {
		return c, err
	}
	switch {
	case user.KeyData != "":
		err = disk.CheckSecret("kubeconfig", path, info)
	case user.Token != "" && user.TokenFile == "":
		err = c.warnOf("kubeconfig", path, info)
	}
	return c, err
}

// warnOf notes a file with a token that others may read.
func (c *credentials) warnOf(what, path string, info fs.FileInfo) error {
	warning, err := disk.CheckToken(what, path, info)
	if warning != "" {
		c.Warnings = append(c.Warnings, warning)
	}
	return err
}

// bad says what is wrong with a kubeconfig. The YAML library's account is left
// out: it may repeat a line with a token.
func bad(path, format string, args ...any) *federation.Error {
	e := federation.Errorf(federation.Invalid, format, args...)
	e.Detail = "the kubeconfig " + path + " cannot be used: " + e.Detail
	return e.WithHint("`kubectl config view` shows what it says; its current-context must name a cluster, and a user with a token or a certificate")
}

// credentials are those of the current context, and the user that they are of.
func (k kubeconfig) credentials(path string) (c credentials, as userFields, err error) {
	at, ok := find(k.Contexts, func(n namedContext) bool { return n.Name == k.CurrentContext })
	if !ok {
		return c, as, bad(path, "its current-context %.60q is not one of its contexts", k.CurrentContext)
	}
	cluster, ok := find(k.Clusters, func(n namedCluster) bool { return n.Name == at.Context.Cluster })
	if !ok {
		return c, as, bad(path, "the cluster %.60q is not in it", at.Context.Cluster)
	}
	user, ok := find(k.Users, func(n namedUser) bool { return n.Name == at.Context.User })
	if !ok {
		return c, as, bad(path, "the user %.60q is not in it", at.Context.User)
	}
	as = user.User
	switch {
	case cluster.Cluster.SkipTLSVerify:
		return c, as, bad(path, "insecure-skip-tls-verify is set, and whoever answers would be believed")
	case cluster.Cluster.ProxyURL != "":
		return c, as, bad(path, "proxy-url is not supported, HTTPS_PROXY is")
	case as.Exec != nil || as.Provider != nil:
		return c, as, bad(path, "the user %.60q is authenticated by a program, which this zone does not run", user.Name)
	case as.Username != "":
		return c, as, bad(path, "the user %.60q is authenticated by a password, which Kubernetes has given up", user.Name)
	}
	dir := filepath.Dir(path)
	c.Server, c.ServerName = cluster.Cluster.Server, cluster.Cluster.ServerName
	for _, item := range []struct {
		into       *[]byte
		data, file string
		name       string
	}{
		{&c.CA, cluster.Cluster.CAData, cluster.Cluster.CAFile, "certificate-authority"},
		{&c.Cert, as.CertData, as.CertFile, "client-certificate"},
		{&c.Key, as.KeyData, as.KeyFile, clientKey},
	} {
		text, err := inlineOrFile(dir, item.name, item.data, item.file)
		if err != nil {
			if federation.CodeOf(err) != federation.Internal {
				return c, as, err
			}
			return c, as, bad(path, "its %s-data is not base64", item.name)
		}
		*item.into = text
	}
	c.Token = as.Token
	if as.TokenFile != "" {
		path := absolute(dir, as.TokenFile)
		token, info, err := readFile("token file", path)
		if err == nil {
			err = c.warnOf("token file", path, info)
		}
		if err != nil {
			return c, as, err
		}
		c.Token = strings.TrimSpace(string(token))
	}
	return c, as, nil
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
func inlineOrFile(dir, name, data, file string) ([]byte, error) {
	if data != "" || file == "" {
		return base64.StdEncoding.DecodeString(data)
	}
	path := absolute(dir, file)
	text, info, err := readFile(name, path)
	if err == nil && name == clientKey {
		err = disk.CheckSecret(name, path, info)
	}
	return text, err
}

// clientKey is what a kubeconfig calls the private key of its user.
const clientKey = "client-key"

func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
