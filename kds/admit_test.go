package kds_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kdspb"
	"github.com/meridiankds/meridian/kds/server"
	"github.com/meridiankds/meridian/kds/wire"
)

// everyMethod is each RPC of the port.
var everyMethod = []string{
	kds.RPCGlobalToZone,
	"/" + kds.SyncService + "/ZoneToGlobalSync",
	"/" + kds.GlobalService + "/StreamXDSConfigs",
	"/" + kds.GlobalService + "/StreamStats",
	"/" + kds.GlobalService + "/StreamClusters",
	kds.RPCHealthCheck,
}

// callOnce makes a call and returns its error; a stream that is admitted is left
// at once.
func callOnce(t *testing.T, conn *grpc.ClientConn, method string, md ...string) error {
	t.Helper()
	if method == kds.RPCHealthCheck {
		ctx := metadata.NewOutgoingContext(context.Background(), metadata.Pairs(md...))
		return conn.Invoke(ctx, method, &kdspb.ZoneHealthCheckRequest{}, &kdspb.ZoneHealthCheckResponse{})
	}
	r := openRaw(t, conn, method, md...)
	defer r.cancel()
	h, err := r.stream.Header()
	if err != nil {
		return err
	}
	if len(h.Get(kds.MDMember)) == 1 {
		return nil
	}
	_, err = r.recv()
	return err
}

func TestEveryCallIsAuthenticated(t *testing.T) {
	m := start(t, func(c *server.Config) { c.Limits.RefusalLines = 1000 })
	m.auth.Refuse("old", "expired")
	m.auth.Refuse("strange", "unknown_key")
	conn := dialRaw(t, m.addr)
	long := strings.Repeat("x", kds.MaxAuthorization+1)
	cases := []struct {
		name    string
		md      []string
		message string // what the peer is told
		reason  string // what is counted
	}{
		{"its own zone", as("west"), "", ""},
		{"no zone", []string{kds.MDAuthorization, "Bearer west"}, "authentication failed", kds.ReasonNoZone},
		{"two zones", append(as("west"), kds.MDZone, "east"), "authentication failed", kds.ReasonNoZone},
		{"not a zone's name", []string{kds.MDZone, "WEST!", kds.MDAuthorization, "Bearer west"}, "authentication failed", kds.ReasonNoZone},
		{"no token", []string{kds.MDZone, "west"}, "authentication failed", "bad_signature"},
		{"forged token", []string{kds.MDZone, "west", kds.MDAuthorization, "Bearer forged"}, "authentication failed", "bad_signature"},
		{"unknown key", as("strange"), "authentication failed", "unknown_key"},
		{"expired token", as("old"), "authentication failed: expired", "expired"},
		{"another zone's token", []string{kds.MDZone, "east", kds.MDAuthorization, "Bearer west"}, "authentication failed: wrong_zone", "wrong_zone"},
		{"two tokens", append(as("west"), kds.MDAuthorization, "Bearer east"), "authentication failed", kds.ReasonBadMetadata},
		{"endless token", []string{kds.MDZone, "west", kds.MDAuthorization, long}, "authentication failed", kds.ReasonBadMetadata},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, method := range everyMethod {
				before := m.Stats()
				err := callOnce(t, conn, method, c.md...)
				if c.message == "" {
					if err != nil {
						t.Errorf("%s: %v", method, err)
					}
					continue
				}
				st := status.Convert(err)
				if st.Code() != codes.Unauthenticated || st.Message() != c.message {
					t.Errorf("%s: got %v, want Unauthenticated with %q", method, err, c.message)
				}
				after := m.Stats()
				if after.Refused[c.reason] != before.Refused[c.reason]+1 || after.Authenticated != before.Authenticated {
					t.Errorf("%s: not counted as %s: %v", method, c.reason, after.Refused)
				}
			}
		})
	}
	log := m.log.String()
	for _, want := range []string{"reason=expired", "reason=unknown_key", "reason=wrong_zone", "zone=west"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if strings.Contains(log, "Bearer") || strings.Contains(log, "forged") {
		t.Error("a credential stands in the log")
	}
}

