package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/internal/apitypes"
	globalnode "github.com/meridiankds/meridian/internal/global/node"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// valid are callers who have everything that they need and go on asking: an administrator at
// each member's HTTPS port, and a proxy at its zone. None of them may be refused.
type valid struct {
	all     sync.WaitGroup
	stop    chan struct{}
	mu      sync.Mutex
	served  int
	refused []string
}

// each calls f again and again. It returns whether it was served, and why it was refused,
// "" where nobody was there to serve it.
func (v *valid) each(f func() (served bool, refused string)) {
	v.all.Go(func() {
		for {
			select {
			case <-v.stop:
				return
			default:
			}
			served, refused := f()
			v.mu.Lock()
			if served {
				v.served++
			}
			if refused != "" {
				v.refused = append(v.refused, refused)
			}
			v.mu.Unlock()
			if !served {
				select {
				case <-time.After(20 * time.Millisecond): // between two attempts of a client
				case <-v.stop:
				}
			}
		}
	})
}

// await waits until some more were served, so that what comes next is done under load.
func (v *valid) await(t *testing.T) {
	t.Helper()
	v.mu.Lock()
	before := v.served
	v.mu.Unlock()
	Eventually(t, "callers to be served", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.served > before+8 || len(v.refused) > 0
	})
}

// end stops the callers, and fails where one was refused.
func (v *valid) end(t *testing.T) {
	t.Helper()
	close(v.stop)
	v.all.Wait()
	if len(v.refused) > 0 {
		t.Errorf("%d valid callers were refused, among them: %s", len(v.refused), v.refused[0])
	}
	if v.served == 0 {
		t.Error("nobody was served")
	}
	t.Logf("%d callers were served", v.served)
}

