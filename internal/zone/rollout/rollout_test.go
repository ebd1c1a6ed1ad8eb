package rollout

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"

	"github.com/meridiankds/meridian/internal/zone/envoyres"
)

// both runs a test with either protocol, with an Envoy that has a listener, its routes and
// the cluster c1 behind them.
func both(t *testing.T, f func(t *testing.T, e *envoy, base []*envoyres.Resource)) {
	for name, delta := range map[string]bool{"state of the world": false, "delta": true} {
		t.Run(name, func(t *testing.T) {
			e := newEnvoy(t, delta)
			base := []*envoyres.Resource{listenerOf(t, "l1", "r1", ""), routeTo(t, "r1", "c1", ""), edsCluster(t, "c1", "s1", 1), assignment(t, "s1")}
			e.s.Want(envoyres.SetOf(base...))
			e.begin()
			e.wait()
			e.has(base...)
			f(t, e, base)
			e.check()
		})
	}
}

// TestWarming: what a changed resource waits for arrives, though the proxy has it.
func TestWarming(t *testing.T) {
	both(t, func(t *testing.T, e *envoy, base []*envoyres.Resource) {
		// A cluster of the same assignment, changed.
		next := []*envoyres.Resource{base[0], base[1], edsCluster(t, "c1", "s1", 2), base[3]}
		e.want(next...)
		e.wait()
		e.has(next...)
		// A second one for it, and the route moved at once.
		next = []*envoyres.Resource{base[0], routeTo(t, "r1", "c1v2", ""), edsCluster(t, "c1v2", "s1", 2), base[3]}
		e.want(next...)
		e.wait()
		e.has(next...)
		// Changed, and the route moved to another one before that was acknowledged.
		e.sluggish[types.Endpoint] = true
		e.want(base[0], routeTo(t, "r1", "c1v2", ""), edsCluster(t, "c1v2", "s1", 3), base[3])
		delete(e.sluggish, types.Endpoint)
		next = []*envoyres.Resource{base[0], routeTo(t, "r1", "c9", ""), edsCluster(t, "c1v2", "s1", 3), staticCluster(t, "c9", 1), base[3]}
		e.want(next...)
		e.wait()
		e.has(next...)
		// A listener with other settings that has the same routes.
		next[0] = listenerOf(t, "l1", "r1", "other")
		e.want(next...)
		e.wait()
		e.has(next...)
	})
}

// TestRefusedAndReliedOn: what refers to a refused resource waits, what it replaces stays,
// and everything else goes out.
func TestRefusedAndReliedOn(t *testing.T) {
	both(t, func(t *testing.T, e *envoy, base []*envoyres.Resource) {
		e.bad = func(r *envoyres.Resource) bool { return r.Name == "c9" }
		c9, l2, r2, c2 := staticCluster(t, "c9", 1), listenerOf(t, "l2", "r2", ""), routeTo(t, "r2", "c2", ""), staticCluster(t, "c2", 1)
		moved := routeTo(t, "r1", "c9", "")
		e.want(base[0], moved, c9, base[3], l2, r2, c2)
		e.wait()
		e.has(append(slices.Clone(base), l2, r2, c2)...)
		refusals := 0
		for _, text := range e.sent {
			if strings.Contains(text, "+c9") {
				refusals++
			}
		}
		if refusals != 1 {
			t.Errorf("the refused cluster was sent %d times: %q", refusals, e.sent)
		}
		var status []string
		for _, s := range e.s.Status() {
			for _, h := range append(s.Refused, s.Waiting...) {
				status = append(status, h.Name+" "+h.Reason)
			}
		}
		if text := strings.Join(status, "; "); !strings.Contains(text, "c9 c9: not taken") || !strings.Contains(text, "r1 refers to Cluster c9") {
			t.Errorf("status %q", text)
		}
		states := map[string]string{}
		for _, h := range e.s.Holdings() {
			states[h.Key.String()] = h.State
			if has := h.Has != nil; has != (h.State == Acknowledged || h.State == Removing || h.Key.Name == "r1") || has && h.Key.Name == "r1" && h.Has.Version == h.Wanted.Version {
				t.Errorf("%s is %s, and the proxy has %v of it", h.Key, h.State, h.Has)
			}
		}
		for name, want := range map[string]string{"Cluster c9": Refused, "RouteConfiguration r1": Waits, "Cluster c2": Acknowledged, "Cluster c1": Removing} {
			if states[name] != want {
				t.Errorf("%s is %q, want %q; all: %v", name, states[name], want, states)
			}
		}
		if n := e.s.Refusing(); n != 1 {
			t.Errorf("%d resources are said to be refused", n)
		}
		// What else is edited meanwhile goes out, and a later edit heals.
		c2 = staticCluster(t, "c2", 2)
		e.want(base[0], moved, c9, base[3], l2, r2, c2)
		e.wait()
		e.has(append(slices.Clone(base), l2, r2, c2)...)
		e.bad = func(*envoyres.Resource) bool { return false }
		next := []*envoyres.Resource{base[0], moved, staticCluster(t, "c9", 2), base[3], l2, r2, c2}
		e.want(next...)
		e.wait()
		e.has(next...)
	})
}

