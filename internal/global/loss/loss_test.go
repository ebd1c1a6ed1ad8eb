package loss

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/raftstore"
	"github.com/meridiankds/meridian/raftstore/disk"
)

// store is a leader's, to which a position is "proved N" or "made up N": both claim history N,
// which nobody here knows.
type store struct {
	Store
	remembered []disk.Shown
}

func (s *store) IsLeader() bool                   { return true }
func (s *store) RememberShown(shown []disk.Shown) { s.remembered = shown }
func (s *store) RememberedShown() []disk.Shown    { return s.remembered }

func (s *store) Place(position []byte) raftstore.Shown {
	shown := raftstore.Shown{Revision: federation.Revision{Index: 7}}
	word, n, _ := strings.Cut(string(position), " ")
	shown.Revision.History.ID = n
	if word == "proved" {
		shown.Standing, shown.NewerHistory = cptoken.Ahead, true
	} else {
		shown.Unproved = true
	}
	return shown
}

// TestWhoMakesUpPositionsHidesNoLoss: one zone's token is enough to show positions without end.
// What others showed stays, so does what the zone itself proved, and the zone is one line of
// the log and one alarm.
func TestWhoMakesUpPositionsHidesNoLoss(t *testing.T) {
	var log bytes.Buffer
	now := time.UnixMilli(1_790_000_000_000)
	w := New(Config{Store: new(store), Logger: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time {
		now = now.Add(time.Millisecond)
		return now
	}})
	w.Note(fleet.Shown{By: "zone east", Position: []byte("proved 1")})
	w.Note(fleet.Shown{By: "zone west", Position: []byte("proved 2")})
	for i := range 3 * maxShown {
		w.Note(fleet.Shown{By: "zone west", Position: fmt.Appendf(nil, "made-up %d", i)})
		if i%100 == 0 {
			w.judge(context.Background())
		}
	}
	w.judge(context.Background())
	newer, unproved := 0, 0
	for _, d := range w.Doubts() {
		switch d.Why {
		case fleet.DoubtNewer:
			newer++
		case fleet.DoubtUnproved:
			unproved++
		}
	}
	if newer != 2 || unproved != 1 || w.Waiting() > 1+maxShownBy {
		t.Errorf("%d histories that were proved and %d that were made up are alarms, of %d positions: %+v", newer, unproved, w.Waiting(), w.Doubts())
	}
	if lines := strings.Count(log.String(), "level=ERROR"); lines != 3 {
		t.Errorf("%d lines in the log:\n%s", lines, log.String())
	}
	// Many zones together have as much room as there is, and it is theirs who prove something.
	for i := range 2 * maxShown {
		w.Note(fleet.Shown{By: fmt.Sprint("zone ", i), Position: fmt.Appendf(nil, "made-up by %d", i)})
	}
	w.judge(context.Background())
	if histories := fleet.Histories(w.Doubts(), fleet.DoubtNewer); len(histories) != 2 || w.Waiting() > maxShown {
		t.Errorf("of %d positions the histories %v are known", w.Waiting(), histories)
	}
}
