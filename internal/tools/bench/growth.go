package main

import (
	"context"
	"fmt"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// growth measures how the main figures grow: growth-NAME/SIZE, where the size is a
// number of zones or of revoked ids. The plots are made of these.
func growth(ctx context.Context, s *scope) error {
	for _, n := range []int{0, 1000, 10_000, 100_000, many} {
		if s.quick && n > 1000 {
			break
		}
		if err := s.apart(fmt.Sprint("ids-", n), func(s *scope) error { return s.growIDs(ctx, n) }); err != nil {
			return err
		}
	}
	for _, n := range []int{1, 10, 100, 1000, 8000} {
		if s.quick && n > 10 {
			break
		}
		if err := s.apart(fmt.Sprint("zones-", n), func(s *scope) error { return s.growZones(ctx, n) }); err != nil {
			return err
		}
	}
	return nil
}

// apart runs a part of a row in a scope of its own.
func (s *scope) apart(name string, f func(s *scope) error) error {
	inner, err := s.bench.scope(name)
	if err != nil {
		return err
	}
	defer inner.close()
	return f(inner)
}

// growIDs verifies, and issues over HTTP, where n ids are revoked.
func (s *scope) growIDs(ctx context.Context, n int) error {
	all, err := s.verification(0, n)
	if err != nil {
		return err
	}
	v := all[0]
	const batch = 100
	took, err := alternately(s.pick(1000, 20), batch, v.verify, v.raw)
	if err != nil {
		return err
	}
	if err := v.refuses(0); err != nil {
		return err
	}
	used, raw, err := s.issueAmong(ctx, n)
	if err != nil {
		return err
	}
	return s.report.add(
		measured(fmt.Sprintf("growth-verify/%d", n), perCall(took[0], batch)/1000, "µs").beside(perCall(took[1], batch)/1000),
		measured(fmt.Sprintf("growth-issue/%d", n), used, "µs").beside(raw),
	)
}

// issueAmong returns the processor time, in microseconds, that a global with n
// revoked ids spends on a token, and what a raw signature takes.
func (s *scope) issueAmong(ctx context.Context, n int) (used, raw float64, err error) {
	g, err := s.startGlobal(ctx, "global", false)
	if err != nil {
		return 0, 0, err
	}
	if err := g.fill(ctx, n); err != nil {
		return 0, 0, err
	}
	api, err := apiOf(g.ends)
	if err != nil {
		return 0, 0, err
	}
	key, err := newKeyPair()
	if err != nil {
		return 0, 0, err
	}
	batch := s.pick(300, 10)
	call := func() (string, error) {
		issued, err := api.ZoneToken(ctx, apitypes.ZoneTokenRequest{Zone: "west"})
		return issued.Token, err
	}
	var ours, theirs []time.Duration
	for range s.pick(5, 1) {
		before, err := processorTime(g.pid())
		if err != nil {
			return 0, 0, err
		}
		if _, err := issueMany(ctx, issueCallers, batch, call); err != nil {
			return 0, 0, g.failure(err)
		}
		after, err := processorTime(g.pid())
		if err != nil {
			return 0, 0, err
		}
		signed, err := ownProcessor(func() error { return key.signMany(ctx, issueCallers, batch) })
		if err != nil {
			return 0, 0, err
		}
		ours, theirs = append(ours, after-before), append(theirs, signed)
	}
	return perCall(median(ours), batch) / 1000, perCall(median(theirs), batch) / 1000, nil
}

// growZones connects n zones, weighs them, and revokes. It is without TLS, as the
// budgets of connecting and of fan-out are.
func (s *scope) growZones(ctx context.Context, n int) error {
	c, err := s.startStorm(ctx, n, false)
	if err != nil {
		return err
	}
	_, again, bare, err := c.turns(ctx, s.pick(2, 1))
	if err != nil {
		return err
	}
	before, bareBefore, err := c.weigh(ctx)
	if err != nil {
		return err
	}
	if _, err := c.zones.connect(ctx); err != nil {
		return err
	}
	if _, err := c.bare.connect(ctx); err != nil {
		return err
	}
	if err := c.zones.settle(ctx, federation.Revision{}); err != nil {
		return err
	}
	f := &fanOut{scope: s, global: c.global, zones: c.zones, bare: c.bare}
	o, err := f.rounds(ctx, s.pick(10, 2))
	if err != nil {
		return err
	}
	after, bareAfter, err := c.weigh(ctx)
	if err != nil {
		return err
	}
	list := []measurement{
		measured(fmt.Sprintf("growth-connect/%d", n), ms(again), "ms").beside(ms(bare)),
		measured(fmt.Sprintf("growth-propagate/%d", n), ms(median(o.slowest)), "ms").beside(ms(median(o.bareSlowest))),
	}
	if n >= 100 { // fewer are lost in what the process needs anyway
		list = append(list, measured(fmt.Sprintf("growth-memory/%d", n), max(0, after-before)/1e6, "MB").beside(max(0, bareAfter-bareBefore)/1e6))
	}
	return s.report.add(list...)
}
