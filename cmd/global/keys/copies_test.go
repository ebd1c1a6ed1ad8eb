package keys

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// global answers as one does whose zones hold the new key at once.
type global struct {
	copies []apitypes.KeySetCopy

	mu              sync.Mutex
	held, activated time.Time // when it was first said, and done
}

func (g *global) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := apitypes.Key{Kind: "zone", KID: "2", Name: "zone-token-signing-key-2", State: "prepared"}
	holding := apitypes.Holding{Open: true, Held: []string{"east", "west"}, Copies: g.copies}
	var answer any
	switch r.Method + " " + r.URL.Path {
	case "POST /v1/keys/prepare":
		answer = key
	case "GET /v1/keys/zone/2/holding":
		if g.held.IsZero() {
			g.held = time.Now()
		}
		answer = apitypes.KeyHolding{Key: key, Holding: holding}
	case "POST /v1/keys/activate":
		g.activated, key.State = time.Now(), "active"
		answer = apitypes.KeyChange{Key: key, Holding: &holding}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func (g *global) times() (held, activated time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held, g.activated
}

// said is what a rotation said, and cancels once it has said a word.
type said struct {
	mu     sync.Mutex
	text   bytes.Buffer
	word   string
	cancel func()
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.text.Write(p); s.word != "" && strings.Contains(s.text.String(), s.word) {
		s.cancel()
	}
	return len(p), nil
}

func rotate(t *testing.T, g *global, settle time.Duration, until string) (string, error) {
	t.Helper()
	server := httptest.NewServer(g)
	defer server.Close()
	client, err := apiclient.NewGlobal(apiclient.Target{Address: server.URL, Service: apiclient.API("global")}, "global/test")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &said{word: until, cancel: cancel}
	r := rotation{global: client, voice: console.NewVoice("global", strings.NewReader(""), out), kind: cptoken.Zone, wait: time.Minute, settle: settle}
	_, err = r.run(ctx)
	return out.text.String(), err
}

// TestSettleComesBeforeActive: what is given to verifiers lies between held everywhere
// and active, and who interrupts it has activated nothing.
func TestSettleComesBeforeActive(t *testing.T) {
	g, settle := &global{}, 300*time.Millisecond
	if text, err := rotate(t, g, settle, ""); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	held, activated := g.times()
	if got := activated.Sub(held); got < settle {
		t.Errorf("active %s after it was held, want at least %s", got, settle)
	}
	g = &global{}
	_, err := rotate(t, g, time.Hour, "is held; signing with it in 1h0m0s")
	if _, activated := g.times(); !activated.IsZero() || federation.CodeOf(err) != federation.Unavailable || !strings.Contains(federation.AsError(err).Hint, "stays prepared") {
		t.Errorf("interrupted: %v, activated at %v", err, activated)
	}
}

// TestSettleIsSuggested: where others fetched key sets within a day and nobody waits for
// them, and nowhere else.
func TestSettleIsSuggested(t *testing.T) {
	hour, days := apitypes.KeySetCopy{Zone: "west", Last: time.Now().Add(-time.Hour)}, apitypes.KeySetCopy{Zone: "north", Last: time.Now().Add(-48 * time.Hour)}
	for name, tt := range map[string]struct {
		copies  []apitypes.KeySetCopy
		settle  time.Duration
		suggest bool
	}{
		"nobody":              {nil, 0, false},
		"lately":              {[]apitypes.KeySetCopy{days, hour}, 0, true},
		"long ago":            {[]apitypes.KeySetCopy{days}, 0, false},
		"they are waited for": {[]apitypes.KeySetCopy{hour}, time.Millisecond, false},
	} {
		text, err := rotate(t, &global{copies: tt.copies}, tt.settle, "")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := strings.Contains(text, "refuse tokens of zone-token-signing-key-2 until they fetch again: west\n") && strings.Contains(text, "--settle 90s")
		if got != tt.suggest || strings.Contains(text, "north") {
			t.Errorf("%s: suggested %t, want %t:\n%s", name, got, tt.suggest, text)
		}
	}
}

// TestCopiesOfACompromisedKeyAreNamed: however long ago they were fetched.
func TestCopiesOfACompromisedKeyAreNamed(t *testing.T) {
	now := time.Now()
	copies := []apitypes.KeySetCopy{{Zone: "north", Last: now.Add(-20 * 24 * time.Hour)}, {Zone: "west", Last: now}}
	for name, tt := range map[string]struct {
		kind    string
		holding *apitypes.Holding
		want    []string // nil: nothing is left to do
		hint    string
	}{
		"nothing known":    {"zone", nil, nil, ""},
		"all dropped":      {"zone", &apitypes.Holding{Held: []string{"west"}}, nil, ""},
		"copies":           {"zone", &apitypes.Holding{Held: []string{"west"}, Copies: copies}, []string{"zones north, west"}, "restart them"},
		"both":             {"dataplane", &apitypes.Holding{Offline: []string{"east"}, Copies: copies}, []string{"offline zones east", "zones north, west"}, "before it counts as online"},
		"a zone of Kuma's": {"dataplane", &apitypes.Holding{Waiting: []string{"east"}, Kuma: []string{"east"}}, []string{"run Kuma's control plane: east"}, "kuma-zone-config"},
		"unproven":         {"zone", &apitypes.Holding{Unproven: []string{"east"}}, []string{"without authentication, and may not have it dropped: east"}, "inspect zones"},
		"offline":          {"zone", &apitypes.Holding{Offline: []string{"east"}}, []string{"offline zones east"}, "inspect zones"},
		"no key of zones":  {"control-plane", &apitypes.Holding{Offline: []string{"east"}}, nil, ""},
	} {
		err := pending(apitypes.Key{Kind: tt.kind, KID: "1", Name: "key-1"}, tt.holding, now)
		if (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not name %q", name, err, want)
			}
		}
		if err != nil && !strings.Contains(federation.AsError(err).Hint, tt.hint) {
			t.Errorf("%s: the hint is %q", name, federation.AsError(err).Hint)
		}
	}
}

