package main

import (
	"context"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// Budgets of zones that only are there.
const (
	zoneMemoryFactor = 1.5 // of bare gRPC with the same TLS
	idleBudget       = 1.0 // percent of one processor for 1,000 zones
)

// zoneMemory weighs a connected zone at the global, and a client at the baseline:
// both with TLS, and what is free given back first.
func zoneMemory(ctx context.Context, s *scope) error {
	n := s.pick(1000, 50)
	c, err := s.startStorm(ctx, n, true)
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
	// What the handshakes needed goes back once the timers of their connections ran.
	wait(ctx, time.Duration(s.pick(12, 1))*time.Second)
	after, bareAfter, err := c.weigh(ctx)
	if err != nil {
		return err
	}
	each := func(before, after float64) float64 { return (after - before) / float64(n) / 1024 }
	m := measured("zone-memory", each(before, after), "KiB/zone").beside(each(bareBefore, bareAfter))
	if !s.quick { // few zones are lost in what the process needs anyway
		m = m.times(zoneMemoryFactor)
	}
	return s.report.add(m)
}

func (c *storm) weigh(ctx context.Context) (ours, bare float64, err error) {
	if ours, err = c.global.weigh(ctx); err != nil {
		return 0, 0, err
	}
	bare, err = c.bare.server.weigh(ctx)
	return ours, bare, err
}

// zoneIdleCPU measures what a global spends on zones that only are there.
func zoneIdleCPU(ctx context.Context, s *scope) error {
	c, err := s.startStorm(ctx, s.pick(1000, 50), true)
	if err != nil {
		return err
	}
	if _, err := c.zones.connect(ctx); err != nil {
		return err
	}
	if err := c.zones.settle(ctx, federation.Revision{}); err != nil {
		return err
	}
	wait(ctx, time.Duration(s.pick(10, 1))*time.Second)
	before, err := processorTime(c.global.pid())
	if err != nil {
		return err
	}
	span := time.Duration(s.pick(60, 2)) * time.Second
	stop, err := c.profile(ctx, c.global.child)
	if err != nil {
		return err
	}
	begun := time.Now()
	wait(ctx, span)
	after, err := processorTime(c.global.pid())
	if err != nil {
		return err
	}
	percent := 100 * float64(after-before) / float64(time.Since(begun))
	if err := stop(); err != nil {
		return err
	}
	return s.report.add(measured("zone-idle-cpu", percent, "% of a core").within(idleBudget))
}
