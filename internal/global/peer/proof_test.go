package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// ends returns two nodes of one cluster, each with its certificate.
func ends(t *testing.T, dialSeal, acceptSeal Seal) (d, a *end) {
	t.Helper()
	ca := authority(t)
	return newEnd(tlsutil.Static(certificate(t, ca, member), ca.Pool()), dialling, dialSeal),
		newEnd(tlsutil.Static(certificate(t, ca, member), ca.Pool()), answering, acceptSeal)
}

func (e *end) connect(t *testing.T, node, addr string) (*Conn, error) {
	t.Helper()
	conn, err := e.dialer(t).Connect(context.Background(), node, addr, tlsutil.ALPNRaft)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*Conn), nil
}

// accepted takes the port's end of a connection.
func accepted(t *testing.T, p *Port) *Conn {
	t.Helper()
	conn, err := p.Raft().Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*Conn)
}

// TestTheNewestSealKeyOfBoth: nodes prove themselves with the newest seal key that both
// of them have, whatever else each of them has.
func TestTheNewestSealKeyOfBoth(t *testing.T) {
	older, newer, other := sealLine(), sealLine(), sealLine()
	id := func(line []byte) string { return newSeal(line).ActiveID() }
	for name, tt := range map[string]struct {
		dialer, acceptor *issue.SealKeys
		want             string
	}{
		"one":                        {newSeal(older), newSeal(older), id(older)},
		"before a rotation":          {newSeal(newer, older), newSeal(older), id(older)},
		"before a rotation, back":    {newSeal(older), newSeal(newer, older), id(older)},
		"during a rotation":          {newSeal(newer, older), newSeal(newer, older), id(newer)},
		"after a rotation":           {newSeal(newer), newSeal(newer, older), id(newer)},
		"with others that one lacks": {newSeal(other, newer, older), newSeal(newer), id(newer)},
	} {
		t.Run(name, func(t *testing.T) {
			d, a := ends(t, tt.dialer, tt.acceptor)
			addr, port := a.serve(t, node{}, http.NotFoundHandler())
			conn, err := d.connect(t, answering, addr)
			if err != nil {
				t.Fatal(err)
			}
			for end, got := range map[string]Proof{answering: conn.Proof(), dialling: accepted(t, port).Proof()} {
				if got.Node != end || got.SealKey != tt.want || len(got.Chain) != 1 {
					t.Errorf("proved: node %s under %s with %d certificates, want node %s under %s", got.Node, got.SealKey, len(got.Chain), end, tt.want)
				}
			}
		})
	}
}

// TestAWrongSealKeyIsNamed: who lacks the seal key is told so before it asks for anything,
// with the keys of both ends and what to do.
func TestAWrongSealKeyIsNamed(t *testing.T) {
	d, a := ends(t, newSeal(), newSeal())
	addr, _ := a.serve(t, node{}, http.NotFoundHandler())
	_, err := d.connect(t, "", addr)
	e := federation.AsError(err)
	if e == nil || !strings.Contains(e.Detail, d.seal.IDs()[0]) || !strings.Contains(e.Detail, a.seal.IDs()[0]) || !strings.Contains(e.Hint, "--seal-key-file") {
		t.Errorf("%+v", e)
	}
	// The same where the acceptor's key is a former one.
	d, a = ends(t, sealKey, sealKey)
	a.trust.former = sealKey.IDs()
	addr, _ = a.serve(t, node{}, http.NotFoundHandler())
	if _, err := d.connect(t, "", addr); err == nil || !strings.Contains(err.Error(), "proves no seal key") {
		t.Errorf("a former seal key: %v", err)
	}
}

