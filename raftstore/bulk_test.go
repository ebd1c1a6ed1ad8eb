package raftstore

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// TestBulkRevocationIsVisibleAtOnce revokes 100,000 ids, far more than one log entry
// holds, while others look: they see none of them or all.
func TestBulkRevocationIsVisibleAtOnce(t *testing.T) {
	const n = 100_000
	m := start(t, alone(t, t.TempDir(), testSeal(t))).awaitReady()
	ctx, ids := context.Background(), revokedIDs(n)
	_, before := m.Head()

	var looking sync.WaitGroup
	stop := make(chan struct{})
	looking.Go(func() {
		for {
			progress := m.fsm.progress.next()
			view := m.View()
			first, last := view.Revoked(cptoken.Zone, "", ids[0].ID), view.Revoked(cptoken.Zone, "", ids[n-1].ID)
			if count := m.RevocationCount(cptoken.Zone, ""); first != last || count != 0 && count != n {
				t.Errorf("%d ids are visible: the first %v, the last %v", count, first, last)
			}
			select {
			case <-progress:
			case <-stop:
				return
			}
		}
	})
	change, err := m.Revoke(ctx, Origin{By: "ann", RequestID: "bulk"}, cptoken.Zone, "", ids, "breach")
	close(stop)
	looking.Wait()
	if err != nil || change.Changed != n {
		t.Fatalf("revoke: %+v %v", change, err)
	}
	checkBulkDelta(t, m, before, change.Revision, n)

	// The same request again, as after a lost answer: nothing new, nothing left over.
	again, err := m.Revoke(ctx, Origin{By: "ann", RequestID: "bulk"}, cptoken.Zone, "", ids, "breach")
	if err != nil || again.Changed != n || again.Revision != change.Revision {
		t.Errorf("again: %+v %v", again, err)
	}
	if left := len(m.fsm.current().Stages()); left != 0 {
		t.Errorf("%d stages are left over", left)
	}

	names := make([]string, n)
	for i, id := range ids {
		names[i] = id.ID
	}
	if change, err = m.Withdraw(ctx, Origin{By: "ann"}, cptoken.Zone, "", names); err != nil || change.Changed != n {
		t.Fatalf("withdraw: %+v %v", change, err)
	}
	if m.RevocationCount(cptoken.Zone, "") != 0 || m.View().Revoked(cptoken.Zone, "", names[7]) {
		t.Error("ids are still revoked")
	}

	// The first request once more, now that its effect is gone.
	if again, err = m.Revoke(ctx, Origin{By: "ann", RequestID: "bulk"}, cptoken.Zone, "", ids, "breach"); err != nil || again.Changed != n {
		t.Errorf("after the withdrawal: %+v %v", again, err)
	}
	if left := len(m.fsm.current().Stages()); m.RevocationCount(cptoken.Zone, "") != n || left != 0 {
		t.Errorf("%d ids are revoked, want %d; %d stages are left over", m.RevocationCount(cptoken.Zone, ""), n, left)
	}
}

func checkBulkDelta(t *testing.T, m *member, from, to federation.Revision, n int) {
	t.Helper()
	d, err := m.Since(from)
	if err != nil || d.Full || d.To != to {
		t.Fatalf("since: %+v %v", d, err)
	}
	got := 0
	for c := range d.Changes {
		if c.Revoked == nil || c.Index != to.Index || len(c.Revoked.IDs) > cptoken.MaxRun {
			t.Fatalf("change %+v", c)
		}
		got += len(c.Revoked.IDs)
	}
	if got != n {
		t.Errorf("the delta has %d ids, want %d", got, n)
	}
}

// TestLongIDsFitIntoParts: the bytes of a part are bounded, not only its ids.
func TestLongIDsFitIntoParts(t *testing.T) {
	m := start(t, alone(t, t.TempDir(), testSeal(t))).awaitReady()
	ids := revokedIDs(12_000)
	for i := range ids {
		ids[i].ID = (ids[i].ID + strings.Repeat("x", cptoken.MaxIDLen))[:cptoken.MaxIDLen]
		ids[i].Expires = 1 << 50
	}
	change, err := m.Revoke(context.Background(), Origin{By: "ann"}, cptoken.Zone, "", ids, strings.Repeat("y", federation.MaxReason))
	if err != nil || change.Changed != uint64(len(ids)) {
		t.Fatalf("revoke: %+v %v", change, err)
	}
}

func TestABadIDSpoilsTheWholeChange(t *testing.T) {
	m := start(t, alone(t, t.TempDir(), testSeal(t))).awaitReady()
	ids := revokedIDs(30_000)
	ids[29_999].ID = "a,b"
	if _, err := m.Revoke(context.Background(), Origin{By: "ann"}, cptoken.Zone, "", ids, ""); federation.CodeOf(err) != federation.Invalid {
		t.Errorf("error %v", err)
	}
	if m.RevocationCount(cptoken.Zone, "") != 0 || len(m.fsm.current().Stages()) != 0 {
		t.Error("a part of it is there")
	}
}
