package apiclient

import (
	"io"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/tokenfile"
)

// DefaultAPI is where a node's HTTP API is unless somebody says otherwise.
const DefaultAPI = "http://127.0.0.1:5681"

// Flags are what the command line says about the node to talk to, empty where it
// says nothing.
type Flags struct {
	Address   string
	TokenFile string
	CAFile    string
	DataDir   string
	// CertFile and KeyFile are the caller's client certificate.
	CertFile, KeyFile string
	// Profile is what is kept of a cluster, used where neither flags nor environment name a
	// node; ProfileByFlag says that a flag chose it, which counts more than the environment.
	Profile       Profile
	ProfileByFlag bool
	// Warn is told of files that others may read; nil: nobody is.
	Warn func(string)
}

// Service is one of the things that a node serves.
type Service struct {
	// Node is what the node is called in messages and what leads the names of
	// its environment variables, in capitals: "global" or "zone".
	Node string
	// Default is the address where nothing else is said.
	Default string
	// AddressFlag and AddressEnv name what sets the address.
	AddressFlag, AddressEnv string
	// Find returns the address from what the node left in its data folder.
	Find func(endpoints.Endpoints) string
	// HasSocket says that the service is also on the socket in the node's data
	// folder, where file permissions stand in for a token.
	HasSocket bool
	// NoToken says that the service takes no user token.
	NoToken bool
}

// role is what the service's certificate names, if it names any role.
func (s Service) role() tlsutil.Role {
	if s.Node == "zone" {
		return tlsutil.RoleZone
	}
	return tlsutil.RoleNode
}

// API is the HTTP API of a node.
func API(node string) Service {
	return Service{
		Node: node, Default: DefaultAPI, AddressFlag: "--address", AddressEnv: strings.ToUpper(node) + "_ADDRESS",
		Find: func(e endpoints.Endpoints) string {
			switch {
			case e.APITLS != "":
				return "https://" + e.APITLS
			case e.API != "":
				return "http://" + e.API
			}
			return ""
		},
		HasSocket: true,
	}
}

// ProxyPort is the port of a zone that proxies talk to.
func ProxyPort() Service {
	return Service{
		Node: "zone", Default: "https://127.0.0.1:5678", AddressFlag: "--dp-address", AddressEnv: "ZONE_DP_ADDRESS",
		Find: func(e endpoints.Endpoints) string {
			if e.DP == "" {
				return ""
			}
			return "https://" + e.DP
		},
		NoToken: true,
	}
}

// Diagnostics is the health port of a node.
func Diagnostics(node string) Service {
	return Service{
		Node: node, Default: "http://127.0.0.1:5680", AddressFlag: "--diagnostics-addr",
		AddressEnv: strings.ToUpper(node) + "_DIAGNOSTICS_ADDR",
		Find: func(e endpoints.Endpoints) string {
			if e.Diagnostics == "" {
				return ""
			}
			return "http://" + e.Diagnostics
		},
		NoToken: true,
	}
}

// Target is a service of one node, and who to be there. Shown or logged, it is
// its address.
type Target struct {
	Service Service
	Address string
	CAFile  string // empty: the system's certificates
	// CertFile and KeyFile are shown over TLS; empty: none.
	CertFile, KeyFile string

	// Profile is the name of the profile that the address is of, "" where it is of none.
	Profile string
	// Folder is the data directory that the address is from, "" where it is from none. What
	// it says may be of a node that was killed.
	Folder string

	kept  Profile // that is asked, if one is
	token string
	zones []string // that the token is for; empty: it is for the global, or there is none
}

// String returns the address.
func (t Target) String() string { return t.Address }

// GoString returns the address.
func (t Target) GoString() string { return t.Address }

// LogValue implements [slog.LogValuer]: the address.
func (t Target) LogValue() slog.Value { return slog.StringValue(t.Address) }

// Resolve decides which node to talk to, and as whom. The address is the first
// of: the flag; the node of the data folder that the flag --data-dir names; the
// environment; the node of the data folder that the environment names; the profile; the
// one that runs in the folder that `dev` makes in the present one; the default. What the
// profile says of tokens, certificates and CAs is for its own address.
//
// A data folder speaks for its own node only. Where the address came from
// elsewhere its token and CA are not used: they would go to a stranger. And the
// addresses in it may be stale: a node that was killed leaves them behind, and
// anybody may listen there by now. So the node is asked through the socket in the
// folder, which only its own user can make, else over TLS with the folder's CA;
// no token goes over plain HTTP to an address that nobody typed.
func Resolve(s Service, flags Flags, env func(string) string, stdin io.Reader) (Target, error) {
	r := resolver{service: s, flags: flags, env: env}
	chosen, kept := r.profileOfFlag(), r.profile()
	node, err := r.address()
	if err != nil {
		return Target{}, err
	}
	t := Target{Service: s, Address: r.found, Profile: kept.Name, Folder: r.folder, kept: kept,
		CAFile: first(flags.CAFile, node.fromFlag.CAFile, chosen.CAFile, r.get("CA_FILE"), node.fromEnv.CAFile, kept.CAFile)}
	if s.NoToken {
		return t, t.check()
	}
	if err := t.takeCertificate(r); err != nil {
		return Target{}, err
	}
	if !strings.HasPrefix(r.found, "https:") {
		// The socket asks for no token, and plain HTTP must not carry it.
		node.fromFlag.AdminTokenFile, node.fromEnv.AdminTokenFile = "", ""
	}
	tokenFile := first(flags.TokenFile, node.fromFlag.AdminTokenFile)
	// A certificate that a flag names is who the caller wants to be, and no token of the
	// environment.
	if tokenFile == "" && flags.CertFile == "" {
		tokenFile = chosen.TokenFile
	}
	if tokenFile == "" && first(flags.CertFile, chosen.CertFile) == "" {
		if t.token, err = tokenfile.Parse(r.envName("TOKEN"), r.get("TOKEN")); err != nil {
			return Target{}, err
		}
		tokenFile = first(r.get("TOKEN_FILE"), node.fromEnv.AdminTokenFile, kept.TokenFile)
	}
	if err := kept.check(tokenFile); err != nil {
		return Target{}, err
	}
	if t.token == "" && tokenFile != "" {
		if t.token, err = tokenfile.ReadArgument(tokenFile, stdin, flags.Warn); err != nil {
			return Target{}, err
		}
	}
	if r.folder != "" && t.token != "" && strings.HasPrefix(t.Address, "http:") {
		return Target{}, federation.Errorf(federation.Invalid,
			"a token is not sent to %s: %s says that the %s was there, and plain HTTP does not prove that it still is", t.Address, r.folder, s.Node).
			WithHint("leave the token out, or name the node yourself with %s", s.AddressFlag)
	}
	if err := t.takeAudience(); err != nil {
		return Target{}, err
	}
	return t, t.check()
}