// TestFormerSetAfterARefusal: the good part of a refused response is applied, so that the
// proxy must be told again what it has.
func TestFormerSetAfterARefusal(t *testing.T) {
	both(t, func(t *testing.T, e *envoy, base []*envoyres.Resource) {
		// Both changed versions are refused as one response, with a text that names nobody.
		good, bad := staticCluster(t, "c3", 1), edsCluster(t, "c1", "s1", 7)
		e.bad = func(r *envoyres.Resource) bool { return r.Version == bad.Version }
		e.want(base[0], base[1], bad, base[3], good)
		e.wait()
		e.has(append(slices.Clone(base), good)...)
		// A new one alone: in the state of the world the former set comes again at once.
		e.bad = func(r *envoyres.Resource) bool { return r.Name == "c9" || r.Version == bad.Version }
		before := len(e.sent)
		e.want(base[0], base[1], base[2], base[3], good, staticCluster(t, "c9", 1))
		want := []string{"Cluster  +c1 +c3 +c9", "Cluster  +c1 +c3"}
		if e.delta {
			want = []string{"Cluster  +c9"}
		}
		if got := e.sent[before:]; !slices.Equal(got, want) {
			t.Errorf("sent %q, want %q", got, want)
		}
		// A changed one alone: its former version comes again.
		before = len(e.sent)
		e.want(base[0], base[1], bad, base[3], good, staticCluster(t, "c9", 1))
		want = []string{"Cluster  +c1 +c3", "Cluster  +c1 +c3"}
		if e.delta {
			want = []string{"Cluster  +c1", "Cluster  +c1"}
		}
		if got := slices.DeleteFunc(e.sent[before:], func(s string) bool { return !strings.HasPrefix(s, "Cluster ") }); !slices.Equal(got, want) {
			t.Errorf("sent %q, want %q", got, want)
		}
	})
}

// TestRefusalThatNamesNobody finds the bad ones of many.
func TestRefusalThatNamesNobody(t *testing.T) {
	for n := 1; n < 9; n++ {
		for bad := range n {
			var tr trials
			all := map[string]string{}
			for i := range n {
				all[fmt.Sprint("c", i)] = "v"
			}
			faulty := map[string]bool{fmt.Sprint("c", bad): true, fmt.Sprint("c", n/2): true}
			found := map[string]string{}
			next := tr.refused(all, "no")
			for steps := 0; ; steps++ {
				for name := range next {
					found[name] = "v"
				}
				if tr.now == nil || steps > 100 {
					break
				}
				is := false
				for name := range tr.now {
					is = is || faulty[name]
				}
				if is {
					next = tr.refused(tr.now, "no")
				} else {
					next = tr.accepted()
				}
			}
			if len(found) != len(faulty) || len(tr.queue) > 0 {
				t.Errorf("%d of which %v are bad: found %v, left %v", n, faulty, found, tr.queue)
			}
		}
	}
}

