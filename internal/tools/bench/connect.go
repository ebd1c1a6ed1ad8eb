package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// Budgets of connecting.
const (
	connectFactor   = 3.0 // of bare gRPC, which opens a stream and gets one message
	handshakeFactor = 1.5 // of the TLS handshakes alone
)

// storm has n zones connect to a global, and as many bare clients to the baseline,
// turn by turn. The first time of a zone is apart: the global then records it.
type storm struct {
	*scope
	global *global
	zones  *zones
	bare   *bare
}

// startStorm prepares it, with TLS or without.
func (s *scope) startStorm(ctx context.Context, n int, tls bool) (*storm, error) {
	c := &storm{scope: s}
	var err error
	if c.global, err = s.startGlobal(ctx, "global", !tls); err != nil {
		return nil, err
	}
	ca, files := "", ""
	if tls {
		ca, files = c.global.ends.CAFile, filepath.Dir(c.global.ends.CAFile)
	}
	if c.zones, err = s.startZones(ctx, "zone", c.global, n, ca, ""); err != nil {
		return nil, err
	}
	c.bare, err = s.startBare(ctx, "bare", n, files)
	return c, err
}

// turns connects both, again and again, and returns how long it took until the last
// one was there: the zones' first time, and the medians of their later ones and of
// the baseline's.
func (c *storm) turns(ctx context.Context, n int) (first, again, bare time.Duration, err error) {
	var ours, theirs []time.Duration
	stop, err := c.profile(ctx, c.global.child, c.zones.child)
	if err != nil {
		return 0, 0, 0, err
	}
	for turn := range n + 1 {
		took, err := c.zones.connect(ctx)
		if err != nil {
			return 0, 0, 0, err
		}
		if turn == 0 {
			first = slices.Max(took)
		} else {
			ours = append(ours, slices.Max(took))
		}
		if err := c.zones.settle(ctx, federation.Revision{}); err != nil {
			return 0, 0, 0, err
		}
		if err := c.zones.leave(ctx); err != nil {
			return 0, 0, 0, err
		}
		if err := c.gone(ctx); err != nil {
			return 0, 0, 0, err
		}
		took, err = c.bare.connect(ctx)
		if err != nil {
			return 0, 0, 0, err
		}
		theirs = append(theirs, slices.Max(took))
		if err := c.bare.leave(ctx); err != nil {
			return 0, 0, 0, err
		}
	}
	return first, median(ours), median(theirs), stop()
}

// gone waits until the global has seen all zones leave.
func (c *storm) gone(ctx context.Context) error {
	return untilEvery(ctx, 20*time.Millisecond, "the zones to be gone", func() (bool, error) {
		h, err := ask[held](ctx, c.global.child, "sessions", federation.Revision{})
		return err == nil && h.Online == 0, err
	})
}

// connect1000 is without TLS: against bare gRPC.
func connect1000(ctx context.Context, s *scope) error {
	c, err := s.startStorm(ctx, s.pick(1000, 30), false)
	if err != nil {
		return err
	}
	first, again, bare, err := c.turns(ctx, s.pick(5, 1))
	if err != nil {
		return err
	}
	return s.report.add(
		measured("connect-1000", ms(again), "ms").beside(ms(bare)).times(connectFactor),
		measured("connect-1000/first", ms(first), "ms").beside(ms(bare)).times(connectFactor),
	)
}

// connect1000TLS is with TLS: against the handshakes alone.
func connect1000TLS(ctx context.Context, s *scope) error {
	c, err := s.startStorm(ctx, s.pick(1000, 30), true)
	if err != nil {
		return err
	}
	c.bare.join.Handshake = true
	first, again, bare, err := c.turns(ctx, s.pick(5, 1))
	if err != nil {
		return err
	}
	return s.report.add(
		measured("connect-1000-tls", ms(again), "ms").beside(ms(bare)).times(handshakeFactor),
		measured("connect-1000-tls/first", ms(first), "ms").beside(ms(bare)),
	)
}

// Budgets of very many zones on one node.
const (
	crowdConnectFactor = 3.0
	crowdFactor        = 2.0
)

// zones8000 is very many zones on one node: they connect, and a revocation reaches
// them.
func zones8000(ctx context.Context, s *scope) error {
	n := s.pick(8000, 60)
	f := &fanOut{scope: s}
	c, err := s.startStorm(ctx, n, false)
	if err != nil {
		return err
	}
	f.global, f.zones, f.bare = c.global, c.zones, c.bare
	first, again, bare, err := c.turns(ctx, 1)
	if err != nil {
		return err
	}
	if _, err := f.zones.connect(ctx); err != nil {
		return err
	}
	if _, err := f.bare.connect(ctx); err != nil {
		return err
	}
	if _, err := f.rounds(ctx, 1); err != nil { // warm
		return err
	}
	o, err := f.rounds(ctx, s.pick(10, 2))
	if err != nil {
		return err
	}
	h, err := ask[held](ctx, f.global.child, "sessions", federation.Revision{})
	if err == nil && h.Online != n {
		err = fmt.Errorf("%d of %d zones are connected at the end", h.Online, n)
	}
	if err != nil {
		return err
	}
	return s.report.add(
		measured("zones-8000", ms(median(o.slowest)), "ms").beside(ms(median(o.bareSlowest))).times(crowdFactor),
		measured("zones-8000/connect", ms(again), "ms").beside(ms(bare)).times(crowdConnectFactor),
		measured("zones-8000/connect-first", ms(first), "ms").beside(ms(bare)),
		measured("zones-8000/processor", ms(o.processor)*1000, "µs/zone").beside(ms(o.bareProcessor)*1000),
	)
}

// zones8000TLS has very many zones come with TLS at once, and again. Whose place goes to
// somebody else, or who is too late, has cost the processor's time of a handshake for nothing.
func zones8000TLS(ctx context.Context, s *scope) error {
	c, err := s.startStorm(ctx, s.pick(8000, 60), true)
	if err != nil {
		return err
	}
	c.bare.join.Handshake = true
	first, again, bare, err := c.turns(ctx, 1)
	if err != nil {
		return err
	}
	var lost []measurement
	for _, what := range []string{"evicted", "late"} {
		n, err := metric(ctx, strings.TrimPrefix(c.global.ends.Diagnostics, "http://"), `meridian_unauthenticated_`+what+`_total{port="kds"}`)
		if err != nil {
			return err
		}
		lost = append(lost, measured("zones-8000-tls/"+what, n, "connections").within(0))
	}
	return s.report.add(append(lost,
		measured("zones-8000-tls", ms(again), "ms").beside(ms(bare)).times(crowdConnectFactor),
		measured("zones-8000-tls/first", ms(first), "ms").beside(ms(bare)))...)
}