// thief makes the TLS handshake with a member's certificate and says what it likes.
func thief(t *testing.T, a *end, addr string, says func(state tls.ConnectionState) any) (verdict, error) {
	t.Helper()
	config := a.source.PeerClient(cluster, tlsutil.ALPNRaft).Config // the very certificate of the member
	conn, err := tls.Dial("tcp", addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := send(conn, says(conn.ConnectionState())); err != nil {
		t.Fatal(err)
	}
	var v verdict
	err = receive(conn, &v)
	return v, err
}

// TestForgedProofs tries what can be said without the seal key: nothing, another
// connection's proof, a proof of the wrong role, protocol, node or certificate.
func TestForgedProofs(t *testing.T) {
	_, a := ends(t, sealKey, sealKey)
	addr, _ := a.serve(t, node{}, http.NotFoundHandler())
	id, leaf := sealKey.ActiveID(), a.source.Current().Certificate.Leaf
	right := func(state tls.ConnectionState) said {
		s, err := bind(state, leaf, state.PeerCertificates[0])
		if err != nil {
			t.Fatal(err)
		}
		s.role, s.node = roleDialer, dialling
		return s
	}
	sign := func(s said, key string) any {
		return claim{Node: dialling, Proofs: []keyProof{{id, sealKey.ProvePeer(key, s.bytes(key))}}}
	}
	forged := map[string]func(s *said){
		"of the acceptor's role": func(s *said) { s.role = roleAcceptor },
		"of another connection":  func(s *said) { s.binding = bytes.Repeat([]byte{1}, 32) },
		"of another protocol":    func(s *said) { s.protocol = tlsutil.ALPNPeerHTTP2 },
		"of another node":        func(s *said) { s.node = "n3" },
		"for another node":       func(s *said) { s.means = "n3" },
		"of another certificate": func(s *said) { s.dialer[0] ^= 1 },
		"to another certificate": func(s *said) { s.acceptor[0] ^= 1 },
	}
	for name, change := range forged {
		v, err := thief(t, a, addr, func(state tls.ConnectionState) any {
			s := right(state)
			change(&s)
			return sign(s, id)
		})
		if err != nil || v.Proof != nil || v.Refusal == nil || v.Refusal.Reason != reasonSealKey {
			t.Errorf("a proof %s: %+v %v", name, v, err)
		}
	}
	for name, says := range map[string]any{
		"no proof":            claim{Node: dialling},
		"an empty MAC":        claim{Node: dialling, Proofs: []keyProof{{SealKey: id}}},
		"an unknown seal key": claim{Node: dialling, Proofs: []keyProof{{SealKey: "00000000", MAC: make([]byte, 32)}}},
	} {
		v, err := thief(t, a, addr, func(tls.ConnectionState) any { return says })
		if err != nil || v.Proof != nil || v.Refusal == nil || v.Refusal.Reason != reasonSealKey {
			t.Errorf("%s: %+v %v", name, v, err)
		}
	}
	// What is right is taken: the refusals above come from what was changed.
	v, err := thief(t, a, addr, func(state tls.ConnectionState) any { return sign(right(state), id) })
	if err != nil || v.Proof == nil {
		t.Errorf("the right proof: %+v %v", v, err)
	}
}

// TestAnEchoProvesNothing: whoever answers a member with its own proof, or with one that
// another member gave, is not believed.
func TestAnEchoProvesNothing(t *testing.T) {
	d, a := ends(t, sealKey, sealKey)
	real, _ := a.serve(t, node{}, http.NotFoundHandler())
	for name, answer := range map[string]func(c claim) any{
		"its own MAC": func(c claim) any { return verdict{Node: answering, Proof: &c.Proofs[0]} },
		"a proof that another connection got": func(c claim) any {
			// The thief passes the claim on to a real member, in its own connection.
			v, err := thief(t, a, real, func(tls.ConnectionState) any { return c })
			if err != nil || v.Proof != nil {
				t.Errorf("a claim that was passed on: %+v %v", v, err)
			}
			return verdict{Node: answering, Proof: &keyProof{SealKey: sealKey.ActiveID(), MAC: c.Proofs[0].MAC}}
		},
		"no proof": func(claim) any { return verdict{Node: answering} },
	} {
		t.Run(name, func(t *testing.T) {
			addr, done := impostor(t, a, answer)
			_, err := d.connect(t, answering, addr)
			if e := federation.AsError(err); e == nil || e.Reason != reasonSealKey && !strings.Contains(e.Detail, "proof") {
				t.Errorf("connected, or: %v", err)
			}
			if more := <-done; len(more) > 0 {
				t.Errorf("the member goes on and says %q", more)
			}
		})
	}
}

// impostor answers one claim as a member's certificate lets it, and returns where, and what
// the member says afterwards.
func impostor(t *testing.T, a *end, answer func(c claim) any) (addr string, after <-chan []byte) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	done := make(chan []byte, 1)
	go func() {
		raw, err := l.Accept()
		if err != nil {
			done <- nil
			return
		}
		defer raw.Close()
		conn := tls.Server(raw, a.source.PeerServer(cluster, Protocols...).Config)
		var c claim
		if err := errors.Join(receive(conn, &c), send(conn, answer(c))); err != nil {
			t.Error(err)
		}
		more, _ := io.ReadAll(conn) // what the member says to the thief
		done <- more
	}()
	return l.Addr().String(), done
}

