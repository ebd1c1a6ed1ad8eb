package tokenreview

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/disk"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

const (
	// mountDir is where Kubernetes mounts a pod's own service account.
	mountDir = "/var/run/secrets/kubernetes.io/serviceaccount"
	// lookEvery is how often the files with credentials are read again.
	lookEvery = 5 * time.Second
	// maxFile bounds each of them.
	maxFile     = 1 << 20
	dialTimeout = 3 * time.Second
)

// credentials are where the API server is and as whom to ask, read from files.
type credentials struct {
	Server     string
	ServerName string // to be in the certificate, where it is not the address's
	CA         []byte // PEM; empty: the system's
	Token      string
	Cert, Key  []byte // PEM of a client certificate; empty: none
	// Warnings are about files that others may read.
	Warnings []string
}

// access follows the files: Kubernetes renews a pod's token every hour, and CAs
// are replaced too.
type access struct {
	cfg    Config
	now    atomic.Pointer[apiServer]
	follow *disk.Follower[credentials]

	mu     sync.Mutex
	looked time.Time
}

func newAccess(cfg Config) (*access, error) {
	a := &access{cfg: cfg}
	read := a.inCluster
	if cfg.Kubeconfig != "" {
		read = func() (credentials, error) { return readKubeconfig(cfg.Kubeconfig) }
	}
	var err error
	a.follow, err = disk.Follow(disk.Following[credentials]{
		Read: func() (credentials, error) {
			c, err := read()
			if cfg.APIServer != "" {
				c.Server = cfg.APIServer
			}
			return c, err
		},
		Same: func(a, b credentials) bool {
			a.Warnings, b.Warnings = nil, nil // of the files, not of what is in them
			return reflect.DeepEqual(a, b)
		},
		Use: a.use,
		Failed: func(err error) {
			cfg.Logger.Warn("new credentials for Kubernetes' API cannot be used, the former stay in use",
				"error", err, "hint", federation.AsError(err).Hint)
		},
	})
	if err != nil {
		return nil, err
	}
	a.looked = cfg.Now()
	return a, nil
}

// current is where to ask now. Files that cannot be used any more leave what was
// good before. They are read when somebody asks, and not more often than lookEvery.
func (a *access) current() *apiServer {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := a.cfg.Now(); clock.Span(a.looked, now).Abs() >= lookEvery {
		a.looked = now
		a.follow.Check()
	}
	return a.now.Load()
}

// stale has the files read again before the next question.
func (a *access) stale() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.looked = time.Time{}
}

// server is the address in use.
func (a *access) server() string { return a.now.Load().base }

// use makes a client of credentials.
func (a *access) use(c credentials) error {
	server, err := c.server()
	if err != nil {
		return err
	}
	for _, warning := range c.Warnings {
		a.cfg.Logger.Warn("a file with a credential for Kubernetes' API may be read by others", "detail", warning)
	}
	if old := a.now.Swap(server); old != nil {
		old.http.CloseIdleConnections()
		a.cfg.Logger.Info("credentials for Kubernetes' API were replaced", "apiServer", server.base)
	}
	return nil
}

// inCluster reads the service account of the pod that the zone runs in.
func (a *access) inCluster() (credentials, error) {
	dir := a.cfg.MountDir
	if dir == "" {
		dir = mountDir
	}
	host, port := a.cfg.Getenv("KUBERNETES_SERVICE_HOST"), a.cfg.Getenv("KUBERNETES_SERVICE_PORT")
	if (host == "" || port == "") && a.cfg.APIServer == "" {
		return credentials{}, federation.Errorf(federation.Invalid, "this zone runs in no pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set").
			WithHint("name a kubeconfig in the zone's configuration, to ask from outside the cluster")
	}
	// In the pod's own file system the token may be read by everybody: it is mounted so.
	token, _, err := readFile("token", filepath.Join(dir, "token"))
	if err != nil {
		return credentials{}, err
	}
	ca, _, err := readFile("CA", filepath.Join(dir, "ca.crt"))
	if err != nil {
		return credentials{}, err
	}
	return credentials{Server: "https://" + net.JoinHostPort(host, port), CA: ca, Token: strings.TrimSpace(string(token))}, nil
}

// server makes a client of credentials.
func (c credentials) server() (*apiServer, error) {
	address, err := url.Parse(c.Server)
	if err != nil || address.Scheme != "https" || address.Host == "" || address.User != nil || address.RawQuery != "" {
		return nil, federation.Errorf(federation.Invalid, "%.100q is not the address of an API server", c.Server).
			WithHint("write https://HOST:PORT; tokens are sent over TLS only")
	}
	if c.Token == "" && len(c.Cert) == 0 {
		return nil, federation.Errorf(federation.Invalid, "there is neither a token nor a client certificate to ask Kubernetes' API with").
			WithHint("give the zone's pod a service account, or the kubeconfig's user a token or a certificate")
	}
	if strings.ContainsAny(c.Token, " \t\r\n") {
		return nil, federation.Errorf(federation.Invalid, "what is to be sent to Kubernetes' API is not one token").
			WithHint("the file must hold the token and nothing else")
	}
	config, err := c.tls()
	if err != nil {
		return nil, err
	}
	return &apiServer{base: strings.TrimSuffix(c.Server, "/"), bearer: c.Token, http: &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSClientConfig:        config,
			TLSHandshakeTimeout:    dialTimeout,
			MaxResponseHeaderBytes: 32 << 10,
			MaxConnsPerHost:        maxInFlight,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        time.Minute,
			ForceAttemptHTTP2:      true,
		},
		// A token is for the API server, not for where that points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (c credentials) tls() (*tls.Config, error) {
	var pool *x509.CertPool
	if len(c.CA) > 0 {
		pool = x509.NewCertPool()
		if !pool.AppendCertsFromPEM(c.CA) {
			return nil, federation.Errorf(federation.Invalid, "the CA of Kubernetes' API is not a certificate in PEM").
				WithHint("give the certificate-authority of the kubeconfig, or the ca.crt that Kubernetes mounts")
		}
	}
	config := tlsutil.Client(pool)
	config.ServerName = c.ServerName
	if len(c.Cert) > 0 {
		pair, err := tls.X509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, federation.Errorf(federation.Invalid, "the client certificate for Kubernetes' API and its key do not fit together").WithCause(err).
				WithHint("give the client-certificate and the client-key of one user")
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// readFile reads a file of bounded size whole, which others must not be able to write:
// it says whose word about tokens is believed, and as whom that is asked for.
func readFile(what, path string) ([]byte, fs.FileInfo, error) {
	fail := func(err error) ([]byte, fs.FileInfo, error) {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return nil, nil, federation.Errorf(federation.Invalid, "%s cannot be read: %w", path, err).
			WithHint("it must be there and this user must be allowed to read it")
	}
	f, err := disk.Open(path)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fail(err)
	}
	if err := disk.CheckWritten(what, path, info); err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return fail(err)
	case len(data) > maxFile:
		return fail(errors.New("it is larger than 1 MiB"))
	}
	return data, info, nil
}