// TestSuccessLine holds the line that operators are told to look for, once a
// connection.
// TestRefusedMayWait: who is refused waits as long as the hook keeps it, and who is
// not does not.
func TestRefusedMayWait(t *testing.T) {
	told, leave, many := make(chan server.Refusal, 4), make(chan struct{}), atomic.Bool{}
	m := start(t, func(c *server.Config) {
		c.Refused = func(ctx context.Context, r server.Refusal) error {
			told <- r
			if many.Load() {
				return federation.Errorf(federation.Unavailable, "too many").WithReason("too_many_failures")
			}
			select {
			case <-leave:
			case <-ctx.Done():
			}
			return nil
		}
	})
	conn := dialRaw(t, m.addr)
	answered := make(chan error, 1)
	go func() {
		answered <- callOnce(t, conn, kds.RPCHealthCheck, kds.MDZone, "west", kds.MDAuthorization, "Bearer forged")
	}()
	if r := <-told; r.Zone != "west" || r.Method != kds.RPCHealthCheck || r.Remote == "" || federation.CodeOf(r.Err) != federation.Unauthenticated {
		t.Errorf("told %+v", r)
	}
	if err := callOnce(t, conn, kds.RPCHealthCheck, as("west")...); err != nil {
		t.Errorf("a good credential on the same connection: %v", err)
	}
	select {
	case err := <-answered:
		t.Errorf("answered at once: %v", err)
	default:
	}
	close(leave)
	if err := <-answered; status.Code(err) != codes.Unauthenticated {
		t.Errorf("answered %v", err)
	}
	many.Store(true)
	if err := callOnce(t, conn, kds.RPCHealthCheck, kds.MDZone, "west", kds.MDAuthorization, "Bearer forged"); status.Code(err) != codes.Unavailable {
		t.Errorf("where too many wait: %v", err)
	}
}

func TestSuccessLine(t *testing.T) {
	m := start(t, nil)
	conn := dialRaw(t, m.addr)
	for _, method := range everyMethod {
		if err := callOnce(t, conn, method, as("west")...); err != nil {
			t.Fatal(err)
		}
	}
	line := regexp.MustCompile(`level=INFO msg="Remote CP successfully authenticated using Control Plane Token" tokenSerialNumber=7 zone=west `)
	if n := len(line.FindAllString(m.log.String(), -1)); n != 1 {
		t.Fatalf("the line stands %d times in the log, want once:\n%s", n, m.log)
	}
	if err := callOnce(t, dialRaw(t, m.addr), kds.RPCHealthCheck, as("west")...); err != nil {
		t.Fatal(err)
	}
	if n := len(line.FindAllString(m.log.String(), -1)); n != 2 {
		t.Fatalf("a second connection left %d lines", n)
	}
}

func TestUndecidedIsNotRefused(t *testing.T) {
	m := start(t, nil)
	m.auth.Fail(federation.Errorf(federation.Unavailable, "no leader"))
	if err := callOnce(t, dialRaw(t, m.addr), kds.RPCHealthCheck, as("west")...); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want Unavailable", err)
	}
	m.auth.Fail(fmt.Errorf("a secret in a library's message: %w", kdstest.ErrTest))
	err := callOnce(t, dialRaw(t, m.addr), kds.RPCGlobalToZone, as("west")...)
	if status.Code(err) != codes.Unavailable || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v, want Unavailable without the cause", err)
	}
}

