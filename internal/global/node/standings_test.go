package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/internal/global/membership"
	"github.com/meridiankds/meridian/internal/global/peer"
	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/raftstore"
	"github.com/meridiankds/meridian/raftstore/disk"
	"github.com/meridiankds/meridian/raftstore/raftnet"
)

// mute is a peer that takes each question and answers none until it is told to.
type mute struct {
	peer.Node
	asked, until chan struct{}
}

func (mute) ClusterID() string                        { return "" }
func (mute) FormerSealKey(string) bool                { return false }
func (mute) Expelled(string, *x509.Certificate) error { return nil }

// Standing implements peer.Node.
func (m mute) Standing(peer.Standing) (none peer.Standings) {
	m.asked <- struct{}{}
	<-m.until
	return none
}

// openStore opens a store that does not run.
func openStore(t *testing.T) (*raftstore.Store, *issue.SealKeys) {
	t.Helper()
	line, err := issue.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	seal, err := issue.ParseSealKeys(line)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := raftnet.Loopback("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { layer.Close() })
	store, err := raftstore.Open(raftstore.Config{Dir: t.TempDir(), Layer: layer, Seal: seal, Bootstrap: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return store, seal
}

// attached is the membership of a node that looks for nobody.
func attached(store *raftstore.Store) *membership.Membership {
	m := membership.New(membership.Config{Logger: slog.New(slog.DiscardHandler)})
	m.Attach(store)
	return m
}

// TestWhoAsksIsRemembered: a member may reach this one and not be reached by it. Comes it back
// with less, it is told what it had.
func TestWhoAsksIsRemembered(t *testing.T) {
	store, _ := openStore(t)
	p := &peers{store: store, membership: attached(store)}
	more := disk.Standing{Node: "another", Raft: 57, Voter: true, Voters: 3}
	if first := p.Standing(peer.Standing{Standing: more, Boot: "first", Address: "elsewhere:5683"}); first.Seen.Raft != 0 || first.Own.Node != store.NodeID() {
		t.Errorf("who was never seen is told %+v", first)
	}
	if at := store.AddressOf("another"); at != "elsewhere:5683" {
		t.Errorf("who asked from elsewhere:5683 is at %q", at)
	}
	less := more
	less.Raft = 40
	for range 2 {
		if seen := p.Standing(peer.Standing{Standing: less}).Seen; seen.Raft != more.Raft || !seen.Voter {
			t.Errorf("a member that comes back with less is told %+v, want %+v", seen, more)
		}
	}
	if other := p.Standing(peer.Standing{Standing: disk.Standing{Node: "a third one", Raft: 1}}); other.Seen.Raft != 0 {
		t.Errorf("another member is told %+v", other.Seen)
	}
}

// TestWhoDoesNotAnswerBarsNobody: a peer whose connection works, and which takes the question,
// is waited for no longer than standingTimeout, at a start as later.
func TestWhoDoesNotAnswerBarsNobody(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: waits for the 5 s that a peer may take to answer")
	}
	ctx, cancel := context.WithCancel(t.Context())
	store, seal := openStore(t)
	ca, err := tlsutil.NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := ca.Issue(tlsutil.Identity{Cluster: "test", Role: tlsutil.RoleNode, Name: "a"}, []string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	source := tlsutil.Static(cert, ca.Pool())
	silent := mute{asked: make(chan struct{}, 1), until: make(chan struct{})}
	gate := func(id string) *peer.Gate {
		return peer.NewGate(peer.GateConfig{
			Node: func() string { return id }, Seal: seal, Admission: silent, Logger: slog.New(slog.DiscardHandler),
			Verify: func(chain []*x509.Certificate) error { return source.VerifyPeer(chain, "test") },
		})
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := peer.NewPort(listener, func() tlsutil.PeerEnd { return source.PeerServer("test", peer.Protocols...) }, gate("another"),
		preauth.New(preauth.Config{}), slog.New(slog.DiscardHandler))
	ended := make(chan error, 2)
	go func() { ended <- port.Run(ctx) }()
	go func() { ended <- port.Serve(ctx, peer.Handler(silent, nil)) }()

	dialer := peer.NewDialer(func(protocol string) tlsutil.PeerEnd { return source.PeerClient("test", protocol) }, gate(store.NodeID()), nil)
	p := &peers{store: store, membership: attached(store), client: peer.NewClient(dialer, func() string { return "" })}
	done := make(chan bool, 1)
	go func() {
		answered := false
		p.eachPeer(ctx, []peer.Target{{Addr: listener.Addr().String()}}, peer.Standing{}, func(string, peer.Standings) { answered = true })
		done <- answered
	}()
	select {
	case answered := <-done:
		if answered {
			t.Error("who is silent has answered")
		}
	case <-time.After(time.Minute):
		t.Error("a silent peer is waited for")
	}
	select {
	case <-silent.asked:
	default:
		t.Error("the peer was not asked")
	}
	close(silent.until)
	p.client.Close()
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
