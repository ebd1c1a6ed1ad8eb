package main

import (
	"context"
	"encoding/json"
	"errors"
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
	serve("written", func(string, io.Writer) error { return l.written(ctx, 2*time.Minute) })
	serve("rotated", func(arg string, _ io.Writer) error { return l.rotated(arg) })
	serve("kept", func(string, io.Writer) error {
		l.ledger.kept()
		return nil
	})
	serve("went-back", func(_ string, w io.Writer) error {
		gone, held := l.ledger.wentBack()
		fmt.Fprintf(w, "%d acknowledged revocations are gone with the disks, %d of them are held by their zone\n", gone, held)
		if held == 0 {
			return errors.New("no zone knows more than the members: nothing can prove the loss")
		}
		return nil
	})
	serve("zones-went-back", func(arg string, _ io.Writer) error { return l.zonesWentBack(arg) })
	serve("loss", func(_ string, w io.Writer) error { return l.confirm(ctx, w, time.Minute) })
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

// rotated takes the answer to the activation of a zone key: every zone that it does not
// call offline has to hold the key. Where it says nothing of zones, because the key was
// active already when that was asked for once more, nothing is known.
func (l *load) rotated(answer string) error {
	var change struct {
		Key     struct{ KID, State string }
		Holding *struct{ Offline, Unproven []string }
	}
	if err := json.Unmarshal([]byte(answer), &change); err != nil {
		return fmt.Errorf("reading the answer to a rotation: %w", err)
	}
	if change.Key.State != "active" {
		return fmt.Errorf("key %s is %s after its rotation", change.Key.KID, change.Key.State)
	}
	if change.Holding == nil {
		return nil
	}
	var zones []int
	for n := range l.zones {
		if !slices.Contains(change.Holding.Offline, zoneName(n)) && !slices.Contains(change.Holding.Unproven, zoneName(n)) {
			zones = append(zones, n)
		}
	}
	l.ledger.rotated(change.Key.KID, zones)
	return nil
}

// finish ends the writing, waits until every zone has caught up, holds everything
// that was acknowledged against members and zones, and reports.
func (l *load) finish(ctx context.Context, w io.Writer) error {
	l.stopWriting()
	l.writers.Wait()
	behind := l.catchUp(ctx, 2*time.Minute)
	silent := l.tryAll(ctx, time.Minute)
	gone := l.lost(ctx, w, time.Minute)
	alarms := l.alarms(ctx)
	l.ledger.mu.Lock()
	defer l.ledger.mu.Unlock()
	for _, e := range l.ledger.examples {
		fmt.Fprintln(w, e)
	}
	var waits []time.Duration
	for _, m := range l.ledger.marks {
		fmt.Fprintf(w, "writes again after %-45s %6d ms\n", m.name, m.again.Milliseconds())
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
		g.acknowledged, g.unanswered, g.late())
	fmt.Fprintf(w, "%d times all members' disks went back, and %d histories began because of it\n", g.losses, len(g.began)-1)
	fmt.Fprintf(w, "%d operations, %d faults, writes again after p50 %d ms, max %d ms, %d valid tokens refused, %d revoked tokens accepted, %d acknowledged writes lost\n",
		g.operations, len(g.marks), p50.Milliseconds(), most.Milliseconds(), g.wronglyRefused, g.wronglyTaken, gone)
	switch {
	case g.wronglyRefused+g.wronglyTaken+gone > 0:
		return fmt.Errorf("an invariant does not hold")
	case len(alarms) > 0:
		return fmt.Errorf("alarms that nothing explains: %s", strings.Join(alarms, "; "))
	case len(g.began)-1 != g.losses:
		return fmt.Errorf("%d histories began, and %d losses were to be expected", len(g.began)-1, g.losses)
	case len(behind) > 0:
		return fmt.Errorf("zones that never caught up: %s", strings.Join(behind, ", "))
	case silent > 0:
		return fmt.Errorf("%d tokens got no verdict once everything was healed", silent)
	case g.acknowledged == 0 || len(waits) == 0 || len(g.holds) == 0:
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
			if seen := l.ledger.seen[n]; seen.IsZero() || newer(l.ledger.latest, seen) {
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

// tryAll has every token judged by its zone once more, and counts those that got no
// verdict within a time.
func (l *load) tryAll(ctx context.Context, most time.Duration) (silent int) {
	end := time.Now().Add(most)
	for _, t := range append(l.ledger.all(good), l.ledger.all(revoked)...) {
		v := l.verify(ctx, t.token)
		for ; v == (verdict{}) && time.Now().Before(end) && ctx.Err() == nil; v = l.verify(ctx, t.token) {
			pause(ctx, 100*time.Millisecond)
		}
		if v == (verdict{}) {
			silent++
		}
		l.ledger.judge(t, v)
	}
	return silent
}

// lost counts the acknowledged revocations that a member does not list, though it had
// time to catch up.
func (l *load) lost(ctx context.Context, w io.Writer, most time.Duration) (gone int) {
	written := slices.DeleteFunc(l.ledger.all(revoked), func(t trial) bool { return t.gone })
	end := time.Now().Add(most)
	for i := range l.globals {
		missing, err := l.missing(ctx, i, written)
		for ; (err != nil || len(missing) > 0) && time.Now().Before(end) && ctx.Err() == nil; missing, err = l.missing(ctx, i, written) {
			pause(ctx, 200*time.Millisecond)
		}
		if err != nil {
			fmt.Fprintf(w, "%s does not list its revocations: %v\n", l.globals[i].name, err)
			missing = written
		}
		for _, t := range missing[:min(len(missing), 20)] {
			fmt.Fprintf(w, "%s has lost the revocation of %s, in force at %s\n", l.globals[i].name, t.id, t.inForce)
		}
		gone += len(missing)
	}
	return gone
}

// missing are those of the revocations that a member does not list.
func (l *load) missing(ctx context.Context, i int, written []trial) (missing []trial, err error) {
	listed, err := l.listed(ctx, i)
	if err != nil {
		return nil, err
	}
	for _, t := range written {
		if !listed[t.id] {
			missing = append(missing, t)
		}
	}
	return missing, nil
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
