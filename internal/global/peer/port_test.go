package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/global/audit"
	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const cluster = "prod"

// node is a Node that says what it is told to.
type node struct {
	starting bool // its Raft does not run
	id       string
	err      error
	// judged is what the leader thinks of whoever asks.
	judged error
}

func (n node) ClusterID() string { return n.id }
func (n node) MemberIDs() []string {
	if n.starting {
		return nil
	}
	return []string{dialling}
}
func (n node) CheckMember(context.Context, string) error { return n.judged }
func (n node) Applied() uint64                           { return 42 }
func (n node) Hello(from Hello) Hello                    { return Hello{NodeID: "n1", Address: from.Address} }
func (n node) Promise(Promise) error                     { return n.err }
func (n node) Join(context.Context, JoinRequest) error   { return n.err }
func (n node) Report(r Report) (ReportAnswer, error)     { return ReportAnswer{Full: !r.Full}, n.err }
func (n node) Picture() (Picture, error)                 { return Picture{}, n.err }
func (n node) Now() time.Time                            { return time.Unix(1, 0) }
func (n node) ReadIndex() (uint64, error)                { return 7, n.err }
func (n node) Audit(audit.Query) (audit.Page, error)     { return audit.Page{}, nil }
func (n node) Standing(Standing) Standings               { return Standings{} }

func (n node) SeeZone(_ context.Context, z string) (federation.Zone, error) {
	return federation.Zone{Name: z}, n.err
}