// TestZonesThatCannotBeWaitedForEndInExitCode3: a rotation that nobody could wait for at
// some zones is done, and says so.
func TestZonesThatCannotBeWaitedForEndInExitCode3(t *testing.T) {
	key := apitypes.Key{Kind: "dataplane", KID: "2", Name: "key-2", State: "active"}
	for name, tt := range map[string]struct {
		holding *apitypes.Holding
		want    []string // nil: all is done
		hint    string
	}{
		"nothing known": {nil, nil, ""},
		"all hold it":   {&apitypes.Holding{Open: true, Held: []string{"west"}, Offline: []string{"north"}}, nil, ""},
		"of Kuma's":     {&apitypes.Holding{Open: true, Unproven: []string{"east"}, Kuma: []string{"east"}}, []string{"zones that run Kuma's control plane: east"}, "kuma-zone-config"},
		"unproven":      {&apitypes.Holding{Open: true, Unproven: []string{"east"}}, []string{"unauthenticated zones east"}, "auth: token"},
	} {
		err := unreached(key, tt.holding)
		if (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "key-2 is active") || console.ExitCode(err) != console.ExitPending {
				t.Errorf("%s: exit %d, %q does not name %q", name, console.ExitCode(err), err, want)
			}
		}
		if err != nil && !strings.Contains(federation.AsError(err).Hint, tt.hint) {
			t.Errorf("%s: the hint is %q", name, federation.AsError(err).Hint)
		}
	}
	gone := key
	gone.State = "removed"
	err := unreached(gone, &apitypes.Holding{Open: true, Unproven: []string{"east"}})
	if console.ExitCode(err) != console.ExitPending || !strings.Contains(err.Error(), "key-2 is removed, and some may go on accepting its tokens: unauthenticated zones east") {
		t.Errorf("of a removed key: %v", err)
	}
}