// TestRemovalsWait: a cluster goes when the proxy acknowledged the route that leaves it, a
// little later, and a listener's when its successor is warm and it has drained.
func TestRemovalsWait(t *testing.T) {
	both(t, func(t *testing.T, e *envoy, base []*envoyres.Resource) {
		c2 := staticCluster(t, "c2", 1)
		e.sluggish[types.Route] = true
		e.want(base[0], routeTo(t, "r1", "c2", ""), c2)
		e.now = e.now.Add(time.Hour)
		e.settle()
		if e.have[envoyres.Key{Kind: types.Cluster, Name: "c1"}] == nil {
			t.Errorf("the cluster went before the route was acknowledged: %q", e.sent)
		}
		delete(e.sluggish, types.Route)
		next := []*envoyres.Resource{base[0], routeTo(t, "r1", "c2", "again"), c2}
		e.want(next...)
		if e.have[envoyres.Key{Kind: types.Cluster, Name: "c1"}] == nil {
			t.Errorf("the cluster went at once: %q", e.sent)
		}
		e.wait()
		e.has(next...)

		// A listener with other routes, which do not come.
		c3 := staticCluster(t, "c3", 1)
		e.sluggish[types.Route] = true
		e.want(listenerOf(t, "l1", "r3", ""), routeTo(t, "r3", "c3", ""), c3)
		e.now = e.now.Add(time.Hour)
		e.settle()
		if e.have[envoyres.Key{Kind: types.Cluster, Name: "c2"}] == nil {
			t.Errorf("the cluster of the replaced listener went: %q", e.sent)
		}
		delete(e.sluggish, types.Route)
		e.want(listenerOf(t, "l1", "r3", ""), routeTo(t, "r3", "c3", "again"), c3)
		began := e.now
		for e.have[envoyres.Key{Kind: types.Cluster, Name: "c2"}] != nil {
			at := e.settle()
			if at.IsZero() {
				break
			}
			e.now = at
		}
		// The proxy still asks for r1, which refers to c2, until its listener has drained.
		if e.delta && e.now.Sub(began) < 10*time.Second {
			t.Errorf("the cluster went after %s, before the listener had drained: %q", e.now.Sub(began), e.sent)
		}
	})
}

// TestNothingIsWaitedForThatNobodyAsksFor: a client that asks by name, from the top down.
func TestNothingIsWaitedForThatNobodyAsksFor(t *testing.T) {
	s := NewStream(Options{})
	now := time.Unix(1, 0)
	s.Want(envoyres.SetOf(listenerOf(t, "l1", "r1", ""), routeTo(t, "r1", "c1", ""), edsCluster(t, "c1", "s1", 1), assignment(t, "s1"), staticCluster(t, "other", 1)))
	for _, key := range []envoyres.Key{{Kind: types.Listener, Name: "l1"}, {Kind: types.Route, Name: "r1"}, {Kind: types.Cluster, Name: "c1"}, {Kind: types.Endpoint, Name: "s1"}} {
		s.Take(&Request{Kind: key.Kind, Names: []string{key.Name}}, now)
		r, _ := s.Next(now)
		if r == nil || r.Kind != key.Kind || len(r.Resources) != 1 || r.Resources[0].Key != key {
			t.Fatalf("asked for %s, got %+v", key, r)
		}
	}
	if r, _ := s.Next(now); r != nil {
		t.Errorf("and %+v", r)
	}
}

// TestRepeatedRequests are answered, as often as is useful.
func TestRepeatedRequests(t *testing.T) {
	s := NewStream(Options{})
	now := time.Unix(1, 0)
	s.Want(envoyres.SetOf(assignment(t, "s1")))
	s.Take(&Request{Kind: types.Endpoint, Names: []string{"s1"}}, now)
	answers := 0
	for range 100 { // each answer is acknowledged, and asked for again
		r, _ := s.Next(now)
		if r == nil {
			break
		}
		answers++
		for range 2 {
			s.Take(&Request{Kind: types.Endpoint, Names: []string{"s1"}, Nonce: r.Nonce, Version: r.Version}, now)
		}
	}
	if answers != 1+repeatsAtOnce {
		t.Errorf("%d answers", answers)
	}
	if _, at := s.Next(now); at.IsZero() {
		t.Error("the request that is left is forgotten")
	} else if r, _ := s.Next(at); r == nil {
		t.Error("the request that is left is not answered later")
	}
}

// TestNamesThatDoNotExist are said not to, in delta.
func TestNamesThatDoNotExist(t *testing.T) {
	s := NewStream(Options{Delta: true})
	now := time.Unix(1, 0)
	s.Want(envoyres.Set{})
	for _, k := range []envoyres.Kind{types.Endpoint, types.Route, types.Secret, types.VirtualHost} {
		s.Take(&Request{Kind: k, Subscribe: []string{"none"}}, now)
		r, _ := s.Next(now)
		if r == nil || r.Kind != k || !slices.Equal(r.Removed, []string{"none"}) {
			t.Fatalf("%+v", r)
		}
		s.Take(&Request{Kind: k, Nonce: r.Nonce}, now)
	}
	// A cluster that waits for one: asked for before, so that the proxy does not ask again.
	s.Take(&Request{Kind: types.Cluster}, now)
	r, _ := s.Next(now)
	s.Take(&Request{Kind: types.Cluster, Nonce: r.Nonce}, now)
	s.Want(envoyres.SetOf(edsCluster(t, "c", "none", 1)))
	if r, _ = s.Next(now); r == nil || r.Kind != types.Cluster {
		t.Fatalf("%+v", r)
	}
	if r, _ = s.Next(now); r == nil || !slices.Equal(r.Removed, []string{"none"}) {
		t.Errorf("%+v", r)
	}
}

