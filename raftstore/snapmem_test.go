package raftstore

import (
	"bytes"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/raftstore/disk"
	"github.com/meridiankds/meridian/raftstore/raftnet"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// anonymousMemory is the anonymous memory of this process in bytes, 0 where the system does
// not tell.
func anonymousMemory() int64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, after, _ := bytes.Cut(data, []byte("RssAnon:"))
	fields := bytes.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	kb, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil {
		return 0
	}
	return kb << 10
}

// peakDuring runs f and returns the most anonymous memory that was seen meanwhile.
func peakDuring(f func()) int64 {
	var peak atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			peak.Store(max(peak.Load(), anonymousMemory()))
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	f()
	close(stop)
	<-done
	return peak.Load()
}

// BenchmarkSnapshotMemory writes a Raft snapshot of a million revocations, as Raft has
// it written, and reports the anonymous memory of the process before it and at its
// peak: the state is streamed, there is no second copy of it.
func BenchmarkSnapshotMemory(b *testing.B) {
	if anonymousMemory() == 0 {
		b.Skip("this system does not tell the anonymous memory of a process")
	}
	const n = 1_000_000
	c := newFSM()
	c.Apply(&raft.Log{Index: 1, Data: foundingEntry(b)})
	const index = 1 + n/10_000
	for i := range uint64(n / 10_000) {
		revoke := &storepb.Revoke{Kind: string(cptoken.Zone)}
		for range 10_000 {
			revoke.Ids = append(revoke.Ids, &storepb.RevokedID{Id: randomUUID()})
		}
		c.Apply(&raft.Log{Index: 2 + i, Data: encoded(b, &storepb.Command{Level: 1, Op: &storepb.Command_Revoke{Revoke: revoke}})})
	}
	store, err := disk.OpenSnapshots(b.TempDir(), raftnet.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		b.Fatal(err)
	}
	var before, peak, size int64
	for b.Loop() {
		debug.FreeOSMemory()
		before = anonymousMemory()
		capture := fsmSnapshot{c.current()}
		peak = peakDuring(func() {
			sink, err := store.Create(raft.SnapshotVersionMax, index, 1, raft.Configuration{}, 1, nil)
			if err == nil {
				err = capture.Persist(sink)
			}
			if err == nil {
				err = sink.Close()
			}
			if err != nil {
				b.Fatal(err)
			}
		})
		metas, err := store.List()
		if err != nil || len(metas) == 0 {
			b.Fatal(err)
		}
		size = metas[0].Size
	}
	b.ReportMetric(float64(before)/(1<<20), "MiB-before")
	b.ReportMetric(float64(peak)/(1<<20), "MiB-peak")
	b.ReportMetric(float64(size)/(1<<20), "MiB-on-disk")
	runtime.KeepAlive(c)
}