func TestNodeIDMustBeTheZone(t *testing.T) {
	m := start(t, nil)
	conn := dialRaw(t, m.addr)
	t.Run("first request", func(t *testing.T) {
		for _, id := range []string{"east", "", "WEST"} {
			r := openRaw(t, conn, kds.RPCGlobalToZone, as("west")...)
			r.send(subscription(id, "Mesh", ""))
			if _, err := r.recv(); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), kds.ReasonNodeID) {
				t.Errorf("node.id %q: %v", id, err)
			}
		}
		r := openRaw(t, conn, kds.RPCGlobalToZone, as("west")...)
		req := subscription("west", "Mesh", "")
		req.Node = nil
		r.send(req)
		if _, err := r.recv(); status.Code(err) != codes.Unauthenticated {
			t.Errorf("no node: %v", err)
		}
	})
	t.Run("later request", func(t *testing.T) {
		r := openRaw(t, conn, kds.RPCGlobalToZone, as("west")...)
		r.send(subscription("west", "Mesh", ""))
		r.must()
		r.send(subscription("east", "Config", ""))
		if _, err := r.recv(); status.Code(err) != codes.Unauthenticated {
			t.Errorf("got %v", err)
		}
	})
	if n := m.Stats().Refused[kds.ReasonNodeID]; n != 5 {
		t.Errorf("counted %d times, want 5", n)
	}
}

func TestUnauthenticatedSessions(t *testing.T) {
	m := start(t, func(c *server.Config) { c.Limits.SessionsPerZone = 2 })
	m.auth.Open = true
	trusted := openRaw(t, dialRaw(t, m.addr), kds.RPCGlobalToZone, append(as("west"), kds.MDInstance, "one")...)
	trusted.send(subscription("west", "Mesh", ""))
	trusted.must()

	// Strangers of the same name come in beside it, up to the bound, and
	// displace nobody.
	for range 2 {
		r := openRaw(t, dialRaw(t, m.addr), kds.RPCGlobalToZone, kds.MDZone, "west", kds.MDInstance, "one")
		r.send(subscription("west", "Mesh", ""))
		r.must()
	}
	r := openRaw(t, dialRaw(t, m.addr), kds.RPCGlobalToZone, kds.MDZone, "west", kds.MDInstance, "other")
	r.send(subscription("west", "Mesh", ""))
	if _, err := r.recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one stranger too many: %v", err)
	}
	if m.Stats().Displaced != 0 {
		t.Error("an unauthenticated session displaced another")
	}
	trusted.send(subscription("west", "Config", ""))
	trusted.must()
	if !strings.Contains(m.log.String(), `msg="Remote CP connected without authentication" zone=west`) ||
		!strings.Contains(m.log.String(), `verdict="no token"`) {
		t.Error("the log does not say so")
	}

	// Who authenticates displaces them all.
	again := openRaw(t, dialRaw(t, m.addr), kds.RPCGlobalToZone, append(as("west"), kds.MDInstance, "one")...)
	again.send(subscription("west", "Mesh", ""))
	again.must()
	if _, err := trusted.recv(); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("the displaced session ends with %v", err)
	}
	if n := m.Stats().Displaced; n != 3 {
		t.Errorf("%d sessions were displaced, want 3", n)
	}
}

func TestDisplacement(t *testing.T) {
	m := start(t, nil)
	open := func(instance string) *raw {
		r := openRaw(t, dialRaw(t, m.addr), kds.RPCGlobalToZone, append(as("west"), kds.MDInstance, instance)...)
		r.send(subscription("west", kds.ChangesType, ""))
		r.must()
		return r
	}
	a, b := open("a"), open("b")
	side := openRaw(t, a.conn, "/"+kds.SyncService+"/ZoneToGlobalSync", as("west")...)
	if _, err := side.stream.Header(); err != nil {
		t.Fatal(err)
	}
	a2 := open("a")
	_, err := a.recv()
	if status.Code(err) != codes.FailedPrecondition || wire.ErrorOf(err).Reason != kds.ReasonDisplaced {
		t.Errorf("the older session of the instance ends with %v", err)
	}
	if _, err := side.recv(); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("the other call of the older connection ends with %v", err)
	}
	head := m.source.Add("after")
	for name, r := range map[string]*raw{"the other instance": b, "the newer session": a2} {
		if p, err := wire.DecodePart(r.must()); err != nil || p.To != head {
			t.Errorf("%s got %+v, %v", name, p, err)
		}
	}
	if n := len(m.Sessions()); n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
}

