package kds_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/client"
	"github.com/meridiankds/meridian/kds/kdspb"
	"github.com/meridiankds/meridian/kds/server"
)

// fakeRelay answers what is asked of it, or as answer says.
type fakeRelay struct {
	mu     sync.Mutex
	asked  []kds.TokenRequest
	zones  []string
	answer func(ctx context.Context) error
}

func (f *fakeRelay) DataplaneToken(ctx context.Context, zone string, r kds.TokenRequest) (kds.IssuedToken, error) {
	f.mu.Lock()
	f.asked, f.zones = append(f.asked, r), append(f.zones, zone)
	answer := f.answer
	f.mu.Unlock()
	if answer != nil {
		if err := answer(ctx); err != nil {
			return kds.IssuedToken{}, err
		}
	}
	return kds.IssuedToken{Token: "a.fine.token", KeyWaiting: "newer"}, nil
}

const userSecret = "user.secret.token"

func tokenRequest() kds.TokenRequest {
	return kds.TokenRequest{UserToken: userSecret, Name: "dp1", Mesh: "default", Type: "dataplane", Workload: "w1", ValidFor: "1h", RequestID: "r1",
		Tags: map[string][]string{"kuma.io/service": {"a", "b"}, "empty": nil}}
}

func TestRelay(t *testing.T) {
	relay := &fakeRelay{}
	m := start(t, func(c *server.Config) { c.Relay = relay })
	z := join(t, "west", nil, m.addr)
	kdstest.Eventually(t, "the zone is connected", func() bool { return z.Status().Connected })
	issued, err := z.DataplaneToken(t.Context(), tokenRequest())
	if err != nil || issued.Token != "a.fine.token" || issued.KeyWaiting != "newer" {
		t.Fatalf("%v, %v", issued, err)
	}
	got := relay.asked[0]
	if got.UserToken != userSecret || got.Name != "dp1" || got.Mesh != "default" || got.Type != "dataplane" || got.Workload != "w1" || got.ValidFor != "1h" || got.RequestID != "r1" ||
		fmt.Sprint(got.Tags) != "map[empty:[] kuma.io/service:[a b]]" || relay.zones[0] != "west" {
		t.Errorf("asked %+v of %v", got.Tags, relay.zones)
	}

	// A refusal comes back as it was said.
	said := &federation.Error{Code: federation.Forbidden, Detail: "no\x1b[31m", Hint: "ask", Reason: "relay_not_allowed", RetryAfter: time.Second,
		Fields: []federation.FieldError{{Field: "mesh", Reason: "unknown"}}}
	relay.mu.Lock()
	relay.answer = func(context.Context) error { return said }
	relay.mu.Unlock()
	_, err = z.DataplaneToken(t.Context(), tokenRequest())
	e := federation.AsError(err)
	if e.Code != said.Code || e.Detail != "no?[31m" || e.Hint != "ask" || e.Reason != said.Reason || e.RetryAfter != time.Second || len(e.Fields) != 1 || e.Fields[0] != said.Fields[0] {
		t.Errorf("the refusal is %+v", e)
	}
	// What nobody should see does not.
	relay.mu.Lock()
	relay.answer = func(context.Context) error { return errors.New("the database is at 10.0.0.1") }
	relay.mu.Unlock()
	if _, err = z.DataplaneToken(t.Context(), tokenRequest()); federation.CodeOf(err) != federation.Internal || strings.Contains(err.Error(), "10.0.0.1") {
		t.Errorf("a defect: %v", err)
	}
	if s := m.Stats(); s.Relayed != 1 || s.RelayRefused != 2 {
		t.Errorf("counted %d and %d", s.Relayed, s.RelayRefused)
	}

	// The global goes away: a clear word at once, and no state is lost.
	m.stop()
	kdstest.Eventually(t, "the zone noticed", func() bool { return !z.Status().Connected })
	_, err = z.DataplaneToken(t.Context(), tokenRequest())
	if e := federation.AsError(err); e.Code != federation.Unavailable || e.Reason != kds.ReasonGlobalAway || e.Hint == "" || e.RetryAfter == 0 {
		t.Errorf("with the global away: %+v", e)
	}
	for _, log := range []*kdstest.Log{m.log, z.log} {
		if strings.Contains(log.String(), userSecret) || strings.Contains(log.String(), "a.fine.token") {
			t.Error("a token stands in the log")
		}
	}
}