func authority(t *testing.T) *tlsutil.Authority {
	t.Helper()
	ca, err := tlsutil.NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func certificate(t *testing.T, ca *tlsutil.Authority, id tlsutil.Identity) tls.Certificate {
	t.Helper()
	certPEM, keyPEM, err := ca.Issue(id, []string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// The ids of the two ends.
const (
	dialling  = "n2"
	answering = "n1"
)

// sealKey is the seal key of the tests' cluster.
var sealKey = newSeal()

// newSeal makes seal keys, the newest first; those that are given come last.
func newSeal(lines ...[]byte) *issue.SealKeys {
	if len(lines) == 0 {
		lines = [][]byte{sealLine()}
	}
	keys, err := issue.ParseSealKeys(bytes.Join(lines, nil))
	if err != nil {
		panic(err)
	}
	return keys
}

func sealLine() []byte {
	line, err := issue.NewSealKey()
	if err != nil {
		panic(err)
	}
	return line
}

// trust is an Admission that a test may change.
type trust struct {
	mu       sync.Mutex
	former   []string
	expelled []string
}

func (a *trust) FormerSealKey(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Contains(a.former, id)
}

func (a *trust) Expelled(node string, _ *x509.Certificate) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.Contains(a.expelled, node) {
		return federation.Errorf(federation.Forbidden, "node %s was expelled", node).WithReason("expelled")
	}
	return nil
}

// end is a node in a test: what it shows, holds and takes.
type end struct {
	source *tlsutil.Source
	seal   Seal
	trust  *trust
	id     string
	gate   *Gate
}

func newEnd(source *tlsutil.Source, id string, seal Seal) *end {
	e := &end{source: source, seal: seal, trust: &trust{}, id: id}
	e.gate = NewGate(GateConfig{
		Node: func() string { return e.id }, Seal: seal, Admission: e.trust, Logger: slog.New(slog.DiscardHandler),
		Verify: func(chain []*x509.Certificate) error { return source.VerifyPeer(chain, cluster) },
	})
	return e
}

func (e *end) port(l net.Listener) *Port {
	return NewPort(l, func() tlsutil.PeerEnd { return e.source.PeerServer(cluster, Protocols...) }, e.gate, preauth.New(preauth.Config{}), slog.New(slog.DiscardHandler))
}

func (e *end) dialer(t *testing.T) *Dialer {
	return NewDialer(func(protocol string) tlsutil.PeerEnd { return e.source.PeerClient(cluster, protocol) }, e.gate, nil)
}

var member = tlsutil.Identity{Cluster: cluster, Role: tlsutil.RoleNode, Name: "a"}

// serve runs a port and returns its address and its port.
func serve(t *testing.T, ca *tlsutil.Authority, n Node, api http.Handler) (string, *Port) {
	t.Helper()
	return newEnd(tlsutil.Static(certificate(t, ca, member), ca.Pool()), answering, sealKey).serve(t, n, api)
}

func (e *end) serve(t *testing.T, n Node, api http.Handler) (string, *Port) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := e.port(listener)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- p.Run(ctx) }()
	go func() { ended <- p.Serve(ctx, Handler(n, api)) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	return listener.Addr().String(), p
}

func dialer(t *testing.T, cert tls.Certificate, pool *x509.CertPool) *Dialer {
	t.Helper()
	return newEnd(tlsutil.Static(cert, pool), dialling, sealKey).dialer(t)
}

func newClient(t *testing.T, d *Dialer, id string) *Client {
	t.Helper()
	c := NewClient(d, func() string { return id })
	t.Cleanup(c.Close)
	return c
}

func TestRequests(t *testing.T) {
	ca := authority(t)
	addr, _ := serve(t, ca, node{id: "c1"}, http.NotFoundHandler())
	c := newClient(t, dialer(t, certificate(t, ca, member), ca.Pool()), "c1")
	ctx, to := context.Background(), Target{answering, addr}
	if h, err := c.Hello(ctx, addr, Hello{Address: "x:1"}); err != nil || h.NodeID != "n1" || h.Address != "x:1" {
		t.Errorf("hello %+v %v", h, err)
	}
	if a, err := c.Report(ctx, to, Report{Member: dialling}); err != nil || !a.Full {
		t.Errorf("report %+v %v", a, err)
	}
	if i, err := c.ReadIndex(ctx, to); err != nil || i.Index != 7 || !slices.Equal(i.Members, []string{dialling}) {
		t.Errorf("read index %+v %v", i, err)
	}
	if z, err := c.SeeZone(ctx, to, "west"); err != nil || z.Name != "west" {
		t.Errorf("see zone %+v %v", z, err)
	}
	other := newClient(t, dialer(t, certificate(t, ca, member), ca.Pool()), "c2")
	if _, err := other.Hello(ctx, addr, Hello{}); federation.AsError(err).Reason != "other_cluster" {
		t.Errorf("another cluster: %v", err)
	}
}

// TestTheLeaderJudgesWhoForwards: what is forwarded is not served for a node that is a member
// in the eyes of the node that it asks, and none in the leader's.
func TestTheLeaderJudgesWhoForwards(t *testing.T) {
	ca := authority(t)
	served := 0
	api := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ })
	for _, judged := range []error{NoMember(dialling), nil} {
		addr, _ := serve(t, ca, node{id: "c1", judged: judged}, api)
		c := newClient(t, dialer(t, certificate(t, ca, member), ca.Pool()), "c1")
		if _, err := c.ReadIndex(context.Background(), Target{answering, addr}); err != nil {
			t.Fatalf("it is a member here: %v", err)
		}
		w := httptest.NewRecorder()
		err := c.Forward(w, httptest.NewRequest("GET", "/v1/keys", nil), Target{answering, addr}, access.Caller{Name: "ann", Via: "token"}, "id-1",
			func(context.Context, uint64) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{true: 403, false: 200}[judged != nil]; w.Code != want {
			t.Errorf("judged %v: %d %s", judged, w.Code, w.Body)
		}
	}
	if served != 1 {
		t.Errorf("%d requests were served", served)
	}
}