func TestDisconnectAndRecheck(t *testing.T) {
	m := start(t, nil)
	open := func(zone string) (*raw, *raw) {
		conn := dialRaw(t, m.addr)
		r := openRaw(t, conn, kds.RPCGlobalToZone, as(zone)...)
		r.send(subscription(zone, "Mesh", ""))
		r.must()
		side := openRaw(t, conn, "/"+kds.GlobalService+"/StreamStats", as(zone)...)
		if _, err := side.stream.Header(); err != nil {
			t.Fatal(err)
		}
		return r, side
	}
	west, westSide := open("west")
	east, eastSide := open("east")
	m.Disconnect("west", "zone_disabled")
	for _, r := range []*raw{west, westSide} {
		if _, err := r.recv(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "zone_disabled") {
			t.Errorf("a disconnected zone is told %v", err)
		}
	}
	kdstest.Eventually(t, "the session is closed", func() bool { s := m.session(t, "west"); return !s.Online() })

	m.Recheck(context.Background()) // finds nothing wrong
	east.send(subscription("east", "Config", ""))
	east.must()
	m.auth.Fail(federation.Errorf(federation.Unavailable, "cannot decide now"))
	m.Recheck(context.Background())
	east.send(subscription("east", "Secret", ""))
	east.must()
	m.auth.Fail(nil)
	m.auth.Refuse("east", "revoked")
	m.Recheck(context.Background())
	for _, r := range []*raw{east, eastSide} {
		if _, err := r.recv(); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "revoked") {
			t.Errorf("a zone whose token was revoked is told %v", err)
		}
	}
}

func TestSessionEndsWithItsCredential(t *testing.T) {
	hurry(t, func(d time.Duration) bool {
		m := start(t, nil)
		m.auth.Expires = time.Now().Add(d)
		conn := dialRaw(t, m.addr)
		r := openRaw(t, conn, kds.RPCGlobalToZone, as("west")...)
		r.offer(subscription("west", "Mesh", ""))
		if _, err := r.recv(); err != nil {
			return false
		}
		side := openRaw(t, conn, "/"+kds.GlobalService+"/StreamStats", as("west")...)
		for _, s := range []*raw{r, side} {
			if _, err := s.recv(); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "expired") {
				t.Errorf("got %v", err)
			}
		}
		return true
	})
}

// changingAuth admits a caller once, and while it does the world changes.
type changingAuth struct {
	meanwhile func()
	calls     atomic.Int64
}

func (a *changingAuth) Authenticate(_ context.Context, c kds.Credentials) (kds.Admission, error) {
	if a.calls.Add(1) > 1 {
		return kds.Admission{}, federation.Errorf(federation.Forbidden, "disabled").WithReason(kds.ReasonZoneDisabled)
	}
	a.meanwhile()
	return kds.Admission{Zone: c.Zone, Method: kds.MethodControlPlaneToken, Authenticated: true}, nil
}

// TestNobodySlipsThrough: a call that is being admitted while its zone is
// disconnected, or everybody is checked again, is checked again too.
func TestNobodySlipsThrough(t *testing.T) {
	for name, act := range map[string]func(*server.Server){
		"disconnect": func(s *server.Server) { s.Disconnect("west", "zone_disabled") },
		"recheck":    func(s *server.Server) { s.Recheck(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			auth := &changingAuth{}
			m := start(t, func(c *server.Config) { c.Authenticator = auth })
			auth.meanwhile = func() { act(m.Server) }
			err := callOnce(t, dialRaw(t, m.addr), kds.RPCGlobalToZone, as("west")...)
			if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), kds.ReasonZoneDisabled) {
				t.Errorf("got %v", err)
			}
		})
	}
}
