package attack

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/test/cluster"
)

// memberThief has a member's certificate and key, and no seal key.
type memberThief struct {
	t    *testing.T
	peer string
	own  tls.Certificate
}

// dial makes the TLS handshake as the member would, for one protocol.
func (m memberThief) dial(ctx context.Context, protocol string) (net.Conn, error) {
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, // a thief takes whoever answers
		Certificates: []tls.Certificate{m.own}, NextProtos: []string{protocol},
	}
	dialer := tls.Dialer{Config: config}
	return dialer.DialContext(ctx, "tcp", m.peer)
}

// ask sends a request over HTTP/2 at once, without proving anything.
func (m memberThief) ask(protocol, method, path, body string) (status int, text string) {
	m.t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols, DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := m.dial(ctx, protocol)
		return struct{ net.Conn }{conn}, err // HTTP/2, whatever the protocol is called
	}}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "https://"+m.peer+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	access.Caller{Name: "invented", Groups: []string{"admin"}, Via: access.ViaToken, Remote: "192.0.2.7:4711"}.SetHeader(r.Header)
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(data)
}

// peerProtocols are what a thief may ask the members' port for: its own and those of
// versions that proved nothing.
var peerProtocols = []string{tlsutil.ALPNPeerHTTP2, tlsutil.ALPNRaft, "h2", "raft"}

// TestAMembersCertificateOpensNothing has a member's certificate and key, without the
// seal key, ask the members' port for everything that it has.
func TestAMembersCertificateOpensNothing(t *testing.T) {
	log := &book{}
	c := cluster.StartGlobals(t, logger(log), 1)
	leader := c.Members[0]
	m := memberThief{t, leader.Node.Endpoints().Peer, c.Certificate(tlsutil.Identity{Cluster: clusterName, Role: tlsutil.RoleNode, Name: "node"})}
	_, before := leader.Node.Store().Head()
	asked := []struct{ method, path, body string }{
		{"POST", "/v1/peer/hello", "{}"}, {"POST", "/v1/peer/promise", "{}"},
		{"POST", "/v1/peer/join", `{"nodeId":"x","boot":"y","address":"127.0.0.1:1"}`},
		{"POST", "/v1/peer/report", "{}"}, {"POST", "/v1/peer/read-index", "{}"}, {"POST", "/v1/peer/picture", "{}"},
		{"POST", "/v1/peer/see-zone", `{"zone":"thief"}`}, {"POST", "/v1/peer/audit", "{}"},
	}
	for _, r := range routes {
		asked = append(asked, struct{ method, path, body string }{r.method, "/v1/peer/api" + r.path, r.body})
	}
	for _, protocol := range peerProtocols {
		for _, r := range asked {
			if status, text := m.ask(protocol, r.method, r.path, r.body); status != 0 && status != http.StatusForbidden {
				t.Errorf("%s: %s %s: %d %.200s", protocol, r.method, r.path, status, text)
			}
		}
	}
	for _, protocol := range []string{tlsutil.ALPNRaft, "raft"} {
		if m.raftAnswers(protocol, leader.Node.Store().NodeID()) {
			t.Errorf("Raft answers over %s", protocol)
		}
	}
	if _, after := leader.Node.Store().Head(); after != before {
		t.Errorf("the state has moved from %s to %s", before, after)
	}
	if text := []byte(log.String()); bytes.Contains(text, []byte("invented")) {
		t.Error("a caller that a thief invented is in the log")
	}
}

// raftAnswers asks for a vote, as Raft's transport writes it, and reports whether
// anything comes back that no refusal is.
func (m memberThief) raftAnswers(protocol, id string) bool {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := m.dial(ctx, protocol)
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		m.t.Fatal(err)
	}
	// The id of the node that is meant, the type of the request, an empty map.
	_, _ = conn.Write(append(append([]byte{byte(len(id))}, id...), 1, 0x80))
	answer, _ := io.ReadAll(conn)
	return bytes.Contains(answer, []byte("Term"))
}
