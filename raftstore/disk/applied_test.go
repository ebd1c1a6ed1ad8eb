package disk

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/hashicorp/raft"
)

// filledLog has entries 1 to n.
func filledLog(t *testing.T, n uint64) *raft.InmemStore {
	t.Helper()
	log := raft.NewInmemStore()
	for i := uint64(1); i <= n; i++ {
		if err := log.StoreLog(&raft.Log{Index: i, Term: 1}); err != nil {
			t.Fatal(err)
		}
	}
	return log
}

// TestASuffixThatWasAppliedStays: Raft may compact, and replace what was never committed,
// and nothing else.
func TestASuffixThatWasAppliedStays(t *testing.T) {
	for name, tc := range map[string]struct {
		from, to uint64
		refused  bool
	}{
		"a prefix":               {1, 5, false},
		"what was never applied": {9, 10, false},
		"the last that was":      {8, 10, true},
		"all":                    {1, 10, true},
	} {
		g := NewAppliedGuard(6, nil)
		g.Applied(8)
		g.Applied(7)
		err := g.GuardLog(filledLog(t, 10)).DeleteRange(tc.from, tc.to)
		if errors.Is(err, ErrReplaces) != tc.refused {
			t.Errorf("%s: %v", name, err)
		}
		select {
		case <-g.Refused():
			if !tc.refused || !errors.Is(g.Err(), ErrReplaces) {
				t.Errorf("%s is told as refused: %v", name, g.Err())
			}
		default:
			if tc.refused {
				t.Errorf("nobody is told that %s was refused", name)
			}
		}
	}
}

// TestASnapshotIsJudgedBeforeItCounts: one that does not go through what was applied leaves
// the store as it was.
func TestASnapshotIsJudgedBeforeItCounts(t *testing.T) {
	for _, refused := range []bool{false, true} {
		var read []byte
		g := NewAppliedGuard(1, func(in io.Reader, _ raft.Configuration) (err error) {
			if read, err = io.ReadAll(in); err == nil && refused {
				err = ErrReplaces
			}
			return err
		})
		kept := raft.NewInmemSnapshotStore()
		_, trans := raft.NewInmemTransport("a")
		store := &cancelled{SnapshotStore: kept}
		sink, err := g.GuardSnapshots(store).Create(raft.SnapshotVersionMax, 9, 1, raft.Configuration{}, 1, trans)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(sink, bytes.NewReader([]byte("the state"))); err != nil {
			t.Fatal(err)
		}
		err = sink.Close()
		if errors.Is(err, ErrReplaces) != refused || store.cancelled != refused || string(read) != "the state" {
			t.Errorf("refused %t: %v, cancelled %t, judged by %q", refused, err, store.cancelled, read)
		}
		if err := sink.Cancel(); err != nil { // as Raft does after an error
			t.Error(err)
		}
	}
}

// cancelled notes that a sink was cancelled.
type cancelled struct {
	raft.SnapshotStore
	cancelled bool
}

func (c *cancelled) Create(v raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64, trans raft.Transport) (raft.SnapshotSink, error) {
	sink, err := c.SnapshotStore.Create(v, index, term, conf, confIndex, trans)
	return cancelledSink{sink, c}, err
}

type cancelledSink struct {
	raft.SnapshotSink
	of *cancelled
}

func (s cancelledSink) Cancel() error {
	s.of.cancelled = true
	return s.SnapshotSink.Cancel()
}

func TestMemoryIsBegunAnewWhereItCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	m := Memory{Own: Standing{Node: "a", Raft: 7, Voter: true}, Others: map[string]Standing{"b": {Node: "b", Raft: 9}}}
	if err := m.Write(dir); err != nil {
		t.Fatal(err)
	}
	again, err := LoadMemory(dir)
	if err != nil || again.Own.Raft != 7 || again.Others["b"].Raft != 9 {
		t.Errorf("read back %+v: %v", again, err)
	}
	if err := ForgetMemory(dir); err != nil {
		t.Fatal(err)
	}
	if again, err = LoadMemory(dir); err != nil || again.Own.Raft != 0 {
		t.Errorf("after it was forgotten %+v: %v", again, err)
	}
}
