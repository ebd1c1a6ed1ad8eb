package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// handler is what ctl may ask of the load.
func (l *load) handler(ctx context.Context, ca []byte, begin func()) http.Handler {
	var once sync.Once
	mux := http.NewServeMux()
	serve := func(what string, do func(arg string, w io.Writer) error) {
		mux.HandleFunc("POST /"+what, func(w http.ResponseWriter, r *http.Request) {
			var said strings.Builder
			if err := do(argument(r), &said); err != nil {
				w.WriteHeader(http.StatusConflict)
				fmt.Fprintf(&said, "%v\n", err)
			}
			_, _ = io.WriteString(w, said.String())
		})
	}
	serve("token", func(arg string, _ io.Writer) error {
		l.admin.Store(&arg)
		return l.equip(ctx, ca)
	})
	serve("begin", func(string, io.Writer) error {
		once.Do(begin)
		return l.settle(ctx, 2*time.Minute)
	})
	serve("mark", func(arg string, _ io.Writer) error {
		l.ledger.mark(arg)
		return nil
	})
	serve("written", func(string, io.Writer) error { return l.written(ctx, time.Minute) })
	serve("status", func(_ string, w io.Writer) error {
		l.ledger.mu.Lock()
		defer l.ledger.mu.Unlock()
		fmt.Fprintf(w, "%d operations, %d without an answer\n", l.ledger.operations, l.ledger.unanswered)
		return nil
	})
	serve("finish", func(_ string, w io.Writer) error { return l.finish(ctx, w) })
	return mux
}

// equip gives every zone its control plane token and the CA's certificate.
func (l *load) equip(ctx context.Context, ca []byte) error {
	if err := os.WriteFile("/data/ca.crt", ca, 0o600); err != nil {
		return err
	}
	for n := range l.zones {
		var raw string
		err := l.ask(ctx, 0, http.MethodPost, "/tokens/control-plane", map[string]any{"zone": zoneName(n), "validFor": "4h"}, &raw, "")
		if err != nil {
			return err
		}
		path := "/data/" + zoneName(n) + ".token"
		if err := os.WriteFile(path+".new", []byte(raw), 0o600); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	return nil
}

// settle waits until every zone accepts a token.
func (l *load) settle(ctx context.Context, most time.Duration) error {
	for end := time.Now().Add(most); ; pause(ctx, 200*time.Millisecond) {
		l.ledger.mu.Lock()
		seen := len(l.ledger.seen)
		l.ledger.mu.Unlock()
		if seen == len(l.zones) {
			return nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("%d of %d zones accept tokens", seen, len(l.zones))
		}
	}
}

// written waits until a write that began after the last mark was acknowledged.
func (l *load) written(ctx context.Context, most time.Duration) error {
	for end := time.Now().Add(most); ; pause(ctx, 20*time.Millisecond) {
		l.ledger.mu.Lock()
		m := l.ledger.marks[len(l.ledger.marks)-1]
		again := m.again
		l.ledger.mu.Unlock()
		if again > 0 {
			return nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("no write was acknowledged within %s of %s", most, m.name)
		}
	}
}

// finish ends the writing, waits until every zone has caught up, holds everything
// that was acknowledged against members and zones, and reports.
func (l *load) finish(ctx context.Context, w io.Writer) error {
	l.stopWriting()
	l.writers.Wait()
	behind := l.catchUp(ctx, time.Minute)
	for _, t := range l.ledger.all(good) {
		l.ledger.judge(t, l.verify(ctx, t.token))
	}
	gone := l.all(ctx, w)
	l.ledger.mu.Lock()
	defer l.ledger.mu.Unlock()
	for _, e := range l.ledger.examples {
		fmt.Fprintln(w, e)
	}
	var waits []time.Duration
	for _, m := range l.ledger.marks {
		fmt.Fprintf(w, "writes again after %-40s %6d ms\n", m.name, m.again.Milliseconds())
		if m.again > 0 {
			waits = append(waits, m.again)
		}
	}
	slices.Sort(waits)
	var p50, most time.Duration
	if len(waits) > 0 {
		p50, most = waits[len(waits)/2], waits[len(waits)-1]
	}
	g := l.ledger
	fmt.Fprintf(w, "%d revocations acknowledged, %d verifications without an answer, %d of a key that a zone without a link had not yet\n",
		g.acknowledged, g.unanswered, g.late)
	fmt.Fprintf(w, "%d operations, %d faults, writes again after p50 %d ms, max %d ms, %d valid tokens refused, %d revoked tokens accepted, %d acknowledged writes lost\n",
		g.operations, len(g.marks), p50.Milliseconds(), most.Milliseconds(), g.wronglyRefused, g.wronglyTaken, gone)
	switch {
	case len(behind) > 0:
		return fmt.Errorf("zones that never caught up: %s", strings.Join(behind, ", "))
	case g.wronglyRefused+g.wronglyTaken+gone > 0:
		return fmt.Errorf("an invariant does not hold")
	case g.acknowledged == 0 || len(waits) == 0:
		return fmt.Errorf("nothing was tried")
	}
	return nil
}

// catchUp waits until every zone was seen at the last revision that was acknowledged,
// and names those that were not.
func (l *load) catchUp(ctx context.Context, most time.Duration) (behind []string) {
	for end := time.Now().Add(most); ; pause(ctx, 200*time.Millisecond) {
		behind = nil
		l.ledger.mu.Lock()
		for n := range l.zones {
			if !l.ledger.seen[n].Covers(l.ledger.latest) {
				behind = append(behind, zoneName(n))
			}
		}
		l.ledger.mu.Unlock()
		if len(behind) == 0 || time.Now().After(end) || ctx.Err() != nil {
			slices.Sort(behind)
			return behind
		}
	}
}

// all counts the acknowledged revocations that a member no longer lists, or that a
// zone that has caught up does not refuse.
func (l *load) all(ctx context.Context, w io.Writer) (gone int) {
	written := l.ledger.all(revoked)
	for i := range l.globals {
		listed, err := l.listed(ctx, i)
		if err != nil {
			fmt.Fprintf(w, "%s does not list its revocations: %v\n", l.globals[i].name, err)
			gone += len(written)
			continue
		}
		for _, t := range written {
			if !listed[t.id] {
				gone++
				fmt.Fprintf(w, "%s has lost the revocation of %s\n", l.globals[i].name, t.id)
			}
		}
	}
	for _, t := range written {
		l.ledger.judge(t, l.verify(ctx, t.token))
	}
	return gone
}

// listed reads all revocations of zone tokens that a member has.
func (l *load) listed(ctx context.Context, i int) (map[string]bool, error) {
	ids := map[string]bool{}
	path := "/v1/revocations?" + url.Values{"kind": {"zone"}, "limit": {"1000"}}.Encode()
	for path != "" {
		var page struct {
			Items []struct{ ID string }
			Next  *string
		}
		if err := l.ask(ctx, i, http.MethodGet, path, nil, &page, ""); err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			ids[item.ID] = true
		}
		path = ""
		if page.Next != nil {
			path = *page.Next
			if u, err := url.Parse(path); err == nil {
				path = u.RequestURI()
			}
		}
	}
	return ids, nil
}
