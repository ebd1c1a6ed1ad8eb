package tokenreview

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/internal/test/kube"
)

const (
	audience = "meridian-zone"
	caller   = "the-zones-own-token"
)

// bench is a stand-in API server and a reviewer that asks it.
type bench struct {
	*Reviewer
	api    *kube.API
	server *httptest.Server
	dir    string
	log    *bytes.Buffer
}

func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	b := &bench{api: kube.NewAPI(caller), dir: t.TempDir(), log: &bytes.Buffer{}}
	var err error
	if b.server, err = b.api.Serve(b.dir, caller); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.server.Close)
	b.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	cfg := Config{Audience: audience, Kubeconfig: b.dir + "/kubeconfig", Logger: slog.New(slog.NewTextHandler(b.log, nil))}
	if change != nil {
		change(&cfg)
	}
	if b.Reviewer, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	b.backoff = time.Millisecond
	return b
}

// token mints one for the pod backend-1 of the namespace shop.
func (b *bench) token(change func(*kube.Account)) string {
	a := kube.Account{Namespace: "shop", Name: "backend", Pod: "backend-1", Audience: audience, Expires: time.Now().Add(time.Hour)}
	if change != nil {
		change(&a)
	}
	return b.api.Token(a)
}

func TestReview(t *testing.T) {
	b := newBench(t, nil)
	expires := time.Now().Add(30 * time.Minute)
	id, err := b.Review(t.Context(), b.token(func(a *kube.Account) { a.Expires = expires }))
	if err != nil {
		t.Fatal(err)
	}
	if id.Namespace != "shop" || id.ServiceAccount != "backend" || id.Pod != "backend-1" ||
		id.ID == "" || strings.Contains(id.ID, "=") || id.ExpiresAt.Unix() != expires.Unix() {
		t.Errorf("got %+v", id)
	}
}

// An old secret's token is bound to no pod and has no end.
func TestUnboundTokensWhereTheyAreAllowed(t *testing.T) {
	b := newBench(t, func(c *Config) { c.AllowUnbound = true })
	id, err := b.Review(t.Context(), b.token(func(a *kube.Account) { a.Pod, a.Expires = "", time.Time{} }))
	if err != nil || id.Pod != "" || !id.ExpiresAt.IsZero() {
		t.Errorf("%+v, %v", id, err)
	}
}

func TestTokensThatAreRefused(t *testing.T) {
	b := newBench(t, nil)
	other := kube.NewAPI(caller)
	good := b.token(nil)
	gone := b.token(func(a *kube.Account) { a.Pod = "gone" })
	b.api.DeletePod("shop", "gone")
	for name, tt := range map[string]struct {
		token, reason string
		asks          bool
	}{
		"wrong audience":         {b.token(func(a *kube.Account) { a.Audience = "vault" }), WrongAudience, true},
		"the API server's own":   {b.token(func(a *kube.Account) { a.Audience = "" }), WrongAudience, true},
		"expired":                {b.token(func(a *kube.Account) { a.Expires = time.Now().Add(-time.Minute) }), Expired, false},
		"its pod is gone":        {gone, NotAuthenticated, true},
		"bound to no pod":        {b.token(func(a *kube.Account) { a.Pod = "" }), UnboundToken, true},
		"another cluster's":      {other.Token(kube.Account{Namespace: "shop", Name: "backend", Audience: audience}), NotAuthenticated, true},
		"changed":                {good[:len(good)-4] + "AAAA", NotAuthenticated, true},
		"not a token":            {"hello", Malformed, false},
		"empty":                  {"", Malformed, false},
		"empty parts":            {"..", Malformed, false},
		"a payload of no object": {"eyJ9.MTIz.eyJ9", Malformed, false},
		"too long":               {strings.TrimRight(good, "=") + strings.Repeat("AAAA", MaxTokenBytes/4), Malformed, false},
	} {
		t.Run(name, func(t *testing.T) {
			before := b.api.Asked()
			_, err := b.Review(t.Context(), tt.token)
			e := federation.AsError(err)
			if e == nil || e.Code != federation.Unauthenticated || e.Reason != tt.reason {
				t.Fatalf("got %+v", e)
			}
			if tt.token != "" && strings.Contains(e.Detail+e.Hint, tt.token) {
				t.Error("the refusal repeats the token")
			}
			if asked := b.api.Asked() > before; asked != tt.asks {
				t.Errorf("asked the API server: %t", asked)
			}
		})
	}
}

