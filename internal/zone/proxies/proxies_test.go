package proxies

import (
	"context"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/zone/proxyauth"
	proxyres "github.com/meridiankds/meridian/internal/zone/resource"
	"github.com/meridiankds/meridian/internal/zone/sessions"
)

type noSource struct{}

func (noSource) View() cptoken.View       { return noView{} }
func (noSource) Changed() <-chan struct{} { return nil }

type noView struct{}

func (noView) Key(cptoken.KeyID) *cptoken.PublicKey              { return nil }
func (noView) Revoked(cptoken.Kind, string, string) bool         { return false }
func (noView) CutOff(_ cptoken.Kind, _, _ string) (at time.Time) { return at }

func (noView) Pruned() (none time.Time) { return none }

func newRegistry(now *time.Time) *Registry {
	clock := func() time.Time { return *now }
	return New(Config{Sessions: sessions.New(sessions.Config{Source: noSource{}, Now: clock}), Now: clock})
}

func resource(t *testing.T) *proxyres.Resource {
	t.Helper()
	r, err := proxyres.ParseRequest([]byte(`{"type":"Dataplane","mesh":"default","name":"a","networking":{"address":"10.0.0.1"}}`))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// by is an admission with a token of an id, for a name or for any.
func by(id, name string) *proxyauth.Admission {
	return &proxyauth.Admission{Method: keyring.DataplaneToken, TokenID: id, Proxy: proxyauth.Proxy{Type: "dataplane", Mesh: "default", Name: "a"},
		Claims: &cptoken.Claims{Kind: cptoken.Dataplane, Name: name}, Grant: cptoken.ForeignGrant(id, time.Time{}, time.Time{})}
}

func TestWhoMayHaveAName(t *testing.T) {
	now := time.Now()
	pod := by("", "")
	pod.Method, pod.Claims, pod.Account = keyring.ServiceAccountToken, nil, &proxyauth.Account{Namespace: "n", Name: "sa", Pod: "a"}
	none := &proxyauth.Admission{Method: keyring.None, Proxy: pod.Proxy, Grant: cptoken.ForeignGrant("", time.Time{}, time.Time{})}
	for name, tc := range map[string]struct {
		holder, newcomer *proxyauth.Admission
		remote           string
		taken            bool
	}{
		"the same token":          {by("1", ""), by("1", ""), "10.0.0.2:1", false},
		"the same address":        {by("1", ""), by("2", ""), "10.0.0.1:9", false},
		"another of both":         {by("1", ""), by("2", ""), "10.0.0.2:1", true},
		"a token for the name":    {by("1", ""), by("2", "a"), "10.0.0.2:1", false},
		"a pod's token":           {by("1", ""), pod, "10.0.0.2:1", false},
		"nothing, another place":  {none, none, "10.0.0.2:1", true},
		"nothing, the same place": {none, none, "10.0.0.1:2", false},
	} {
		r := newRegistry(&now)
		holder, err := r.Attach(t.Context(), resource(t), tc.holder, Caller{Remote: "10.0.0.1:1"})
		if err != nil {
			t.Fatal(err)
		}
		newcomer, err := r.Attach(t.Context(), resource(t), tc.newcomer, Caller{Remote: tc.remote})
		if e := federation.AsError(err); (e != nil) != tc.taken || e != nil && (e.Reason != NameTaken || e.Code != federation.Conflict || e.Hint == "") {
			t.Errorf("%s: %v", name, err)
		}
		if err := r.Register(resource(t), tc.newcomer, tc.remote); (err != nil) != tc.taken {
			t.Errorf("%s, at /bootstrap: %v", name, err)
		}
		if err := holder.Check(); err != nil {
			t.Errorf("%s: the holder was disturbed: %v", name, err)
		}
		// Once the holder is gone the name is free.
		holder.Close()
		if newcomer == nil {
			if newcomer, err = r.Attach(t.Context(), resource(t), tc.newcomer, Caller{Remote: tc.remote}); err != nil {
				t.Errorf("%s, after that: %v", name, err)
				continue
			}
		}
		newcomer.Close()
		if n := len(r.Proxies()); n != 0 {
			t.Errorf("%s: %d connections are left", name, n)
		}
	}
}

// TestStreamsOfAProxyDoNotDisplaceEachOther: one too many is refused, until the oldest
// has left unanswered what it was sent.
func TestStreamsOfAProxyDoNotDisplaceEachOther(t *testing.T) {
	now := time.Now()
	r := newRegistry(&now)
	var all []*Connection
	attach := func() error {
		c, err := r.Attach(t.Context(), resource(t), by("1", ""), Caller{Remote: "10.0.0.1:1"})
		if err == nil {
			all = append(all, c)
			c.Sent("type", "1", "n")
			c.Answered("type", "n", "")
		}
		return err
	}
	for range MaxPerName {
		if err := attach(); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(time.Hour)
	if e := federation.AsError(attach()); e == nil || e.Reason != TooMany || e.RetryAfter == 0 {
		t.Fatalf("one too many: %v", e)
	}
	all[0].Sent("type", "2", "m")
	now = now.Add(2 * silence)
	if err := attach(); err != nil {
		t.Fatalf("beside a silent one: %v", err)
	}
	if e := federation.AsError(context.Cause(all[0].Context())); e == nil || e.Reason != Displaced {
		t.Errorf("the silent one ended with %v", e)
	}
	for _, c := range all[1:] {
		if err := c.Check(); err != nil {
			t.Error(err)
		}
	}
	for _, c := range all {
		c.Close()
	}
}

// TestWhoSaysAName keeps the proxy that a token is for from nothing: neither its streams,
// nor its pace, nor the places of the registry.
func TestWhoSaysAName(t *testing.T) {
	now := time.Now()
	r := newRegistry(&now)
	attach := func(a *proxyauth.Admission, remote string) (*Connection, error) {
		c, err := r.Attach(t.Context(), resource(t), a, Caller{Remote: remote})
		if err == nil {
			c.Sent("type", "1", "n")
			c.Answered("type", "n", "")
		}
		return c, err
	}
	said := by("1", "")
	for range MaxPerName {
		if _, err := attach(said, "10.0.0.9:1"); err != nil {
			t.Fatal(err)
		}
	}
	for range MaxPerName { // no more than these at once, or they would be slowed
		c, err := attach(by("2", "a"), "10.0.0.1:1")
		if err != nil {
			t.Fatalf("the proxy of that name, beside one that says it: %v", err)
		}
		defer c.Close()
	}
	if _, err := attach(by("2", "a"), "10.0.0.1:1"); federation.AsError(err).Reason != TooMany {
		t.Errorf("one too many of its own: %v", err)
	}
	if _, err := attach(said, "10.0.0.9:1"); federation.AsError(err).Reason != NameTaken {
		t.Errorf("who says the name, beside the proxy of that name: %v", err)
	}
	if len(r.pacer.turns) != 2 {
		t.Errorf("%d have a pace, of a proxy and who says its name", len(r.pacer.turns))
	}

	r = newRegistry(&now)
	if err := r.Register(resource(t), by("2", "a"), "10.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	base := resource(t)
	for i := range MaxRegistered {
		now = now.Add(time.Millisecond)
		one := *base
		one.Name = "p" + time.Duration(i).String()
		if err := r.Register(&one, said, "10.0.0.9:1"); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.known) != MaxRegistered || r.Find("dataplane", "default.a") == nil {
		t.Errorf("%d known, and the proxy of that name was forgotten", len(r.known))
	}
}

func TestAProxyIsForgottenAfterAnHour(t *testing.T) {
	now := time.Now()
	r := newRegistry(&now)
	if r.Find("dataplane", "default.a") != nil {
		t.Error("found who never was there")
	}
	if err := r.Register(resource(t), by("1", ""), "10.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	if found := r.Find("dataplane", "default.a"); found == nil || found.Name != "a" || r.Find("ingress", "default.a") != nil {
		t.Errorf("found %v", found)
	}
	c, err := r.Attach(t.Context(), resource(t), by("1", ""), Caller{Remote: "10.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Hour)
	if r.Find("dataplane", "default.a") == nil {
		t.Error("forgotten while connected")
	}
	c.Close()
	now = now.Add(2 * time.Hour)
	if r.Find("dataplane", "default.a") != nil {
		t.Error("never forgotten")
	}
}

func TestTheRegistryIsBounded(t *testing.T) {
	now := time.Now()
	r := newRegistry(&now)
	base := resource(t)
	for i := range MaxRegistered + 10 {
		one := *base
		one.Name = "p" + time.Duration(i).String()
		if err := r.Register(&one, by("1", ""), "10.0.0.1:1"); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Millisecond)
	}
	if len(r.known) != MaxRegistered || len(r.byNode) != MaxRegistered || r.Find("dataplane", "default.p0s") != nil {
		t.Errorf("%d known, %d by node", len(r.known), len(r.byNode))
	}
}

// TestReviewedConnectionsEnd: who vouched for a proxy is asked again while it is
// connected, and a refusal ends its connection with that cause.
func TestReviewedConnectionsEnd(t *testing.T) {
	registry := sessions.New(sessions.Config{Source: noSource{}, ReviewEvery: 10 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- registry.RunReviews(ctx) }()
	defer func() {
		cancel()
		<-done
	}()
	gone := federation.Errorf(federation.Unauthenticated, "the pod is gone").WithReason("not_authenticated")
	admission := by("1", "")
	admission.Review = func(context.Context) error { return gone }
	c, err := New(Config{Sessions: registry}).Attach(t.Context(), resource(t), admission, Caller{Remote: "10.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	select {
	case <-c.Context().Done():
	case <-time.After(time.Minute):
		t.Fatal("the connection goes on")
	}
	if federation.AsError(context.Cause(c.Context())).Reason != "not_authenticated" {
		t.Errorf("ended by %v", context.Cause(c.Context()))
	}
}
