package state

import (
	"runtime"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// million is a state with a million revoked ids, as commands would make it.
func million(b *testing.B, n int) (*core, []string) {
	c, ids := newCore(b), make([]string, 0, n)
	for len(ids) < n {
		var part []string
		for range min(10_000, n-len(ids)) {
			part = append(part, randomUUID())
		}
		ids = append(ids, part...)
		c.ok(cmdRevoke(cptoken.Zone, "", 0, part...))
	}
	return c, ids
}

// BenchmarkMemory reports the bytes that a revoked id takes in the state.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		before := heap()
		c, ids := million(b, 1_000_000)
		n := len(ids)
		ids = nil
		b.ReportMetric(float64(heap()-before)/float64(n), "B/id")
		runtime.KeepAlive(c)
		runtime.KeepAlive(ids)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkRevoked(b *testing.B) {
	c, ids := million(b, 1_000_000)
	v := cptoken.View(view{c.s.Capture()})
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if !v.Revoked(cptoken.Zone, "", ids[i%len(ids)]) {
			b.Fatal("not revoked")
		}
		i += 7919
	}
}

// BenchmarkRevokeOne is one more revocation on a list of a million.
func BenchmarkRevokeOne(b *testing.B) {
	c, _ := million(b, 1_000_000)
	for b.Loop() {
		c.index++
		c.s.execute(c.index, &storepb.Command{Level: 1, TimeMs: c.now, Op: cmdRevoke(cptoken.Zone, "", 0, randomUUID()).Op})
		c.s.Capture()
	}
}

// BenchmarkSinceOne is what a zone that lacks one revocation of a million is told.
func BenchmarkSinceOne(b *testing.B) {
	c, _ := million(b, 1_000_000)
	rev := c.s.Revision()
	c.ok(cmdRevoke(cptoken.Zone, "", 0, "one more"))
	for b.Loop() {
		d, err := c.s.Since(rev)
		if err != nil {
			b.Fatal(err)
		}
		for range d.Changes {
		}
	}
}

func BenchmarkFullState(b *testing.B) {
	c, _ := million(b, 100_000)
	for b.Loop() {
		d, err := c.s.Since(federation.Revision{})
		if err != nil {
			b.Fatal(err)
		}
		for range d.Changes {
		}
	}
}

func BenchmarkPruneNothing(b *testing.B) {
	c, _ := million(b, 1_000_000)
	for b.Loop() {
		c.ok(cmdPrune(c.now))
	}
}