// TestNobodyIsRemovedByAStart: a node whose Raft does not run yet knows no members, and
// refuses nobody as one that was removed.
func TestNobodyIsRemovedByAStart(t *testing.T) {
	ca := authority(t)
	addr, _ := serve(t, ca, node{id: "c1", starting: true}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the API was asked") }))
	c := newClient(t, dialer(t, certificate(t, ca, member), ca.Pool()), "c1")
	_, err := c.ReadIndex(context.Background(), Target{answering, addr})
	if e := federation.AsError(err); e == nil || e.Code != federation.Unavailable || e.Reason != "not_leader" || e.RetryAfter == 0 {
		t.Errorf("a read index: %v", err)
	}
	w := httptest.NewRecorder()
	if err := c.Forward(w, httptest.NewRequest("GET", "/v1/keys", nil), Target{answering, addr}, access.Caller{Name: "ann", Via: "token"}, "id-1",
		func(context.Context, uint64) error { return nil }); err == nil && w.Code != http.StatusServiceUnavailable {
		t.Errorf("what is forwarded: %d %s", w.Code, w.Body)
	}
}

// An error arrives as it was given.
func TestErrorsTravel(t *testing.T) {
	ca := authority(t)
	want := federation.Errorf(federation.Unavailable, "this node is not the leader").WithReason("not_leader").WithHint("ask another")
	want.RetryAfter = 2 * time.Second
	addr, _ := serve(t, ca, node{err: want}, http.NotFoundHandler())
	c := newClient(t, dialer(t, certificate(t, ca, member), ca.Pool()), "")
	_, err := c.ReadIndex(context.Background(), Target{answering, addr})
	got := federation.AsError(err)
	if got.Code != want.Code || got.Detail != want.Detail || got.Reason != want.Reason || got.Hint != want.Hint || got.RetryAfter != want.RetryAfter {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	ca, foreign := authority(t), authority(t)
	addr, _ := serve(t, ca, node{}, http.NotFoundHandler())
	zone := tlsutil.Identity{Cluster: cluster, Role: tlsutil.RoleZone, Name: "west"}
	user := tlsutil.Identity{Cluster: cluster, Role: tlsutil.RoleUser, Name: "ann"}
	elsewhere := tlsutil.Identity{Cluster: "other", Role: tlsutil.RoleNode, Name: "a"}
	for name, cert := range map[string]tls.Certificate{
		"another CA's certificate":      certificate(t, foreign, member),
		"a zone's certificate":          certificate(t, ca, zone),
		"a user's certificate":          certificate(t, ca, user),
		"another cluster's certificate": certificate(t, ca, elsewhere),
		"no certificate":                {},
	} {
		for _, protocol := range Protocols {
			// The client trusts whom it talks to: the port has to refuse.
			config := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{protocol}}
			if cert.Certificate != nil {
				config.Certificates = []tls.Certificate{cert}
			}
			conn, err := tls.Dial("tcp", addr, config)
			if err != nil {
				continue
			}
			// In TLS 1.3 the refusal comes with the first read.
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
			if err == nil || !strings.Contains(err.Error(), "remote error: tls") {
				t.Errorf("%s, protocol %s: %v", name, protocol, err)
			}
		}
	}
}

func TestWhatIsNoPeer(t *testing.T) {
	ca, foreign := authority(t), authority(t)
	mine := certificate(t, ca, member)
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	impostor, _ := serve(t, foreign, node{}, http.NotFoundHandler())
	for name, tt := range map[string]struct{ addr, says string }{
		"a port that answers HTTP": {strings.TrimPrefix(plain.URL, "http://"), "it does not speak TLS"},
		"a node of another CA":     {impostor, "not of this cluster's CA"},
		"nobody":                   {"127.0.0.1:1", "connection refused"},
	} {
		c := newClient(t, dialer(t, mine, ca.Pool()), "")
		_, err := c.Hello(context.Background(), tt.addr, Hello{})
		e := federation.AsError(err)
		if e == nil || e.Code != federation.Unavailable || !strings.Contains(e.Detail, tt.says) || strings.Contains(e.Detail, "\n") {
			t.Errorf("%s: %v, want one line that says %q", name, err, tt.says)
		}
	}
}

// The two protocols of a port do not mix.
func TestProtocolsApart(t *testing.T) {
	ca := authority(t)
	addr, p := serve(t, ca, node{}, http.NotFoundHandler())
	d := dialer(t, certificate(t, ca, member), ca.Pool())
	raft, err := d.Connect(context.Background(), "", addr, tlsutil.ALPNRaft)
	if err != nil {
		t.Fatal(err)
	}
	defer raft.Close()
	accepted, err := p.Raft().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if _, err := raft.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := accepted.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("read %d %v", n, err)
	}
	if _, err := d.Connect(context.Background(), "", addr, "http/1.1"); err == nil {
		t.Error("a protocol that the port does not have was taken")
	}
}

