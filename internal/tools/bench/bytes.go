package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// bytesBudget is what one more revocation may cost on a zone's connection, TLS
// included, whatever the length of the list.
const bytesBudget = 300

// relay passes connections on and counts what it passes.
type relay struct {
	net.Listener
	target     string
	down, up   atomic.Int64 // to the zone, from it
	connecting sync.WaitGroup
}

func (s *scope) startRelay(target string) (*relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	r := &relay{Listener: l, target: target}
	var open sync.Map
	r.connecting.Go(func() {
		for {
			zone, err := l.Accept()
			if err != nil {
				return
			}
			global, err := net.Dial("tcp", target)
			if err != nil {
				zone.Close()
				continue
			}
			open.Store(zone, nil)
			open.Store(global, nil)
			r.connecting.Go(func() { r.pass(zone, global, &r.down) })
			r.connecting.Go(func() { r.pass(global, zone, &r.up) })
		}
	})
	s.onClose(func() {
		l.Close()
		open.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
		r.connecting.Wait()
	})
	return r, nil
}

// pass copies until either end is gone, and then ends both.
func (r *relay) pass(to, from net.Conn, count *atomic.Int64) {
	defer to.Close()
	defer from.Close()
	_, _ = io.Copy(counted{to, count}, from) // an end is an end
}

type counted struct {
	io.Writer
	n *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// propagateBytes counts what one more revocation brings to a zone, over a
// connection with TLS, on top of lists of several lengths.
func propagateBytes(ctx context.Context, s *scope) error {
	for _, n := range []int{0, s.pick(50_000, 500), s.pick(many, 5000)} {
		inner, err := s.bench.scope("bytes")
		if err != nil {
			return err
		}
		down, up, err := inner.oneMore(ctx, n)
		inner.close()
		if err != nil {
			return err
		}
		name := fmt.Sprintf("propagate-bytes/%d", n)
		if n == s.pick(50_000, 500) {
			name = "propagate-bytes"
		}
		if err := s.report.add(measured(name, down, "B").within(bytesBudget), measured(name+"/acknowledged", up, "B")); err != nil {
			return err
		}
	}
	return nil
}

// oneMore returns what a revocation on top of n takes to a zone, and what the zone
// says back.
func (s *scope) oneMore(ctx context.Context, n int) (down, up float64, err error) {
	g, err := s.startGlobal(ctx, "global", false)
	if err != nil {
		return 0, 0, err
	}
	if err := g.fill(ctx, n); err != nil {
		return 0, 0, err
	}
	r, err := s.startRelay(g.ends.KDS)
	if err != nil {
		return 0, 0, err
	}
	z, err := s.startZones(ctx, "zone", g, 1, g.ends.CAFile, "")
	if err != nil {
		return 0, 0, err
	}
	z.join.Address = r.Addr().String()
	if _, err := z.connect(ctx); err != nil {
		return 0, 0, err
	}
	if total := r.down.Load(); total < int64(16*n) {
		return 0, 0, fmt.Errorf("the full state of %d ids came in %d bytes", n, total)
	}
	f := &fanOut{scope: s, global: g, zones: z}
	var downs, ups []float64
	for range s.pick(15, 3) {
		wait(ctx, 50*time.Millisecond) // what is under way ends
		before, said := r.down.Load(), r.up.Load()
		if _, err := f.revoke(ctx); err != nil {
			return 0, 0, err
		}
		wait(ctx, 50*time.Millisecond)
		downs, ups = append(downs, float64(r.down.Load()-before)), append(ups, float64(r.up.Load()-said))
	}
	return median(downs), median(ups), nil
}