func TestRelayIsForAuthenticatedZones(t *testing.T) {
	m := start(t, func(c *server.Config) { c.Relay = &fakeRelay{} })
	m.auth.Mu.Lock()
	m.auth.Open = true
	m.auth.Mu.Unlock()
	z := join(t, "west", func(c *client.Config) { c.Token = nil }, m.addr)
	kdstest.Eventually(t, "the zone is connected", func() bool { return z.Status().Connected })
	if _, err := z.DataplaneToken(t.Context(), tokenRequest()); federation.AsError(err).Reason != kds.ReasonUnproven {
		t.Errorf("without authentication: %v", err)
	}
}

func TestRelayWithoutOne(t *testing.T) {
	m := start(t, nil)
	z := join(t, "west", nil, m.addr)
	kdstest.Eventually(t, "the zone is connected", func() bool { return z.Status().Connected })
	if _, err := z.DataplaneToken(t.Context(), tokenRequest()); federation.AsError(err).Reason != kds.ReasonNoRelay {
		t.Errorf("%v", err)
	}
}

func TestRelayLimits(t *testing.T) {
	hold := make(chan struct{})
	entered := make(chan struct{}, 8)
	relay := &fakeRelay{answer: func(ctx context.Context) error {
		entered <- struct{}{}
		select {
		case <-hold:
		case <-ctx.Done():
		}
		return nil
	}}
	m := start(t, func(c *server.Config) {
		c.Relay, c.Limits.RelaysPerZone, c.Limits.RelayMessage = relay, 2, 1<<10
	})
	z := join(t, "west", nil, m.addr)
	east := join(t, "east", nil, m.addr)
	kdstest.Eventually(t, "the zones are connected", func() bool { return z.Status().Connected && east.Status().Connected })

	huge := tokenRequest()
	huge.Name = strings.Repeat("x", 2<<10)
	if _, err := z.DataplaneToken(t.Context(), huge); federation.CodeOf(err) != federation.TooLarge {
		t.Errorf("2 KiB: %v", err)
	}
	var pending sync.WaitGroup
	for range 2 {
		pending.Go(func() {
			if _, err := z.DataplaneToken(t.Context(), tokenRequest()); err != nil {
				t.Errorf("within the limit: %v", err)
			}
		})
		<-entered
	}
	if _, err := z.DataplaneToken(t.Context(), tokenRequest()); federation.AsError(err).Reason != kds.ReasonBusyRelay || federation.AsError(err).RetryAfter == 0 {
		t.Errorf("the third: %v", err)
	}
	pending.Go(func() {
		if _, err := east.DataplaneToken(t.Context(), tokenRequest()); err != nil {
			t.Errorf("another zone: %v", err)
		}
	})
	<-entered
	close(hold)
	pending.Wait()
	if _, err := z.DataplaneToken(t.Context(), tokenRequest()); err != nil {
		t.Errorf("after the others: %v", err)
	}
}

// TestRelayIsAuthenticated: nothing of a call is read before its caller is admitted.
func TestRelayIsAuthenticated(t *testing.T) {
	relay := &fakeRelay{}
	m := start(t, func(c *server.Config) { c.Relay = relay })
	conn := dialRaw(t, m.addr)
	for _, md := range [][]string{nil, {kds.MDZone, "west"}, {kds.MDZone, "west", kds.MDAuthorization, "Bearer east"}} {
		r := openRaw(t, conn, kds.RPCDataplaneToken, md...)
		_ = r.stream.SendMsg(&kdspb.DataplaneTokenRequest{UserToken: userSecret, Mesh: "default"})
		if err := r.stream.RecvMsg(&kdspb.DataplaneTokenResponse{}); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%q: %v", md, err)
		}
	}
	if len(relay.asked) != 0 {
		t.Error("the relay was asked")
	}
	r := openRaw(t, conn, kds.RPCDataplaneToken, as("west")...)
	if err := r.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := r.stream.RecvMsg(&kdspb.DataplaneTokenResponse{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("no request: %v", err)
	}
}

func TestTokensDoNotPrint(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		text := fmt.Sprintf(verb+verb+verb, tokenRequest(), kds.IssuedToken{Token: "a.fine.token"}, []kds.TokenRequest{tokenRequest()})
		if strings.Contains(text, userSecret) || strings.Contains(text, "a.fine.token") || strings.Contains(text, fmt.Sprintf("%x", userSecret)) {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}