// TestWildcards: "*" alone and with names.
func TestWildcards(t *testing.T) {
	now := time.Unix(1, 0)
	for _, names := range [][]string{nil, {"*"}, {"*", "a"}} {
		for _, delta := range []bool{false, true} {
			s := NewStream(Options{Delta: delta})
			s.Want(envoyres.SetOf(staticCluster(t, "a", 1), staticCluster(t, "b", 1)))
			s.Take(&Request{Kind: types.Cluster, Names: names, Subscribe: names}, now)
			r, _ := s.Next(now)
			if r == nil || len(r.Resources) != 2 {
				t.Fatalf("%q, delta %t: %+v", names, delta, r)
			}
			s.Take(&Request{Kind: types.Cluster, Names: names, Nonce: r.Nonce}, now)
			if r, _ = s.Next(now); r != nil {
				t.Errorf("%q, delta %t: and %+v", names, delta, r)
			}
		}
	}
}

// TestReconnect is a step too: removals go last, and what the proxy has is not sent again in
// delta.
func TestReconnect(t *testing.T) {
	both(t, func(t *testing.T, e *envoy, base []*envoyres.Resource) {
		held := e.s.Leave()
		e.connect(held)
		before := len(e.sent)
		e.s.Want(envoyres.SetOf(base...))
		e.begin()
		e.wait()
		e.has(base...)
		for _, text := range e.sent[before:] {
			if e.delta && strings.Contains(text, "+") {
				t.Errorf("sent again: %q", text)
			}
		}
		// The route moved while nobody was connected, in delta also to a zone that knows
		// nothing of the proxy; and the new cluster is refused.
		held = e.s.Leave()
		if e.delta {
			held = nil
		}
		e.connect(held)
		e.bad = func(r *envoyres.Resource) bool { return r.Name == "c9" }
		e.s.Want(envoyres.SetOf(base[0], routeTo(t, "r1", "c9", ""), staticCluster(t, "c9", 1)))
		e.begin()
		e.wait()
		e.check()
		e.bad = func(*envoyres.Resource) bool { return false }
		next := []*envoyres.Resource{base[0], routeTo(t, "r1", "c9", ""), staticCluster(t, "c9", 2)}
		e.want(next...)
		e.wait()
		e.has(next...)
	})
}

// TestReconnectWhileWarming: a client of delta that names what it has is sent only what a
// response that it never answered may wait for.
func TestReconnectWhileWarming(t *testing.T) {
	now := time.Unix(1, 0)
	c1, c2, s1, s2 := edsCluster(t, "c1", "s1", 1), edsCluster(t, "c2", "s2", 1), assignment(t, "s1"), assignment(t, "s2")
	changed := edsCluster(t, "c1", "s1", 2)
	s := NewStream(Options{Delta: true})
	s.Want(envoyres.SetOf(c1, c2, s1, s2))
	begin := func(clusters, endpoints map[string]string) (sent []string) {
		s.Take(&Request{Kind: types.Cluster, Initial: clusters}, now)
		s.Take(&Request{Kind: types.Endpoint, Subscribe: []string{"s1", "s2"}, Initial: endpoints}, now)
		for r, _ := s.Next(now); r != nil; r, _ = s.Next(now) {
			for _, one := range r.Resources {
				sent = append(sent, one.Key.String())
			}
			if r.Kind != types.Cluster || clusters == nil {
				s.Take(&Request{Kind: r.Kind, Nonce: r.Nonce}, now)
			}
		}
		slices.Sort(sent)
		return sent
	}
	begin(nil, nil)
	s.Want(envoyres.SetOf(changed, c2, s1, s2))
	if r, _ := s.Next(now); r == nil || len(r.Resources) != 1 || r.Resources[0] != changed {
		t.Fatalf("sent %+v", r)
	}
	has := map[string]string{"s1": s1.Version, "s2": s2.Version}
	for _, c := range []*envoyres.Resource{changed, c1} { // it arrived, or it did not
		held := s.Leave()
		s = NewStream(Options{Delta: true, Resume: held})
		s.Want(envoyres.SetOf(changed, c2, s1, s2))
		want := []string{"ClusterLoadAssignment s1"}
		if c == c1 {
			want = append([]string{"Cluster c1"}, want...)
		}
		if sent := begin(map[string]string{"c1": c.Version, "c2": c2.Version}, has); !slices.Equal(sent, want) {
			t.Errorf("sent %q, want %q", sent, want)
		}
	}
}