// caller asks one member as an administrator, over a connection of its own, with the CA file
// of this moment.
func caller(g *Global, caFile, token string) func() (bool, string) {
	return func() (bool, string) {
		pool, err := tlsutil.LoadPool(caFile)
		if err != nil {
			return false, err.Error()
		}
		client := http.Client{Timeout: Patience, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: tlsutil.Client(pool)}}
		data, err := json.Marshal(apitypes.RevokeRequest{Kind: "zone", IDs: []string{uuid.NewString()}})
		if err != nil {
			return false, err.Error()
		}
		g.starting.Lock()
		address := g.Node.Endpoints().APITLS
		g.starting.Unlock()
		req, err := http.NewRequest(http.MethodPost, "https://"+address+"/v1/revocations", bytes.NewReader(data))
		if err != nil {
			return false, err.Error()
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		var verification *tls.CertificateVerificationError
		switch {
		case errors.As(err, &verification):
			return false, err.Error()
		case err != nil:
			return false, "" // the member ends, or is not there
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		switch {
		case err != nil, resp.StatusCode == http.StatusServiceUnavailable, resp.StatusCode == http.StatusGatewayTimeout:
			return false, "" // an election
		case resp.StatusCode == http.StatusOK:
			return true, ""
		}
		return false, fmt.Sprintf("%s: %d %s", g.Name, resp.StatusCode, text)
	}
}

// TestRotationsUnderLoad replaces the CA twice, the cluster secret and the seal key of a
// running cluster, as the documents say, while callers go on: none that is valid is refused,
// and who holds a certificate of the first CA loses the connection with that CA.
func TestRotationsUnderLoad(t *testing.T) {
	t.Parallel()
	const n = 3
	c := NewGlobals(t, quiet, n)
	dir := TempDir(t)
	folder := func(name string) string { return filepath.Join(dir, name) }
	line := []string{"certs", "cluster", "--cluster", clusterName, "--trust", folder("west")}
	for i := range n {
		name, _, _ := strings.Cut(peerName(i), ":")
		line = append(line, "--node", name+"="+folder(name))
	}
	run := func(more ...string) {
		t.Helper()
		if _, said, err := command(binaries(t, "").global, append(append([]string{}, line...), more...)...); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
	}
	run()
	seal := func() []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(folder("global-1"), "seal.key"))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	older, newer := seal(), sealLine(t)
	c.seal, c.ca = sealKeys(t, older), filepath.Join(folder("west"), tlsutil.CAFile)
	files := func(member string) tlsutil.Files {
		name, _, _ := strings.Cut(member, ":")
		return tlsutil.SelfMadeFiles(folder(name))
	}
	c.Configure = func(cfg *globalnode.Config) {
		source, err := tlsutil.OpenSource(files(cfg.Advertise), tlsutil.Options{Accept: tlsutil.KeepIdentity(tlsutil.RoleNode)})
		if err != nil {
			t.Error(err)
			return
		}
		cfg.TLS = source
	}
	c.Launch(n)
	leader := c.Leader()
	token := leader.Issue(cptoken.Claims{Kind: cptoken.User, Name: "ann", Groups: []string{"admin"}}, time.Hour)
	west := leader.StartZone("west", c.Members[0].KDS(), c.Members[1].KDS(), c.Members[2].KDS())
	west.WaitCurrent(leader)
	proxy := leader.ZoneToken("west", cptoken.ScopeEgress)
	Eventually(t, "the zone to accept a proxy", func() bool { return west.Authenticate(proxy, "egress") == Accepted })

	// The thief has the files of the last member: a certificate with which it holds a
	// connection, and with which it poses as a global.
	stolen, err := tls.LoadX509KeyPair(files(c.Members[2].Name).Cert, files(c.Members[2].Name).Key)
	if err != nil {
		t.Fatal(err)
	}
	first, err := tlsutil.LoadPool(c.ca)
	if err != nil {
		t.Fatal(err)
	}
	held := holdsAPI(t, c.Members[0].Node.Endpoints().APITLS, first, stolen)

	v := &valid{stop: make(chan struct{})}
	for _, g := range c.Members {
		v.each(caller(g, c.ca, token))
	}
	v.each(func() (bool, string) {
		if verdict := west.Authenticate(proxy, "egress"); verdict != Accepted {
			return false, fmt.Sprintf("a proxy at its zone: %+v", verdict)
		}
		return true, ""
	})
	v.await(t)

	asking := []string{"--renew", "--data-dir", c.Members[0].Dir}
	run(asking...)
	v.await(t)
	if !held() {
		t.Error("a connection was ended while its CA is trusted")
	}
	run(asking...)
	Eventually(t, "the thief's connection to end with its CA", func() bool { return !held() })
	var second *tls.Config
	{
		pool, err := tlsutil.LoadPool(c.ca)
		if err != nil {
			t.Fatal(err)
		}
		second = &tls.Config{RootCAs: pool, ServerName: "localhost", Certificates: []tls.Certificate{stolen}, MinVersion: tls.VersionTLS13}
	}
	if takes(t, c.Members[0].Node.Endpoints().APITLS, second) || takes(t, c.Members[0].Node.Endpoints().KDS, second) {
		t.Error("the certificate of the CA that was dropped is taken")
	}
	v.await(t)

	c.Leader().want(t, 200, "POST", "/v1/seal/rotate-cluster-secret", struct{}{}, nil)
	v.await(t)

	restart := func(keys *issue.SealKeys) {
		t.Helper()
		c.seal = keys
		for _, g := range c.Members {
			g.starting.Lock()
			g.Stop()
			g.Launch()
			g.starting.Unlock()
			g.AwaitReady()
			c.Leader()
			v.await(t)
		}
	}
	restart(sealKeys(t, newer, older))
	if _, err := c.Leader().Node.Store().Reseal(context.Background(), operator); err != nil {
		t.Fatal(err)
	}
	v.await(t)
	restart(sealKeys(t, newer))
	v.end(t)
}

// takes reports whether a port goes on with who shows a certificate.
func takes(t *testing.T, address string, config *tls.Config) bool {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, Patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(Patience)); err != nil {
		t.Fatal(err)
	}
	client := tls.Client(conn, config)
	if client.Handshake() != nil {
		return false
	}
	// The server's verdict on the certificate comes with the first read (RFC 8446, section 4.4.2.4).
	if _, err := client.Write([]byte("GET /who-am-i HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
		return false
	}
	_, err = client.Read(make([]byte, 1))
	return err == nil
}