func TestForward(t *testing.T) {
	ca := authority(t)
	caller := access.Caller{Name: "ann \"é\"", Groups: []string{"admin", "a,b"}, Via: access.ViaToken, Remote: "192.0.2.1:4711"}
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := access.Policy{Forwarded: true}.Authenticate(r)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(caller) {
			t.Errorf("caller %+v %v", got, err)
		}
		if r.URL.RequestURI() != "/zones/a%2Fb?size=1" || r.Header.Get("X-Request-Id") != "id-1" || r.Host != "api.example" {
			t.Errorf("request %s of %s, id %s", r.URL, r.Host, r.Header.Get("X-Request-Id"))
		}
		if preauth.From(r.Context()) == nil {
			t.Error("the request counts against no quota of the member's")
		}
		w.Header().Set("ETag", `"x"`)
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write([]byte("tea"))
	})
	addr, _ := serve(t, ca, node{}, api)
	c := newClient(t, dialer(t, certificate(t, ca, member), ca.Pool()), "")
	r := httptest.NewRequest("PUT", "http://api.example/zones/a%2Fb?size=1", strings.NewReader("{}"))
	w := httptest.NewRecorder()
	var awaited uint64
	err := c.Forward(w, r, Target{answering, addr}, caller, "id-1", func(_ context.Context, index uint64) error { awaited = index; return nil })
	if err != nil || w.Code != http.StatusTeapot || w.Body.String() != "tea" || w.Header().Get("ETag") != `"x"` || awaited != 42 {
		t.Errorf("%v: answer %d %q, awaited %d", err, w.Code, w.Body, awaited)
	}
	if w.Header().Get(headerApplied) != "" {
		t.Error("a header between members reaches the caller")
	}
}

// What may have been done is reported so and not sent again; what was not sent is not.
func TestOutcomesOfForwarding(t *testing.T) {
	ca := authority(t)
	calls := 0
	addr, _ := serve(t, ca, node{}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		calls++
		panic(http.ErrAbortHandler)
	}))
	d := dialer(t, certificate(t, ca, member), ca.Pool())
	forward := func(addr string) error {
		r := httptest.NewRequest("POST", "http://x/v1/revocations", strings.NewReader("{}"))
		return newClient(t, d, "").Forward(httptest.NewRecorder(), r, Target{answering, addr}, access.Caller{Name: "a", Via: "token"}, "id",
			func(context.Context, uint64) error { return nil })
	}
	if err := forward(addr); federation.CodeOf(err) != federation.UnknownOutcome || calls != 1 {
		t.Errorf("after %d calls: %v", calls, err)
	}
	if err := forward("127.0.0.1:1"); federation.CodeOf(err) != federation.Unavailable {
		t.Errorf("nobody there: %v", err)
	}
	refusing, _ := serve(t, ca, node{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		e := federation.Errorf(federation.Unavailable, "no").WithReason("not_leader")
		e.RetryAfter = time.Second
		apierr.WriteError(w, e)
	}))
	var e *federation.Error
	if err := forward(refusing); !errors.As(err, &e) || e.Reason != "not_leader" || e.RetryAfter != time.Second {
		t.Errorf("a former leader: %v", err)
	}
}

func TestAForwardedRequestNeedsACaller(t *testing.T) {
	for name, header := range map[string]http.Header{
		"none":     {},
		"two":      {"Meridian-Caller": {"e30=", "e30="}},
		"no JSON":  {"Meridian-Caller": {"eA=="}},
		"nobody":   {"Meridian-Caller": {"e30="}},
		"too long": {"Meridian-Caller": {strings.Repeat("A", 30<<10)}},
		"a token":  {"Authorization": {"Bearer x"}},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header = header
		if _, err := (access.Policy{Forwarded: true}).Authenticate(r); federation.CodeOf(err) != federation.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
}
