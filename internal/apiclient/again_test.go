package apiclient

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// elections answers the first so many requests with an error, and the others well.
type elections struct {
	left int
	with apitypes.Error

	mu     sync.Mutex
	ids    []string // of the requests
	bodies []string
}

// ServeHTTP implements http.Handler.
func (e *elections) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ids, e.bodies = append(e.ids, r.Header.Get("X-Request-Id")), append(e.bodies, string(body))
	if e.left--; e.left >= 0 {
		w.WriteHeader(e.with.Status)
		_ = json.NewEncoder(w).Encode(e.with)
		return
	}
	_, _ = io.WriteString(w, `{"kid":"2","revision":"r@1","total":0,"items":[]}`)
}

func (e *elections) client(t *testing.T, patience time.Duration) *Global {
	g := global(t, e.ServeHTTP)
	g.c.patience = patience
	return g
}

var noLeader = apitypes.Error{Status: 503, Title: "Unavailable", Detail: "no leader is known at present", Reason: "no_leader"}

func TestChangesAreSentAgainWhileTheLeaderIsElected(t *testing.T) {
	for _, reason := range []string{"no_leader", "not_leader", "peer_unreachable", "leader_lost"} {
		e := &elections{left: 2, with: noLeader}
		e.with.Reason = reason
		g := e.client(t, time.Minute)
		var waited []string
		g.OnWaiting(func(cause error) { waited = append(waited, cause.Error()) })
		if _, err := g.PrepareKey(t.Context(), apitypes.KeyPrepareRequest{Kind: "zone"}); err != nil {
			t.Fatalf("%s: %v", reason, err)
		}
		if len(e.ids) != 3 || len(slices.Compact(e.ids)) != 1 || e.ids[0] == "" {
			t.Errorf("%s: requests with the ids %q, want three with one id", reason, e.ids)
		}
		if len(slices.Compact(e.bodies)) != 1 || !strings.Contains(e.bodies[0], `"zone"`) {
			t.Errorf("%s: bodies %q", reason, e.bodies)
		}
		if len(waited) != 2 || waited[0] != noLeader.Detail {
			t.Errorf("%s: told %q", reason, waited)
		}
	}
}

func TestNothingElseIsSentAgain(t *testing.T) {
	ask := func(g *Global) error { _, err := g.Keys(t.Context()); return err }
	act := func(g *Global) error {
		_, err := g.PrepareKey(t.Context(), apitypes.KeyPrepareRequest{Kind: "zone"})
		return err
	}
	for name, tt := range map[string]struct {
		with apitypes.Error
		call func(*Global) error
	}{
		"a read":             {noLeader, ask},
		"another reason":     {apitypes.Error{Status: 503, Detail: "busy", Reason: "busy"}, act},
		"an unknown outcome": {apitypes.Error{Status: 504, Detail: "nobody knows", Reason: "no_leader"}, act},
		"a refusal":          {apitypes.Error{Status: 409, Detail: "not held", Reason: "not_leader"}, act},
	} {
		e := &elections{left: 1, with: tt.with}
		if err := tt.call(e.client(t, time.Minute)); err == nil || len(e.ids) != 1 {
			t.Errorf("%s: %d requests, %v", name, len(e.ids), err)
		}
	}
}

func TestPatienceHasAnEnd(t *testing.T) {
	e := &elections{left: 1 << 30, with: noLeader}
	_, err := e.client(t, 3*againEvery).PrepareKey(t.Context(), apitypes.KeyPrepareRequest{Kind: "zone"})
	if federation.AsError(err).Reason != "no_leader" || len(e.ids) < 2 {
		t.Errorf("%d requests, %v", len(e.ids), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	e = &elections{left: 1 << 30, with: noLeader}
	g := e.client(t, time.Hour)
	g.OnWaiting(func(error) { cancel() })
	if _, err := g.PrepareKey(ctx, apitypes.KeyPrepareRequest{Kind: "zone"}); federation.AsError(err).Reason != "no_leader" || len(e.ids) != 1 {
		t.Errorf("interrupted: %d requests, %v", len(e.ids), err)
	}
}

func TestUploadsAreSentAgainFromTheirBeginning(t *testing.T) {
	const text = "id-1\nid-2\n"
	for name, send := range map[string]func(*Global, *Upload) error{
		"bulk": func(g *Global, u *Upload) error {
			_, err := g.RevokeBulk(t.Context(), Bulk{Kind: "zone", IDs: u})
			return err
		},
		"restore": func(g *Global, u *Upload) error {
			_, err := g.RestoreSnapshot(t.Context(), u, apitypes.Restore{Force: true})
			return err
		},
	} {
		e := &elections{left: 1, with: noLeader}
		u := &Upload{From: strings.NewReader(text), Size: int64(len(text))}
		if err := send(e.client(t, time.Minute), u); err != nil || len(e.bodies) != 2 || e.bodies[1] != text || u.Sent.Load() != int64(len(text)) {
			t.Errorf("%s: bodies %q, %d counted, %v", name, e.bodies, u.Sent.Load(), err)
		}
		// A stream is read once: half of it must not be taken for all of it.
		e = &elections{left: 1, with: noLeader}
		stream := &Upload{From: io.MultiReader(strings.NewReader(text)), Size: -1}
		if err := send(e.client(t, time.Minute), stream); err == nil || len(e.bodies) != 1 {
			t.Errorf("%s of a stream: bodies %q, %v", name, e.bodies, err)
		}
	}
}
