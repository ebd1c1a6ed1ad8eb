package node

import (
	"context"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestADevNodeWhoseClockIsSetIsNotReady: what it made for TLS does not hold by the new
// clock. It is not ready until that was made anew, which it does by itself.
func TestADevNodeWhoseClockIsSetIsNotReady(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: waits for 5 s until the node looks at its files again")
	}
	to, off := new(logs), atomic.Int64{}
	cfg := devConfig(t.TempDir(), to)
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
	if err := cfg.PrepareDev(); err != nil {
		t.Fatal(err)
	}
	n, err := New(*cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stop := sync.OnceValue(func() error { cancel(); return <-done })
	defer func() { _ = stop() }()
	ready := func() int {
		w := httptest.NewRecorder()
		n.diagnostics().ServeHTTP(w, httptest.NewRequest("GET", "/ready", nil))
		return w.Code
	}
	await := func(code int) {
		t.Helper()
		for end := time.Now().Add(patience); ready() != code; time.Sleep(20 * time.Millisecond) { // readiness tells nobody when it changes
			if time.Now().After(end) {
				t.Fatalf("not %d:\n%s", code, to)
			}
		}
	}
	await(200)
	off.Store(-int64(30 * 24 * time.Hour))
	if code := ready(); code != 503 {
		t.Errorf("by the new clock its certificate is not valid yet, and it answers %d", code)
	}
	await(200)
	if !strings.Contains(to.String(), "the clock was set") {
		t.Errorf("nothing was said:\n%s", to)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}