// TestARefusalProvesNothing: who refuses has not proved the seal key, and is believed
// nothing that a node acts on, or tells its operator to do.
func TestARefusalProvesNothing(t *testing.T) {
	d, a := ends(t, sealKey, sealKey)
	for _, reason := range []string{"removed", "diverged", "not_leader", "node_id_taken", "other_cluster", reasonSealKey, "expelled", "other_node"} {
		addr, done := impostor(t, a, func(claim) any {
			return map[string]any{"refusal": map[string]any{
				"reason": reason, "detail": "x\nlevel=ERROR" + strings.Repeat("y", 2*maxRefusal), "hint": "type what the thief likes", "code": 3,
			}}
		})
		_, err := d.connect(t, answering, addr)
		<-done
		e := federation.AsError(err)
		ours := refusalHints[reason] != ""
		if e == nil || (e.Reason == reason) != ours || strings.Contains(e.Hint, "thief") || strings.Contains(e.Detail, "\n") || len(e.Detail) > 2*maxRefusal {
			t.Errorf("%s: %+v", reason, e)
		}
	}
}

// TestTheNodeThatIsMeant: a node that holds the seal key and is another one than the
// caller means gets no request.
func TestTheNodeThatIsMeant(t *testing.T) {
	d, a := ends(t, sealKey, sealKey)
	asked := false
	addr, _ := a.serve(t, node{}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	c := newClient(t, d.dialer(t), "")
	if _, err := c.ReadIndex(context.Background(), Target{"n3", addr}); err == nil || !strings.Contains(err.Error(), "n3") {
		t.Errorf("another node answered: %v", err)
	}
	if _, err := c.Hello(context.Background(), addr, Hello{}); err != nil {
		t.Errorf("a node that is not known yet: %v", err)
	}
	if _, err := c.ReadIndex(context.Background(), Target{"n3", addr}); err == nil {
		t.Error("a request for one node went over a connection that was made for another one")
	}
	if _, err := c.ReadIndex(context.Background(), Target{answering, addr}); err != nil {
		t.Error(err)
	}
	if asked {
		t.Error("the API was asked")
	}
}

// TestNoMembersGetNoAnswer: proof of the seal key opens discovery and joining; everything
// else needs a member, who speaks for itself alone.
func TestNoMembersGetNoAnswer(t *testing.T) {
	ca := authority(t)
	source := tlsutil.Static(certificate(t, ca, member), ca.Pool())
	asked := 0
	addr, _ := newEnd(source, answering, sealKey).serve(t, node{}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	outsider := newClient(t, newEnd(source, "n9", sealKey).dialer(t), "")
	insider := newClient(t, newEnd(source, dialling, sealKey).dialer(t), "")
	open := []string{pathHello, pathPromise, pathJoin}
	bodies := map[string]string{pathJoin: `{"nodeId":"n9"}`, pathReport: `{"member":"n9"}`, pathSeeZone: `{"zone":"a"}`}
	for _, path := range []string{pathHello, pathPromise, pathJoin, pathReport, pathReadIndex, pathPicture, pathSeeZone, pathAudit, pathAPI + "/v1/keys", "/v1/peer/later"} {
		body := bodies[path]
		if body == "" {
			body = "{}"
		}
		_, err := call[json.RawMessage](context.Background(), outsider, Target{answering, addr}, path, json.RawMessage(body))
		e := federation.AsError(err)
		if refused := e != nil && e.Code == federation.Forbidden && e.Reason == "removed"; refused == slices.Contains(open, path) {
			t.Errorf("%s from a node that is no member: %v", path, err)
		}
	}
	if asked != 0 {
		t.Error("the API was asked")
	}
	for _, err := range []error{
		insider.Join(context.Background(), Target{answering, addr}, JoinRequest{NodeID: "n9"}),
		func() error {
			_, err := insider.Report(context.Background(), Target{answering, addr}, Report{Member: "n9"})
			return err
		}(),
	} {
		if e := federation.AsError(err); e == nil || e.Code != federation.Forbidden || e.Reason != "other_node" {
			t.Errorf("a node spoke in another one's name: %v", err)
		}
	}
}

// TestVersionsWithoutTheProof get a refusal that they show to their operators, and cause
// one here.
func TestVersionsWithoutTheProof(t *testing.T) {
	d, a := ends(t, sealKey, sealKey)
	addr, _ := a.serve(t, node{}, http.NotFoundHandler())
	config := a.source.PeerClient(cluster, "h2").Config
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Post("https://"+addr+pathHello, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusForbidden || !strings.Contains(string(text), "docs/upgrade.md") {
		t.Errorf("%d %s %v", resp.StatusCode, text, err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw, err := l.Accept()
		if err != nil {
			return
		}
		defer raw.Close()
		_ = tls.Server(raw, a.source.PeerServer(cluster, "raft", "h2").Config).Handshake()
	}()
	_, err = d.connect(t, "", l.Addr().String())
	if e := federation.AsError(err); e == nil || !strings.Contains(e.Hint, "docs/upgrade.md") {
		t.Errorf("%+v", e)
	}
	<-done
}

// TestReviewEndsConnections: what was proved is judged again when what it was judged by
// changes, at both ends.
func TestReviewEndsConnections(t *testing.T) {
	for name, change := range map[string]func(a *end, other string){
		"a new seal key":   func(e *end, _ string) { e.trust.former = sealKey.IDs() },
		"an expelled node": func(e *end, other string) { e.trust.expelled = []string{other} },
		"another CA": func(e *end, _ string) {
			e.gate.verify = func([]*x509.Certificate) error { return errors.New("not ours") }
		},
	} {
		for _, side := range []string{"dialer", "acceptor"} {
			t.Run(name+" at the "+side, func(t *testing.T) {
				d, a := ends(t, sealKey, sealKey)
				addr, port := a.serve(t, node{}, http.NotFoundHandler())
				conn, err := d.connect(t, answering, addr)
				if err != nil {
					t.Fatal(err)
				}
				far := accepted(t, port)
				d.gate.Review()
				a.gate.Review()
				if _, err := far.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
					t.Fatalf("a review without a change ended a connection: %v", err)
				}
				judge, other := a, dialling
				if side == "dialer" {
					judge, other = d, answering
				}
				change(judge, other)
				judge.gate.Review()
				for _, c := range []*Conn{conn, far} {
					if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil && !errors.Is(err, net.ErrClosed) {
						t.Fatal(err)
					}
					var timeout net.Error
					if _, err := c.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
						t.Errorf("the connection is open: %v", err)
					}
				}
				if _, err := d.connect(t, answering, addr); err == nil {
					t.Error("it connects again")
				}
			})
		}
	}
}

// TestTheCertificateOfANodeThatIsAway: who is expelled together with its certificate is often
// switched off by then.
func TestTheCertificateOfANodeThatIsAway(t *testing.T) {
	d, a := ends(t, sealKey, sealKey)
	addr, port := a.serve(t, node{}, http.NotFoundHandler())
	conn, err := d.connect(t, answering, addr)
	if err != nil {
		t.Fatal(err)
	}
	far := accepted(t, port)
	want := far.Proof().Chain[0]
	if err := errors.Join(conn.Close(), far.Close()); err != nil {
		t.Fatal(err)
	}
	certs := a.gate.Certificates(dialling)
	if len(certs) != 1 || !certs[0].Equal(want) {
		t.Errorf("%d certificates of a node that was connected, want its own", len(certs))
	}
	if certs := a.gate.Certificates("another"); len(certs) != 0 {
		t.Errorf("%d certificates of a node that never was", len(certs))
	}
}

// TestWhoIsRefusedIsForgotten: a connection whose proof holds no longer when it is to be
// kept leaves nothing behind.
func TestWhoIsRefusedIsForgotten(t *testing.T) {
	d, a := ends(t, sealKey, sealKey)
	addr, port := a.serve(t, node{}, http.NotFoundHandler())
	if _, err := d.connect(t, answering, addr); err != nil {
		t.Fatal(err)
	}
	good := accepted(t, port)
	a.trust.mu.Lock()
	a.trust.expelled = []string{dialling}
	a.trust.mu.Unlock()
	for range 3 {
		if _, err := a.gate.keep(good.Conn.(*tls.Conn), good.proof); err == nil {
			t.Fatal("an expelled node's connection is kept")
		}
	}
	if n := len(a.gate.open); n != 1 {
		t.Errorf("%d connections are remembered, want the one that is open", n)
	}
}

// TestBothEndsCompareWhoIsMeant: a node that holds the seal key and answers in another
// one's place is found out by the dialer too, and one that is asked for another by itself.
func TestBothEndsCompareWhoIsMeant(t *testing.T) {
	d, a := ends(t, sealKey, sealKey)
	addr, _ := a.serve(t, node{}, http.NotFoundHandler())
	id, leaf := sealKey.ActiveID(), a.source.Current().Certificate.Leaf
	v, err := thief(t, a, addr, func(state tls.ConnectionState) any {
		s, err := bind(state, leaf, state.PeerCertificates[0])
		if err != nil {
			t.Fatal(err)
		}
		s.role, s.node, s.means = roleDialer, dialling, "n3"
		return claim{Node: dialling, Means: "n3", Proofs: []keyProof{{id, sealKey.ProvePeer(id, s.bytes(id))}}}
	})
	if err != nil || v.Refusal == nil || v.Refusal.Reason != "other_node" {
		t.Errorf("asked for another node: %+v %v", v, err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw, err := l.Accept()
		if err != nil {
			return
		}
		defer raw.Close()
		conn := tls.Server(raw, a.source.PeerServer(cluster, Protocols...).Config)
		var c claim
		if err := receive(conn, &c); err != nil {
			t.Error(err)
			return
		}
		state := conn.ConnectionState()
		s, err := bind(state, state.PeerCertificates[0], leaf)
		if err != nil {
			t.Error(err)
			return
		}
		s.role, s.node, s.means, s.answers = roleAcceptor, c.Node, c.Means, "n3"
		if err := send(conn, verdict{Node: "n3", Proof: &keyProof{id, sealKey.ProvePeer(id, s.bytes(id))}}); err != nil {
			t.Error(err)
		}
		_, _ = io.ReadAll(conn)
	}()
	_, err = d.connect(t, answering, l.Addr().String())
	if err == nil || !strings.Contains(err.Error(), "answers where node n1 is meant") {
		t.Errorf("another node answered: %v", err)
	}
	<-done
}
