package tlsutil

import (
	"crypto/tls"
	"crypto/x509"
	"github.com/meridiankds/meridian/internal/test/loopback"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func mustAuthority(t *testing.T) *Authority {
	t.Helper()
	a, err := NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func mustIssue(t *testing.T, a *Authority, id Identity) tls.Certificate {
	t.Helper()
	certPEM, keyPEM, err := a.Issue(id, []string{"localhost", "127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// handshake runs both ends over loopback and returns what each made of it.
func handshake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	_, serverErr, clientErr = connect(t, server, client)
	return serverErr, clientErr
}

// connect is handshake that tells, too, what the client knows of the connection.
func connect(t *testing.T, server, client *tls.Config) (state tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	below, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := tls.NewListener(Follow(below), server)
	defer listener.Close()
	raw, err := net.Dial("tcp", below.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		conn, err := loopback.AcceptFrom(listener, raw.LocalAddr())
		if err == nil {
			err = conn.(*tls.Conn).Handshake()
			if err == nil {
				_, err = conn.Write([]byte("x"))
			}
			conn.Close()
		}
		done <- err
	}()
	client = client.Clone()
	client.ServerName = "localhost"
	conn := tls.Client(raw, client)
	defer conn.Close()
	if err = conn.Handshake(); err == nil {
		// In TLS 1.3 the client learns of a refusal with its first read.
		_, err = io.ReadFull(conn, make([]byte, 1))
		state = conn.ConnectionState()
	}
	raw.Close()
	return state, <-done, err
}

func TestPeerPortTakesNodesOfTheClusterOnly(t *testing.T) {
	ours, other := mustAuthority(t), mustAuthority(t)
	node := func(a *Authority, cluster, name string, role Role) tls.Certificate {
		return mustIssue(t, a, Identity{Cluster: cluster, Role: role, Name: name})
	}
	serverCert := node(ours, "prod", "a", RoleNode)
	for _, tc := range []struct {
		name   string
		cert   tls.Certificate
		pool   *x509.CertPool
		reason string // empty: accepted
	}{
		{"a node of the cluster", node(ours, "prod", "b", RoleNode), ours.Pool(), ""},
		{"a zone of the cluster", node(ours, "prod", "west", RoleZone), ours.Pool(), "takes nodes"},
		{"a user of the cluster", node(ours, "prod", "jo", RoleUser), ours.Pool(), "takes nodes"},
		{"a node of another cluster under our CA", node(ours, "test", "b", RoleNode), ours.Pool(), "another cluster"},
		{"a node of another CA", node(other, "prod", "b", RoleNode), ours.Pool(), "not of this cluster's CA"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := Static(serverCert, ours.Pool()).PeerServer("prod", ALPNRaft).Config
			client := Static(tc.cert, tc.pool).PeerClient("prod", ALPNRaft).Config
			serverErr, clientErr := handshake(t, server, client)
			if tc.reason == "" {
				if serverErr != nil || clientErr != nil {
					t.Fatalf("refused: server %v, client %v", serverErr, clientErr)
				}
				return
			}
			if serverErr == nil || !strings.Contains(serverErr.Error(), tc.reason) {
				t.Errorf("server: %v, want %q", serverErr, tc.reason)
			}
			if clientErr == nil {
				t.Error("the client believes that it is connected")
			}
		})
	}
}

func TestPeerClientRefusesAForeignServer(t *testing.T) {
	ours, other := mustAuthority(t), mustAuthority(t)
	for name, cert := range map[string]tls.Certificate{
		"another CA's node": mustIssue(t, other, Identity{"prod", RoleNode, "a"}),
		"our zone":          mustIssue(t, ours, Identity{"prod", RoleZone, "west"}),
	} {
		// A server that would take anybody: only the client can refuse.
		server := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, NextProtos: []string{ALPNRaft}}
		client := Static(mustIssue(t, ours, Identity{"prod", RoleNode, "b"}), ours.Pool()).PeerClient("prod", ALPNRaft).Config
		if _, err := handshake(t, server, client); err == nil {
			t.Errorf("%s was taken for a peer", name)
		}
	}
}

func TestPeersSpeakTLS13AndTheProtocolOnly(t *testing.T) {
	a := mustAuthority(t)
	cert := mustIssue(t, a, Identity{"prod", RoleNode, "a"})
	end := Static(cert, a.Pool())
	server, client := end.PeerServer("prod", ALPNRaft).Config, end.PeerClient("prod", ALPNRaft).Config
	old := client.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, err := handshake(t, server, old); err == nil {
		t.Error("the peer port speaks TLS 1.2")
	}
	web := client.Clone()
	web.NextProtos = []string{ALPNHTTP2}
	if _, err := handshake(t, server, web); err == nil {
		t.Error("the Raft port speaks to an HTTP/2 client")
	}
	for _, c := range []*tls.Config{Static(cert, nil).Server(), Static(cert, a.Pool()).ServerOptionalClient(), Client(a.Pool())} {
		if c.MinVersion != tls.VersionTLS12 {
			t.Errorf("a port takes TLS version %#x", c.MinVersion)
		}
	}
}

func TestOptionalClientCertificateMustBeOfThePool(t *testing.T) {
	ours, other := mustAuthority(t), mustAuthority(t)
	server := Static(mustIssue(t, ours, Identity{"prod", RoleNode, "a"}), ours.Pool()).ServerOptionalClient()
	client := Client(ours.Pool())
	if s, c := handshake(t, server, client); s != nil || c != nil {
		t.Errorf("without a certificate: %v, %v", s, c)
	}
	client.Certificates = []tls.Certificate{mustIssue(t, ours, Identity{"prod", RoleZone, "west"})}
	if s, c := handshake(t, server, client); s != nil || c != nil {
		t.Errorf("with ours: %v, %v", s, c)
	}
	// GetClientCertificate sends it although the server's CA list does not name its issuer.
	foreign := mustIssue(t, other, Identity{"prod", RoleZone, "west"})
	client.Certificates = nil
	client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &foreign, nil }
	if s, c := handshake(t, server, client); s == nil || c == nil {
		t.Errorf("a foreign CA's certificate was taken: %v, %v", s, c)
	}
}

func TestIdentityOf(t *testing.T) {
	parse := func(texts ...string) *x509.Certificate {
		cert := &x509.Certificate{}
		for _, s := range texts {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			cert.URIs = append(cert.URIs, u)
		}
		return cert
	}
	got, err := IdentityOf(parse("https://example.com/", "meridian://prod/zone/west"))
	if want := (Identity{"prod", RoleZone, "west"}); err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, bad := range [][]string{
		{}, {"https://example.com/"}, {"meridian://prod/zone/west", "meridian://prod/zone/east"},
		{"meridian://prod/zone/"}, {"meridian:///zone/west"}, {"meridian://prod/zone/west/x"},
		{"meridian://prod/root/west"}, {"meridian://prod/west"}, {"meridian://u:p@prod/zone/west"},
		{"meridian://prod/zone/west?x=1"}, {"meridian://prod/zone/west#x"},
	} {
		if id, err := IdentityOf(parse(bad...)); err == nil {
			t.Errorf("%v was read as %v", bad, id)
		}
	}
}

func TestLoadOrMakeKeepsWhatItMade(t *testing.T) {
	dir := t.TempDir()
	id := Identity{"dev", RoleNode, "dev"}
	hosts := []string{"localhost", "127.0.0.1"}
	now := time.Now()
	a1, c1, err := LoadOrMake(dir, id, hosts, now)
	if err != nil {
		t.Fatal(err)
	}
	a2, c2, err := LoadOrMake(dir, id, hosts, now)
	if err != nil {
		t.Fatal(err)
	}
	if !a1.cert.Equal(a2.cert) || !c1.Leaf.Equal(c2.Leaf) {
		t.Error("a second start made new material")
	}
	_, c3, err := LoadOrMake(dir, id, append(hosts, "global.example.com"), now)
	if err != nil || c3.Leaf.VerifyHostname("global.example.com") != nil {
		t.Errorf("a new host is not covered: %v", err)
	}
	_, c4, err := LoadOrMake(dir, id, hosts, now.Add(350*24*time.Hour))
	if err != nil || c4.Leaf.Equal(c3.Leaf) {
		t.Errorf("a certificate about to end was kept: %v", err)
	}
	for _, name := range []string{caKeyFile, keyFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
}

func TestLoadOrMakeNeverReplacesACA(t *testing.T) {
	for _, name := range []string{CAFile, caKeyFile} {
		dir := t.TempDir()
		id := Identity{"dev", RoleNode, "dev"}
		if _, _, err := LoadOrMake(dir, id, nil, time.Now()); err != nil {
			t.Fatal(err)
		}
		other := map[string]string{CAFile: caKeyFile, caKeyFile: CAFile}[name]
		before, err := os.ReadFile(filepath.Join(dir, other))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := LoadOrMake(dir, id, nil, time.Now()); err == nil {
			t.Errorf("without %s a new CA was made", name)
		}
		after, err := os.ReadFile(filepath.Join(dir, other))
		if err != nil || string(after) != string(before) {
			t.Errorf("%s was changed: %v", other, err)
		}
	}
}

func TestWriteFileReplacesAsAWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, text := range []string{"one", "two"} {
		if err := WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != text {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if err := WriteFile(filepath.Join(path, "x"), nil, 0o600); err == nil {
		t.Error("wrote below a file")
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestLoadErrorsNameTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ca.crt")
	if _, err := LoadPool(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("an absent file: %v", err)
	}
	if err := os.WriteFile(path, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadPool(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a file of something else: %v", err)
	}
	if _, err := OpenSource(Files{Cert: path, Key: path}, Options{}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a key pair of something else: %v", err)
	}
}