// takeAudience holds the token against where it would go: no zone is sent one that is good
// at the global, nor the global one that it would refuse. What cannot be read is for the
// node to name.
func (t *Target) takeAudience() error {
	token, err := cptoken.Inspect(t.token)
	if err != nil || token.Claims.Kind != cptoken.User {
		return nil
	}
	c := &token.Claims
	t.zones = c.ForZones()
	if t.Service.Node != "zone" {
		return c.CheckAudience("")
	}
	if len(t.zones) > 0 {
		return nil
	}
	return federation.Errorf(federation.Invalid, "the user token is not for a zone, and a zone must not see it: nothing was sent").
		WithReason(string(cptoken.WrongAudience)).
		WithHint("use one that is: global generate user-token --name %s --for-zone ZONE", c.Name)
}

// takeCertificate takes the client certificate that the flags or the environment
// name. One that was asked for by a flag and has no place is an error; one of the
// environment's is for other addresses then.
func (t *Target) takeCertificate(r resolver) error {
	asked := r.flags.CertFile != "" || r.flags.KeyFile != ""
	chosen, kept := r.profileOfFlag(), r.profile()
	cert := first(r.flags.CertFile, chosen.CertFile, r.get("CERT_FILE"), kept.CertFile)
	key := first(r.flags.KeyFile, chosen.KeyFile, r.get("KEY_FILE"), kept.KeyFile)
	switch {
	case cert == "" && key == "":
		return nil
	case cert == "" || key == "":
		return federation.Errorf(federation.Invalid, "--cert-file and --key-file go together").WithHint("give both, or neither")
	case !strings.HasPrefix(r.found, "https:"):
		if asked {
			return federation.Errorf(federation.Invalid, "%s takes no client certificate", r.found).
				WithHint("use the node's https:// address")
		}
		return nil
	}
	t.CertFile, t.KeyFile = cert, key
	return nil
}

// Socket returns the target for a node's admin socket, where no token is needed.
func Socket(node, path string) (Target, error) {
	t := Target{Service: API(node), Address: "unix://" + path}
	if !filepath.IsAbs(path) {
		abs, err := filepath.Abs(path)
		if err != nil {
			return Target{}, federation.Errorf(federation.Internal, "finding %s: %w", path, err)
		}
		t.Address = "unix://" + abs
	}
	return t, t.check()
}

// check refuses an address that cannot be one, and one where the token could be
// read on its way. host:port alone is read as the service's own scheme.
func (t *Target) check() error {
	flag, given := t.Service.AddressFlag, t.Address
	scheme, port, _ := strings.Cut(t.Service.Default, "://")
	port = port[strings.LastIndexByte(port, ':'):]
	if strings.Contains(given, "@") {
		return federation.InvalidField(flag, "an address must not hold a user name or password").
			WithHint("give a token with --token-file")
	}
	if !strings.Contains(given, "://") {
		if !strings.Contains(given, ":") && given != "" {
			return federation.InvalidField(flag, "%.100q names no port", given).
				WithHint("write %s %s", flag, scheme+"://"+given+port)
		}
		t.Address = scheme + "://" + given
	}
	u, err := url.Parse(t.Address)
	bad := federation.InvalidField(flag, "%.100q is not an address", given).
		WithHint("write http://HOST:PORT, https://HOST:PORT or unix:///PATH")
	if _, host, _ := strings.Cut(t.Address, "://"); strings.Count(host, ":") > 1 && !strings.Contains(host, "[") {
		return federation.InvalidField(flag, "%.100q is not an address", given).
			WithHint("an IPv6 address stands in brackets: %s://[::1]%s", scheme, port)
	}
	switch {
	case err != nil:
		return bad
	case u.Scheme == "unix" && len(u.Path) > endpoints.MaxSocketPath:
		return federation.InvalidField(flag, "the path of the socket has %d characters, and no system opens one of more than %d", len(u.Path), endpoints.MaxSocketPath).
			WithHint("name it from a directory nearer by, or keep the node's data in a directory with a shorter path")
	case u.Scheme == "unix" && u.Host == "" && u.Path != "":
		return nil
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.RawQuery != "", u.Fragment != "":
		return bad
	case u.Scheme == "http" && t.token != "" && !isLoopback(u.Hostname()):
		return federation.Errorf(federation.Invalid, "%s would carry the token over the network in the clear", t.Address).
			WithHint("use the node's https:// address, with --ca-file for its CA")
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