// TestCircles: resources that refer to each other do not wait for each other.
func TestCircles(t *testing.T) {
	both(t, func(t *testing.T, e *envoy, base []*envoyres.Resource) {
		a, b := aggregate(t, "a", "b", "c1"), aggregate(t, "b", "a")
		next := append(slices.Clone(base), a, b)
		e.want(next...)
		e.wait()
		e.has(next...)
		e.want(base...)
		e.wait()
		e.has(base...)
	})
}

// TestChangedAndRefusedBelow: a changed listener or cluster that asks for something new keeps
// its former version in place where that is refused.
func TestChangedAndRefusedBelow(t *testing.T) {
	both(t, func(t *testing.T, e *envoy, base []*envoyres.Resource) {
		e.bad = func(r *envoyres.Resource) bool { return r.Name == "r9" || r.Name == "s9" }
		l, c := listenerOf(t, "l1", "r9", ""), edsCluster(t, "c1", "s9", 9)
		r9, s9 := routeTo(t, "r9", "c1", ""), assignment(t, "s9")
		e.want(l, r9, base[1], base[2], base[3])
		e.wait()
		e.check()
		if h := e.have[base[0].Key]; h == nil || h.Version != base[0].Version {
			t.Errorf("the listener was replaced: %q", e.sent)
		}
		e.want(base[0], base[1], c, s9, base[3])
		e.wait()
		if h := e.have[base[2].Key]; h == nil || h.Version != base[2].Version {
			t.Errorf("the cluster was replaced: %q", e.sent)
		}
		e.bad = func(*envoyres.Resource) bool { return false }
		next := []*envoyres.Resource{l, routeTo(t, "r9", "c1", "good"), c, pack(t, &endpoint.ClusterLoadAssignment{ClusterName: "s9",
			Policy: &endpoint.ClusterLoadAssignment_Policy{WeightedPriorityHealth: true}})}
		e.want(next...)
		e.wait()
		e.has(next...)
	})
}

// TestWhoRefusesEverything is not sent the same again and again.
func TestWhoRefusesEverything(t *testing.T) {
	both(t, func(t *testing.T, e *envoy, base []*envoyres.Resource) {
		e.bad = func(*envoyres.Resource) bool { return true }
		before := len(e.sent)
		e.want(listenerOf(t, "l1", "r1", "x"), routeTo(t, "r1", "c1", "x"), edsCluster(t, "c1", "s1", 2), base[3], staticCluster(t, "c2", 1), staticCluster(t, "c3", 1))
		e.wait()
		if n := len(e.sent) - before; n > 20 {
			t.Errorf("%d responses: %q", n, e.sent[before:])
		}
	})
}

// TestNothingAProxyMakesUpIsRemembered: names that it asks for, and what it says it has, cost a
// zone nothing once the proxy is gone.
func TestNothingAProxyMakesUpIsRemembered(t *testing.T) {
	s := NewStream(Options{Delta: true})
	s.Want(envoyres.SetOf(staticCluster(t, "c", 1)))
	now := time.Unix(1_000_000, 0)
	initial := map[string]string{}
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("made-up-%d", i))
		initial[names[i]] = "7"
	}
	s.Take(&Request{Kind: types.Cluster, Initial: initial}, now)
	s.Take(&Request{Kind: types.Endpoint, Subscribe: names}, now)
	for range 5 {
		if r, _ := s.Next(now); r == nil {
			break
		}
		s.Take(&Request{Kind: types.Endpoint, Subscribe: names, Unsubscribe: names[:500]}, now)
	}
	if n, _ := s.Asked(); n < 1000 {
		t.Fatalf("the stream keeps %d names: the test proves nothing", n)
	}
	h := s.Leave()
	kept := len(h.pending)
	for _, st := range h.kinds {
		if st == nil {
			continue
		}
		kept += len(st.names) + len(st.again) + len(st.absent) + len(st.held)
		for _, f := range st.flights {
			kept += len(f.content)
		}
	}
	if kept > 10 {
		t.Errorf("%d names stay", kept)
	}
}
