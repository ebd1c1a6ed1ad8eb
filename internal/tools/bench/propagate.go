package main

import (
	"context"
	"fmt"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// fanOut is a global with zones and the baseline with as many clients, side by side.
type fanOut struct {
	*scope
	global *global
	zones  *zones
	bare   *bare
	etcd   *etcd // nil: it is not compared with
}

// startFanOut connects n zones, in memory or with dir on disk, and n bare clients,
// all without TLS, as the budgets are set.
func (s *scope) startFanOut(ctx context.Context, n int, dir string) (*fanOut, error) {
	f := &fanOut{scope: s}
	var err error
	if f.global, err = s.startGlobal(ctx, "global", true); err != nil {
		return nil, err
	}
	if f.zones, err = s.startZones(ctx, "zone", f.global, n, "", dir); err != nil {
		return nil, err
	}
	if f.bare, err = s.startBare(ctx, "bare", n, ""); err != nil {
		return nil, err
	}
	if _, err := f.zones.connect(ctx); err != nil {
		return nil, err
	}
	_, err = f.bare.connect(ctx)
	return f, err
}

// arrived is how long one revocation took to every zone.
type arrived struct {
	fromCommit []time.Duration // since the member had applied it
	fromCall   []time.Duration // since the write was asked for: Raft's log is in it
	revision   federation.Revision
}

// revoke makes one revocation and waits until every zone has acknowledged it.
func (f *fanOut) revoke(ctx context.Context) (arrived, error) {
	a, err := f.revocation(ctx)
	if err != nil {
		return a, err
	}
	return a, f.zones.settle(ctx, a.revision)
}

// revocation makes one revocation and waits until every zone holds it.
func (f *fanOut) revocation(ctx context.Context) (a arrived, err error) {
	if _, err := ask[none](ctx, f.zones.child, "arm", none{}); err != nil {
		return a, err
	}
	c, err := f.global.revoke(ctx, 1)
	if err != nil {
		return a, err
	}
	stamps, err := ask[[]int64](ctx, f.zones.child, "collect", expected{c.Revision, c.ID})
	if err != nil {
		return a, err
	}
	if a.fromCall, err = since(c.Asked, stamps); err != nil {
		return a, err
	}
	// The stamp of the commit is taken beside the streams that it wakes, so that a
	// zone may have seen it a moment earlier.
	for _, at := range stamps {
		a.fromCommit = append(a.fromCommit, max(0, time.Duration(at-c.Applied)))
	}
	a.revision = c.Revision
	return a, nil
}

// outcome is what some rounds came to.
type outcome struct {
	ours arrived
	bare []time.Duration
	// slowest has the 99th percentile of each round: their median is what fan-out
	// takes, while that of all rounds together is the machine's worst moment.
	slowest, bareSlowest []time.Duration
	// callSlowest is slowest from the call on; the others are etcd's two.
	callSlowest, etcdSlowest, etcdCallSlowest []time.Duration
	// processor is what one revocation used for each zone, at both ends together,
	// and bareProcessor the same for a broadcast: a busy machine moves it least.
	processor, bareProcessor time.Duration
	share                    float64 // of the zones in processor, percent
}

// rounds makes as many revocations and broadcasts, turn by turn.
func (f *fanOut) rounds(ctx context.Context, n int) (o outcome, err error) {
	stop, err := f.profile(ctx, f.global.child, f.zones.child)
	if err != nil {
		return o, err
	}
	used := meter{f.global.process, f.zones.process, f.bare.server.process, f.bare.clients.process}
	before, err := used.read()
	if err != nil {
		return o, err
	}
	for range n {
		a, err := f.revoke(ctx)
		if err != nil {
			return o, err
		}
		o.ours.fromCall, o.ours.fromCommit = append(o.ours.fromCall, a.fromCall...), append(o.ours.fromCommit, a.fromCommit...)
		o.slowest = append(o.slowest, percentile(a.fromCommit, 99))
		took, err := f.bare.broadcast(ctx)
		if err != nil {
			return o, err
		}
		o.bare, o.bareSlowest = append(o.bare, took...), append(o.bareSlowest, percentile(took, 99))
		o.callSlowest = append(o.callSlowest, percentile(a.fromCall, 99))
		if f.etcd == nil {
			continue
		}
		fromAnswer, fromCall, err := f.etcd.change(ctx)
		if err != nil {
			return o, err
		}
		o.etcdSlowest, o.etcdCallSlowest = append(o.etcdSlowest, percentile(fromAnswer, 99)), append(o.etcdCallSlowest, percentile(fromCall, 99))
	}
	after, err := used.read()
	if err != nil {
		return o, err
	}
	spent := func(i int) time.Duration { return after[i] - before[i] }
	each := time.Duration(n * len(f.zones.names))
	o.processor, o.bareProcessor = (spent(0)+spent(1))/each, (spent(2)+spent(3))/each
	o.share = 100 * float64(spent(1)) / float64(spent(0)+spent(1))
	return o, stop()
}

// meter reads the processor time of some processes.
type meter []*process

func (m meter) read() ([]time.Duration, error) {
	var all []time.Duration
	for _, p := range m {
		t, err := processorTime(p.pid())
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// propagate1Budget is for a revocation to one zone, Raft's log and its fsync included.
const propagate1Budget = 5 * time.Millisecond

// propagate1 measures one zone, from the write that is asked for.
func propagate1(ctx context.Context, s *scope) error {
	f, err := s.startFanOut(ctx, 1, "")
	if err != nil {
		return err
	}
	o, err := f.rounds(ctx, s.pick(1000, 20))
	if err != nil {
		return err
	}
	return s.report.add(
		measured("propagate-1", ms(percentile(o.ours.fromCall, 99)), "ms").beside(ms(percentile(o.bare, 99))).within(ms(propagate1Budget)),
		measured("propagate-1/p50", ms(median(o.ours.fromCall)), "ms").beside(ms(median(o.bare))),
		measured("propagate-1/commit-to-zone", ms(percentile(o.ours.fromCommit, 99)), "ms").beside(ms(percentile(o.bare, 99))),
		measured("propagate-1/load-share", o.share, "%"),
	)
}

// propagateFactor is how many times the bare broadcast a revocation may take.
const propagateFactor = 1.2

// propagateMany measures n zones, from the commit, beside the bare broadcast and,
// where there is one, etcd: its budget is to be ahead of it.
func propagateMany(name string, n, quick, rounds int, factor float64) func(context.Context, *scope) error {
	return func(ctx context.Context, s *scope) error {
		f, err := s.startFanOut(ctx, s.pick(n, quick), "")
		if err != nil {
			return err
		}
		if program := findEtcd(); program == "" {
			s.report.note("%s/etcd is left out: there is no program etcd", name)
		} else if f.etcd, err = s.startEtcd(ctx, program, s.pick(n, quick)); err != nil {
			return err
		}
		if _, err := f.rounds(ctx, 2); err != nil { // warm
			return err
		}
		o, err := f.rounds(ctx, s.pick(rounds, 3))
		if err != nil {
			return err
		}
		var rival []measurement
		if f.etcd != nil {
			rival = []measurement{
				measured(name+"/etcd", ms(median(o.slowest)), "ms").beside(ms(median(o.etcdSlowest))).times(1),
				measured(name+"/etcd-from-call", ms(median(o.callSlowest)), "ms").beside(ms(median(o.etcdCallSlowest))),
			}
		}
		return s.report.add(append([]measurement{
			measured(name, ms(median(o.slowest)), "ms").beside(ms(median(o.bareSlowest))).times(factor),
			measured(name+"/p99-of-all", ms(percentile(o.ours.fromCommit, 99)), "ms").beside(ms(percentile(o.bare, 99))),
			measured(name+"/p50", ms(median(o.ours.fromCommit)), "ms").beside(ms(median(o.bare))),
			measured(name+"/from-call", ms(percentile(o.ours.fromCall, 99)), "ms"),
			measured(name+"/processor", ms(o.processor)*1000, "µs/zone").beside(ms(o.bareProcessor) * 1000),
			measured(name+"/load-share", o.share, "%"),
		}, rival...)...)
	}
}

// propagateDurable measures zones whose copy is on disk: an fsync for each zone of
// the machine that here carries all of them.
func propagateDurable(ctx context.Context, s *scope) error {
	for _, n := range []int{1, s.pick(1000, 10)} {
		inner, err := s.bench.scope("durable")
		if err != nil {
			return err
		}
		err = func() error {
			defer inner.close()
			f, err := inner.startFanOut(ctx, n, inner.dir+"/copies")
			if err != nil {
				return err
			}
			o, err := f.rounds(ctx, s.pick(10, 2))
			if err != nil {
				return err
			}
			return s.report.add(measured(fmt.Sprintf("propagate-durable/%d", n), ms(percentile(o.ours.fromCall, 99)), "ms").beside(ms(percentile(o.bare, 99))))
		}()
		if err != nil {
			return err
		}
	}
	return nil
}
