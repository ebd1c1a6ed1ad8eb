package state

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/ptree"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// The lineage is a running digest over every command and what it came to: whoever has the
// same lineage at an index has the same past. Effects count as a sum over all records of
// the state, which each write to one of the trees brings up to date (see tree.note): no
// command can change a record, and no record be another than its commands made it, without
// another lineage from then on. The sum does not depend on the order of writes within a
// command, nor on how trees and runs hold the records.

// line is the beginning of a lineage, enough to tell two pasts apart that nobody chose.
type line [8]byte

// errLineage refuses a snapshot whose records are not what its commands led to.
var errLineage = errors.New("the records are not those that its lineage is of")

// Bounds of the table of lineages. Who stands below its floor gets a full state.
const (
	maxLines = 1_000_000
	lineLife = 30 * 24 * time.Hour
	// lineRun is how many entries a record of a snapshot has.
	lineRun = 4096
)

// lineTable has the lineage after each command of the present history, from its floor on.
type lineTable struct {
	at    ptree.Tree[uint64, line]
	floor uint64 // what lies before is not known
	// marks say when the table was how long, the oldest first; replaced as a whole.
	marks []lineMark
}

type lineMark struct {
	at    int64
	index uint64
}

func (t *lineTable) none() lineTable {
	return lineTable{at: ptree.New[uint64, line](cmp.Compare[uint64])}
}

// effect is what of a result counts. How a refusal is worded may differ between versions,
// and no member is to stop over a hint.
func effect(r *storepb.Result) *storepb.Result {
	if r == nil {
		return nil
	}
	return &storepb.Result{Index: r.Index, Code: r.Code, Changed: r.Changed}
}

// extend goes on from the lineage before a command. entry is the digest of the command.
func (s *State) extend(before, entry [sha256.Size]byte, result *storepb.Result) {
	if s.level < LevelLineage {
		return
	}
	b := appendText(nil, "meridian lineage 1")
	b = append(b, before[:]...)
	b = binary.BigEndian.AppendUint64(b, s.applied)
	b = append(b, entry[:]...)
	b = record(b, effect(result))
	b = record(b, s.scalars())
	b = s.sum.Append(b)
	for _, l := range s.losses {
		b = record(b, l)
	}
	s.lineage = sha256.Sum256(b)
	if s.lines.at.Len() == 0 {
		s.lines.floor = s.applied
	}
	s.lines.at.Set(s.edit, s.applied, s.line())
	if s.lines.at.Len() > maxLines {
		first, _, _ := s.lines.first()
		s.dropLines(first)
	}
}

// line is the present lineage as the table has it.
func (s *State) line() line { return line(s.lineage[:len(line{})]) }

func (t *lineTable) first() (index uint64, l line, ok bool) {
	for index, l := range t.at.All() {
		return index, l, true
	}
	return 0, line{}, false
}

// dropLines forgets the entries up to an index.
func (s *State) dropLines(upTo uint64) {
	s.share()
	for index := range s.lines.at.All() {
		if index > upTo || index >= s.revision { // where zones stand, they must be able to prove
			break
		}
		s.lines.at.Del(s.edit, index)
		s.lines.floor = index + 1
	}
}

// forgetLines forgets what is older than lineLife, by the times of pruning.
func (s *State) forgetLines() {
	if s.level < LevelLineage {
		return
	}
	marks := append(s.lines.marks[:len(s.lines.marks):len(s.lines.marks)], lineMark{s.time, s.applied})
	for len(marks) > 1 && marks[0].at < s.time-lineLife.Milliseconds() {
		s.dropLines(marks[0].index)
		marks = marks[1:]
	}
	s.lines.marks = marks
}

// Lineage is the beginning of the present lineage; nil before LevelLineage.
func (s *State) Lineage() []byte {
	if s.level < LevelLineage || !s.Founded() {
		return nil
	}
	l := s.line()
	return l[:]
}

// Place is where a position stands towards the state.
type Place int

// The places, in the words of docs/model: a position is inPast, or it is ahead (its index
// is beyond what was applied), or it is absent (the history has something else there).
const (
	// Unknown: of another history, or before the table's floor.
	Unknown Place = iota
	// InPast: the state went through it.
	InPast
	// Ahead: of this history, and beyond the last command.
	Ahead
	// Absent: of this history, and not in its past.
	Absent
)

// PlaceOf tells where a position stands: the lineage after the last command up to an
// index of a history.
func (s *State) PlaceOf(history federation.History, index uint64, lineage []byte) Place {
	switch {
	case len(lineage) != len(line{}) || s.level < LevelLineage || history != s.history || index < s.lines.floor:
		return Unknown
	case index > s.applied:
		return Ahead
	}
	_, l, ok := s.lines.at.UpTo(index)
	switch {
	case !ok:
		return Unknown
	case l == line(lineage):
		return InPast
	}
	return Absent
}

// lineageAt is the lineage after the last command up to an index, nil where that is not
// known.
func (s *State) lineageAt(index uint64) []byte {
	_, l, ok := s.lines.at.UpTo(index)
	if !ok || index < s.lines.floor {
		return nil
	}
	return l[:]
}

// Position is where the state stands for zones, without a MAC; nil where no lineage is
// known there.
func (s *State) Position(vocabulary uint32) *storepb.Position {
	l := s.lineageAt(s.revision)
	if l == nil || !s.Founded() {
		return nil
	}
	return &storepb.Position{
		ClusterId: s.cluster, History: &storepb.History{Id: s.history.ID, CreatedMs: s.history.Created},
		Index: s.revision, Lineage: l, Vocabulary: vocabulary,
	}
}

// PositionText is what the MAC of a position is over.
func PositionText(p *storepb.Position) []byte {
	return record(nil, &storepb.Position{
		ClusterId: p.ClusterId, History: p.History, Index: p.Index, Lineage: p.Lineage, Vocabulary: p.Vocabulary, Generation: p.Generation,
	})
}

// writeLines writes the table.
func (s *State) writeLines(w *snapshotWriter) {
	var run *storepb.Lines
	last := uint64(0)
	flush := func() {
		if run != nil {
			w.put(&storepb.Record{What: &storepb.Record_Lines{Lines: run}})
		}
		run = nil
	}
	for index, l := range s.lines.at.All() {
		if run == nil {
			run = &storepb.Lines{First: index}
		} else {
			run.Steps = append(run.Steps, index-last)
		}
		run.Lineages = append(run.Lineages, l[:]...)
		last = index
		if len(run.Steps) == lineRun-1 {
			flush()
		}
	}
	flush()
}

// read adds a piece of a snapshot, which must go on behind the one before.
func (t *lineTable) read(e *ptree.Edit, r *storepb.Lines) error {
	const size = len(line{})
	if len(r.Lineages) != size*(len(r.Steps)+1) || len(r.Steps) >= lineRun {
		return errors.New("a piece of the table of lineages has indexes without lineages")
	}
	index := r.First
	for i := 0; ; i++ {
		if last, _, any := t.at.UpTo(1<<63 - 1); any && index <= last || index == 0 {
			return errors.New("the table of lineages is not in order")
		}
		t.at.Set(e, index, line(r.Lineages[i*size:(i+1)*size]))
		if i == len(r.Steps) {
			return nil
		}
		index += r.Steps[i]
	}
}
