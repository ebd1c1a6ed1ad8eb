package keysync

import (
	"bytes"
	"os"
	"runtime"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
)

// manyParts is full state with n revoked ids, in parts of 16 runs.
func manyParts(n int) []cptoken.Part {
	set := full(history1, 10)
	for i := 0; i < n; i += cptoken.MaxRun {
		ids := make([]string, min(cptoken.MaxRun, n-i))
		for j := range ids {
			ids[j] = uuidOf(i + j)
		}
		set.Changes = append(set.Changes, revoked(5, ids...))
	}
	return split(set, 16)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestTwoHundredThousand(t *testing.T) {
	const n = 200_000
	s := openNew(t)
	parts := manyParts(n)
	before := heap()
	mustApply(t, s, parts...)
	grown := int(heap()) - int(before)
	if per := grown / n; per > 64 {
		t.Errorf("%d bytes of memory an id, at most 64 are allowed", per)
	}
	if per := s.View().RevocationBytes() / n; per > 32 {
		t.Errorf("%d bytes an id in tables", per)
	}
	runtime.KeepAlive(parts)
	for _, s := range []*Store{s, reopened(t, s)} {
		if got := s.View().Revocations(); got != n {
			t.Fatalf("%d revocations, want %d", got, n)
		}
		for i := 0; i < n; i += 97 {
			if !s.View().Revoked(cptoken.Zone, "", uuidOf(i)) || s.View().Revoked(cptoken.Zone, "", uuidOf(n+i)) {
				t.Fatalf("id %d is decided wrongly", i)
			}
		}
	}
}

func TestLookupsDoNotAllocate(t *testing.T) {
	s := openNew(t)
	mustApply(t, s, manyParts(10_000)...)
	v, in, out := s.View(), uuidOf(5), uuidOf(20_000)
	if n := testing.AllocsPerRun(100, func() {
		v.Revoked(cptoken.Zone, "", in)
		v.Revoked(cptoken.Dataplane, "default", out)
		v.Key(zoneKey("1"))
		v.CutOff(cptoken.Zone, "", "1")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A log that mostly says nothing new is rewritten.
func TestLogIsRewritten(t *testing.T) {
	s := openNew(t)
	ids := make([]string, cptoken.MaxRun)
	for i := range ids {
		ids[i] = uuidOf(i)
	}
	mustApply(t, s, full(history1, 1))
	for i := range uint64(2 * smallLog / cptoken.MaxRun) {
		mustApply(t, s, delta(history1, i+1, i+2, revoked(i+2, ids...)))
	}
	if e := s.state.head.entries; e > 2*cptoken.MaxRun+smallLog {
		t.Errorf("the log has %d entries for %d ids", e, len(ids))
	}
	wantRevoked(t, reopened(t, s), true, ids...)
}

func BenchmarkRevoked(b *testing.B) {
	for _, n := range []int{0, 1000, 1_000_000} {
		s := openNew(b)
		mustApply(b, s, manyParts(n)...)
		for i := range uint64(200) { // as a zone that took single revocations since
			mustApply(b, s, delta(history1, 10+i, 11+i, revoked(11+i, uuidOf(5_000_000+int(i)))))
		}
		v := s.View()
		ids := make([]string, 1<<12)
		for _, what := range []struct {
			name string
			from int
		}{{"absent", 10_000_000}, {"present", 0}} {
			for i := range ids {
				ids[i] = uuidOf(what.from + i*211)
			}
			b.Run(what.name+"/"+cptoken.SerialKID(uint64(n)), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					v.Revoked(cptoken.Zone, "", ids[i&(len(ids)-1)])
				}
			})
		}
		s.Close()
	}
}

// BenchmarkApplyOne is one more revocation on top of a million; most of it is the
// disk. In memory alone it is BenchmarkPushOne.
func BenchmarkApplyOne(b *testing.B) {
	for _, n := range []int{0, 1_000_000} {
		b.Run(cptoken.SerialKID(uint64(n)), func(b *testing.B) {
			s := openNew(b)
			mustApply(b, s, manyParts(n)...)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range uint64(b.N) {
				mustApply(b, s, delta(history1, 10+i, 11+i, revoked(11+i, uuidOf(5_000_000+int(i)))))
			}
		})
	}
}

func BenchmarkPushOne(b *testing.B) {
	s := openNew(b)
	mustApply(b, s, manyParts(1_000_000)...)
	set, k := s.View().revoked, s.hash
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		one := newTable(1)
		one.set(k.ofBytes(cptoken.Zone, "", []byte(uuidOf(5_000_000+i))), true)
		set = set.push(one)
	}
}

func BenchmarkFullState(b *testing.B) {
	const n = 1_000_000
	parts := manyParts(n)
	for b.Loop() {
		before := heap()
		s := openNew(b)
		mustApply(b, s, parts...)
		b.ReportMetric(float64(int64(heap()-before))/n, "heap-B/id")
		b.ReportMetric(float64(s.View().RevocationBytes())/n, "table-B/id")
		if info, err := os.Stat(s.path); err == nil {
			b.ReportMetric(float64(info.Size())/n, "file-B/id")
		}
		s.Close()
	}
}

func BenchmarkLoad(b *testing.B) {
	s := openNew(b)
	mustApply(b, s, manyParts(1_000_000)...)
	s.Close()
	data, err := os.ReadFile(s.path)
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for b.Loop() {
		if _, _, err := load(bytes.NewReader(data), int64(len(data)), s.hash); err != nil {
			b.Fatal(err)
		}
	}
}