// respond has the API server give the same answer to every review.
func respond(status int, body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		return true
	}
}

// An API server that answers an authenticated token without audiences did not look
// at them: the token may be for anything.
func TestAudienceMustBeNamedInTheAnswer(t *testing.T) {
	for name, tt := range map[string]struct{ status, reason string }{
		"none":      {`{"authenticated":true,"user":{"username":"system:serviceaccount:shop:backend"}}`, WrongAudience},
		"another":   {`{"authenticated":true,"audiences":["vault"],"user":{"username":"system:serviceaccount:shop:backend"}}`, WrongAudience},
		"a user":    {`{"authenticated":true,"audiences":["meridian-zone"],"user":{"username":"jane"}}`, NotServiceAccount},
		"a node":    {`{"authenticated":true,"audiences":["meridian-zone"],"user":{"username":"system:node:n1"}}`, NotServiceAccount},
		"half one":  {`{"authenticated":true,"audiences":["meridian-zone"],"user":{"username":"system:serviceaccount:shop"}}`, NotServiceAccount},
		"no status": {`{}`, NotAuthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.api.Tamper(respond(http.StatusCreated, `{"kind":"TokenReview","status":`+tt.status+`}`))
			_, err := b.Review(t.Context(), b.token(nil))
			if e := federation.AsError(err); e == nil || e.Reason != tt.reason {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// TestAPIServerThatCannotBeAsked wants one clear error, a bounded number of
// questions, a line for the operator, and nothing remembered.
func TestAPIServerThatCannotBeAsked(t *testing.T) {
	end := make(chan struct{})
	slow := func(http.ResponseWriter, *http.Request) bool { <-end; return true }
	for name, tt := range map[string]struct {
		tamper func(http.ResponseWriter, *http.Request) bool
		asked  int
		log    string
	}{
		"overloaded":       {respond(503, "busy"), attempts, "answered 503"},
		"fails":            {respond(500, `{"message":"etcd is\naway"}`), attempts, "etcd is away"},
		"slow":             {slow, attempts, "no answer in time"},
		"may not ask":      {respond(403, `{"message":"cannot create resource tokenreviews"}`), 1, "system:auth-delegator"},
		"does not know us": {respond(401, ``), attempts, "own token or certificate is not accepted"},
		"something else":   {respond(404, `<html>`), 1, "is that the address"},
		"redirects":        {respond(302, ``), 1, "answered 302"},
		"nonsense":         {respond(201, `<html>`), 1, "not a TokenReview"},
		"another kind":     {respond(201, `{"kind":"Status","status":{}}`), 1, "not a TokenReview"},
		"huge":             {respond(201, `{"kind":"TokenReview","x":"`+strings.Repeat("x", 4<<20)+`"}`), 1, "larger than 256 KiB"},
		"echoes the token": {func(w http.ResponseWriter, r *http.Request) bool {
			var q review
			_ = json.NewDecoder(r.Body).Decode(&q)
			kube.Status(w, 500, "cannot read "+q.Spec.Token)
			return true
		}, attempts, "answered 500"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.attemptTimeout = 50 * time.Millisecond
			if name != "slow" {
				b.attemptTimeout = attemptTimeout
			} else {
				t.Cleanup(func() { close(end) }) // before the server waits for its handlers
			}
			b.api.Tamper(tt.tamper)
			token := b.token(nil)
			_, err := b.Review(t.Context(), token)
			e := federation.AsError(err)
			if e == nil || e.Code != federation.Unavailable || e.Reason != ReviewUnavailable || e.Hint == "" {
				t.Fatalf("got %+v", e)
			}
			// A slow one may not even see the last attempt before that is given up.
			if n := b.api.Asked(); n > tt.asked || n < tt.asked && name != "slow" {
				t.Errorf("asked %d times, want %d", n, tt.asked)
			}
			for _, secret := range []string{token, caller} {
				if strings.Contains(b.log.String()+e.Detail+e.Hint, secret) {
					t.Error("a token stands in the log or the error")
				}
			}
			if !strings.Contains(b.log.String(), tt.log) {
				t.Errorf("the log does not say %q: %s", tt.log, b.log)
			}
			b.api.Tamper(nil)
			b.attemptTimeout = attemptTimeout
			if _, err := b.Review(t.Context(), token); err != nil {
				t.Errorf("once it answers again: %v", err)
			}
		})
	}
}

func TestAPIServerThatIsDown(t *testing.T) {
	b := newBench(t, nil)
	token := b.token(nil)
	b.server.Close()
	_, err := b.Review(t.Context(), token)
	if e := federation.AsError(err); e.Code != federation.Unavailable || !strings.Contains(b.log.String(), "connection refused") {
		t.Errorf("%v\n%s", err, b.log)
	}
}

func TestOneFailureIsTriedAgain(t *testing.T) {
	b := newBench(t, nil)
	var once sync.Once
	b.api.Tamper(func(w http.ResponseWriter, _ *http.Request) (failed bool) {
		once.Do(func() {
			w.WriteHeader(http.StatusServiceUnavailable)
			failed = true
		})
		return failed
	})
	if _, err := b.Review(t.Context(), b.token(nil)); err != nil || b.api.Asked() != 2 {
		t.Errorf("asked %d times: %v", b.api.Asked(), err)
	}
}

// TestASlowAnswerIsGivenUp: an API server that hangs is asked again, on the time of the
// review, and one that goes on hanging is not waited for beyond that.
func TestASlowAnswerIsGivenUp(t *testing.T) {
	b := newBench(t, nil)
	b.attemptTimeout = time.Second
	var asked atomic.Int32
	hang := int32(1) // how often
	b.api.Tamper(func(_ http.ResponseWriter, r *http.Request) bool {
		if asked.Add(1) > hang {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body) // so that the server notices who gives up
		<-r.Context().Done()
		return true
	})
	if _, err := b.Review(t.Context(), b.token(nil)); err != nil || asked.Load() < 2 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
	hang, b.attemptTimeout, b.reviewTimeout = 1<<30, time.Hour, 50*time.Millisecond
	_, err := b.Review(t.Context(), b.token(func(a *kube.Account) { a.Expires = a.Expires.Add(time.Second) }))
	if e := federation.AsError(err); e == nil || e.Reason != ReviewUnavailable || !strings.Contains(b.log.String(), "no answer in time") {
		t.Errorf("an API server that hangs: %v\n%s", err, b.log)
	}
}

// TestAFloodOfTokens: whoever presents many has a few of them asked about at a time; what
// waits is bounded, and what comes beyond that is told so at once. Nothing of it is kept.
func TestAFloodOfTokens(t *testing.T) {
	const atOnce, waiting, callers = 2, 3, 12
	b := newBench(t, nil)
	b.places = preauth.NewQueue(atOnce, waiting)
	release := make(chan struct{})
	var now, most atomic.Int32
	b.api.Tamper(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet {
			return false
		}
		n := now.Add(1)
		for seen := most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
		}
		<-release
		now.Add(-1)
		return false
	})
	results := make(chan error, callers)
	for i := range callers {
		token := b.token(func(a *kube.Account) { a.Expires = a.Expires.Add(time.Duration(i) * time.Second) })
		go func() {
			_, err := b.Review(t.Context(), token)
			results <- err
		}()
	}
	for range callers - atOnce - waiting {
		if e := federation.AsError(<-results); e == nil || e.Reason != ReviewUnavailable {
			t.Errorf("beyond what may wait: %v", e)
		}
	}
	close(release)
	for range atOnce + waiting {
		if err := <-results; err != nil {
			t.Errorf("what could wait: %v", err)
		}
	}
	if most.Load() > atOnce || b.accepted.size() != atOnce+waiting || b.refused.size() != 0 {
		t.Errorf("%d at once; remembered: %d accepted, %d refused", most.Load(), b.accepted.size(), b.refused.size())
	}
}

// TestNobodyWaitsLongerThanAReview holds a wish of the API server's to wait for
// long against the time that a proxy has.
func TestNobodyWaitsLongerThanAReview(t *testing.T) {
	b := newBench(t, nil)
	b.api.Tamper(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", "50")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	if _, err := b.Review(t.Context(), b.token(nil)); federation.CodeOf(err) != federation.Unavailable || b.api.Asked() != 1 {
		t.Errorf("asked %d times: %v", b.api.Asked(), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Review(ctx, b.token(nil)); federation.CodeOf(err) != federation.Unavailable {
		t.Errorf("a caller that is gone: %v", err)
	}
}

func TestManyReviewsOfOneTokenAreOneQuestion(t *testing.T) {
	b := newBench(t, nil)
	release := make(chan struct{})
	b.api.Tamper(func(http.ResponseWriter, *http.Request) bool { <-release; return false })
	token := b.token(nil)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := b.Review(t.Context(), token); err != nil {
				t.Error(err)
			}
		})
	}
	for b.api.Asked() == 0 {
		time.Sleep(time.Millisecond)
	}
	close(release)
	all.Wait()
	if n := b.api.Asked(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestAnswersAreRememberedForAShortTime(t *testing.T) {
	now := time.Now()
	b := newBench(t, func(c *Config) { c.Now = func() time.Time { return now } })
	review := func(token string, wantReason string, wantAsked int) {
		t.Helper()
		_, err := b.Review(t.Context(), token)
		reason := ""
		if err != nil {
			reason = federation.AsError(err).Reason
		}
		if reason != wantReason || b.api.Asked() != wantAsked {
			t.Errorf("%q after %d questions, want %q after %d", reason, b.api.Asked(), wantReason, wantAsked)
		}
	}
	good := b.token(nil)
	short := b.token(func(a *kube.Account) { a.Expires = now.Add(20 * time.Second) })
	bad := good[:len(good)-4] + "AAAA"
	review(good, "", 1)
	review(short, "", 2)
	review(bad, NotAuthenticated, 3)
	now = now.Add(9 * time.Second)
	review(good, "", 3)
	review(short, "", 3)
	review(bad, NotAuthenticated, 3)
	now = now.Add(2 * time.Second)
	review(bad, NotAuthenticated, 4)
	now = now.Add(9 * time.Second)
	review(short, Expired, 4) // never past its end
	if _, ok := b.recall(sha256.Sum256([]byte(short)), now); ok {
		t.Error("an answer is remembered past its token's end")
	}
	review(good, "", 4)
	b.api.DeletePod("shop", "backend-1")
	now = now.Add(40 * time.Second)
	review(good, NotAuthenticated, 5)
}

func TestMemoryIsBounded(t *testing.T) {
	m, now := newMemory(3), time.Now()
	key := func(n byte) (k [32]byte) { k[0] = n; return k }
	for n := range byte(10) {
		m.put(key(n), answer{until: now.Add(time.Minute)}, now)
		m.get(key(0), now) // used again and again
	}
	m.put(key(200), answer{until: now}, now)
	if _, ok := m.get(key(0), now); !ok || m.size() != 3 {
		t.Errorf("%d held, the one in use: %t", m.size(), ok)
	}
	if _, ok := m.get(key(9), now.Add(time.Minute)); ok || m.size() != 2 {
		t.Error("an answer outlives its time")
	}
}
