package tokenreview

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/kube"
)

// TestPodsAreHeldAgainstTheirTokens changes what runs after a token was issued, and
// asks an API server that looks anew at each review, and one that answers reviews
// from its memory for a while.
func TestPodsAreHeldAgainstTheirTokens(t *testing.T) {
	for name, tt := range map[string]struct {
		change          func(*kube.API)
		reason, fromOld string // what a server answers that looks anew, and one that remembers
	}{
		"nothing":               {func(*kube.API) {}, "", ""},
		"deleted":               {func(a *kube.API) { a.DeletePod("shop", "backend-1") }, NotAuthenticated, NotAuthenticated},
		"made again":            {func(a *kube.API) { a.SetPod("shop", "backend-1", kube.Pod{Account: "backend"}) }, NotAuthenticated, NotAuthenticated},
		"of another account":    {func(a *kube.API) { a.EditPod("shop", "backend-1", func(p *kube.Pod) { p.Account = "cashier" }) }, WrongServiceAccount, WrongServiceAccount},
		"has ended":             {func(a *kube.API) { a.EditPod("shop", "backend-1", func(p *kube.Pod) { p.Phase = "Failed" }) }, NotAuthenticated, NotAuthenticated},
		"is pending":            {func(a *kube.API) { a.EditPod("shop", "backend-1", func(p *kube.Pod) { p.Phase = "Pending" }) }, "", ""},
		"account made again":    {func(a *kube.API) { a.RemakeAccount("shop", "backend") }, NotAuthenticated, ""},
		"other account, remade": {func(a *kube.API) { a.RemakeAccount("shop", "cashier") }, "", ""},
	} {
		for _, remembers := range []bool{false, true} {
			b := newBench(t, nil)
			token := b.token(nil)
			if remembers {
				b.api.KeepAnswers()
				if _, err := b.Review(t.Context(), token); err != nil {
					t.Fatal(err)
				}
				b.accepted = newMemory(maxRemembered) // a minute later
			}
			tt.change(b.api)
			want := tt.reason
			if remembers {
				want = tt.fromOld
			}
			_, err := b.Review(t.Context(), token)
			reason := ""
			if err != nil {
				reason = federation.AsError(err).Reason
				if federation.CodeOf(err) != federation.Unauthenticated || federation.AsError(err).Hint == "" {
					t.Errorf("%s: %+v", name, err)
				}
			}
			if reason != want {
				t.Errorf("%s, reviews from memory %t: %v, want reason %q", name, remembers, err, want)
			}
		}
	}
}

// onlyPods tampers with questions for pods alone.
func onlyPods(f func(http.ResponseWriter)) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet {
			return false
		}
		f(w)
		return true
	}
}

// TestPodsThatCannotBeRead: no answer about a pod is no proof, and no refusal.
func TestPodsThatCannotBeRead(t *testing.T) {
	say := func(status int, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, tt := range map[string]struct {
		tamper func(http.ResponseWriter)
		log    string
	}{
		"fails":                  {say(500, `{"message":"etcd is away"}`), "etcd is away"},
		"not found by something": {say(404, `<html>`), "is that the address"},
		"another kind":           {say(200, `{"kind":"Node","metadata":{"name":"backend-1"}}`), "not a Pod"},
		"nonsense":               {say(200, `<html>`), "not a Pod"},
		"may not":                {nil, "get pods in every namespace"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			token := b.token(nil)
			if b.api.ForbidPods(tt.tamper == nil); tt.tamper != nil {
				b.api.Tamper(onlyPods(tt.tamper))
			}
			_, err := b.Review(t.Context(), token)
			if e := federation.AsError(err); e == nil || e.Code != federation.Unavailable || e.Reason != ReviewUnavailable {
				t.Fatalf("got %+v", e)
			}
			if !strings.Contains(b.log.String(), tt.log) || strings.Contains(b.log.String(), token) {
				t.Errorf("the log: %s", b.log)
			}
			b.api.Tamper(nil)
			b.api.ForbidPods(false)
			if _, err := b.Review(t.Context(), token); err != nil {
				t.Errorf("once it answers again: %v", err)
			}
		})
	}
}

// TestPodsThatAreOthers: what an API server, or something before it, answers instead of
// the pod that was asked for proves nothing of it.
func TestPodsThatAreOthers(t *testing.T) {
	id := Identity{Namespace: "shop", ServiceAccount: "backend", Pod: "backend-1", PodUID: "u"}
	is := func(change func(*pod)) *pod {
		p := &pod{Kind: "Pod"}
		p.Metadata.Name, p.Metadata.Namespace, p.Metadata.UID, p.Spec.ServiceAccount = "backend-1", "shop", "u", "backend"
		change(p)
		return p
	}
	for name, p := range map[string]*pod{
		"of another name":       is(func(p *pod) { p.Metadata.Name = "payments-1" }),
		"of another namespace":  is(func(p *pod) { p.Metadata.Namespace = "bank" }),
		"of another uid":        is(func(p *pod) { p.Metadata.UID = "v" }),
		"of no uid":             is(func(p *pod) { p.Metadata.UID = "" }),
		"of no account":         is(func(p *pod) { p.Spec.ServiceAccount = "" }),
		"that has done its job": is(func(p *pod) { p.Status.Phase = "Succeeded" }),
		"none":                  nil,
	} {
		if p.holds(id) == nil {
			t.Errorf("a pod %s holds the token", name)
		}
	}
	if err := is(func(*pod) {}).holds(id); err != nil {
		t.Error(err)
	}
}

// TestPodUIDMustBeNamedInTheAnswer: an API server that shows nothing of the token's
// pod leaves it unbound.
func TestPodUIDMustBeNamedInTheAnswer(t *testing.T) {
	b := newBench(t, nil)
	b.api.Tamper(respond(http.StatusCreated, `{"kind":"TokenReview","status":{"authenticated":true,"audiences":["meridian-zone"],`+
		`"user":{"username":"system:serviceaccount:shop:backend","extra":{"authentication.kubernetes.io/pod-name":["backend-1"]}}}}`))
	_, err := b.Review(t.Context(), b.token(nil))
	if e := federation.AsError(err); e == nil || e.Reason != UnboundToken || !strings.Contains(e.Hint, "allowUnbound") {
		t.Errorf("got %+v", e)
	}
}
