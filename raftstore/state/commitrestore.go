package state

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"io"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/ptree"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// Bounds of a backup that is restored: it is held in memory until its commit.
const (
	maxRestoreParts  = 2048
	RestorePartBytes = MaxCommand - 4<<10
	// MaxBackup is the size of the largest backup that can be restored, some
	// twenty million revocations.
	MaxBackup = maxRestoreParts * RestorePartBytes
)

// serialGap is how far serials jump where it cannot be known which of them the
// lost part of the past has used. Zones remember removed keys by their serials, and
// would refuse another key under one of them.
const serialGap = 100

// stagedRestore is a backup whose parts arrive; nobody sees it before its commit.
type stagedRestore struct {
	id    string // "" where there is none
	begun int64
	parts ptree.Tree[uint32, []byte]
}

func (r *stagedRestore) none() ptree.Tree[uint32, []byte] {
	return ptree.New[uint32, []byte](cmp.Compare[uint32])
}

// add appends a part from a snapshot.
func (r *stagedRestore) add(e *ptree.Edit, part *storepb.StagedRestore) {
	r.id, r.begun = part.Id, part.BegunMs
	r.parts.Set(e, uint32(r.parts.Len()), part.Data)
}

// reader reads the parts one after the other.
func (r *stagedRestore) reader() io.Reader {
	readers := make([]io.Reader, 0, r.parts.Len())
	for _, part := range r.parts.All() {
		readers = append(readers, bytes.NewReader(part))
	}
	return io.MultiReader(readers...)
}

func (s *State) restorePart(op *storepb.RestorePart) (uint64, error) {
	if op.Part == 0 && op.RestoreId != "" {
		s.staged = stagedRestore{id: op.RestoreId, begun: s.time, parts: s.staged.none()}
	}
	if err := s.checkRestorePart(op); err != nil {
		return 0, err
	}
	s.staged.parts.Set(s.edit, op.Part, op.Data)
	return 1, nil
}

// checkRestorePart checks a part that is to follow those of the restore under way.
func (s *State) checkRestorePart(op *storepb.RestorePart) error {
	switch {
	case op.RestoreId == "" || len(op.RestoreId) > 64:
		return federation.InvalidField("restore", "must have an id of 1 to 64 characters")
	case len(op.Data) == 0 || len(op.Data) > RestorePartBytes:
		return federation.InvalidField("data", "must have 1 to %d bytes", RestorePartBytes)
	case op.Part >= maxRestoreParts:
		return federation.Errorf(federation.TooLarge, "a backup has at most %d parts", maxRestoreParts)
	case op.Part > 0 && s.staged.id != op.RestoreId:
		return restoreGone()
	case int(op.Part) != s.staged.parts.Len():
		return federation.Errorf(federation.Conflict, "part %d of a backup arrived where part %d was due", op.Part, s.staged.parts.Len())
	}
	return nil
}

func restoreGone() error {
	return federation.Errorf(federation.Conflict, "the parts of this backup are not here: another restore began").
		WithReason("no_restore").WithHint("look whether the other restore succeeded, then send the backup again")
}

func (s *State) dropRestore(op *storepb.DropRestore) (uint64, error) {
	if s.staged.id == "" || s.staged.id != op.RestoreId {
		return 0, nil
	}
	s.staged = stagedRestore{parts: s.staged.none()}
	return 1, nil
}

// commitRestore replaces everything by what the backup holds, in a history of its
// own: zones take full state next, and keep what they know to be revoked.
//
// Indexes must go on growing past every one in the backup, while Raft's own
// continue where this cluster's log is; the difference is kept as an offset.
func (s *State) commitRestore(index uint64, op *storepb.CommitRestore) (uint64, error) {
	if s.staged.id == "" || s.staged.id != op.RestoreId {
		return 0, restoreGone()
	}
	sum := sha256.New()
	for _, part := range s.staged.parts.All() {
		sum.Write(part)
	}
	if int(op.Parts) != s.staged.parts.Len() || !bytes.Equal(op.Sha256, sum.Sum(nil)) {
		return 0, federation.Errorf(federation.Conflict, "the parts of this backup are not those that were sent").
			WithReason("no_restore").WithHint("send the backup again")
	}
	if err := s.MayBeReplaced(op.Force); err != nil {
		return 0, err
	}
	next, err := ReadSnapshot(s.staged.reader())
	if err != nil {
		return 0, UnusableBackup(err)
	}
	if !next.Founded() {
		return 0, UnusableBackup(errNotFounded)
	}
	history, err := ParseHistory(op.History)
	if err != nil {
		return 0, err
	}
	if history.Compare(s.history) <= 0 || history.Compare(next.history) <= 0 {
		return 0, federation.Errorf(federation.Conflict, "a new history must be newer than those of the cluster and the backup")
	}
	if next.level > s.level {
		return 0, federation.Errorf(federation.Conflict, "the backup is of feature level %d, and the cluster is at %d", next.level, s.level).
			WithReason("level").WithHint("upgrade every member first, then restore again")
	}
	at := max(index, next.applied+1)
	next.share()
	next.keepSerials(s)
	next.keepTrust(s)
	next.keepSecrets(s)
	next.staged = stagedRestore{parts: s.staged.none()}
	next.offset = s.offset + (at - index)
	next.level = s.level
	next.applied = at
	next.enter(history, at)
	next.time = max(next.time, s.time)
	next.losses, next.proved = s.losses, s.proved
	next.tellExpelled(at)
	*s = *next
	s.share() // the edit of next is none of s
	return 1, nil
}

// keepSerials raises the serials of a state that goes back in time, so that none
// is given out twice: past those of the state that it replaces, or, where that is
// another cluster's and the own past is lost, by a gap.
func (s *State) keepSerials(replaced *State) {
	if s.cluster != replaced.cluster {
		s.skipSerials()
		return
	}
	for id, highest := range replaced.serials.All() {
		have, _ := s.serials.Get(id)
		s.serials.Set(s.edit, id, max(have, highest))
	}
}

// skipSerials leaves a gap behind every serial. s.edit must be the state's own.
func (s *State) skipSerials() {
	type line struct {
		id      listID
		highest uint64
	}
	var lines []line
	for id, highest := range s.serials.All() {
		lines = append(lines, line{id, highest})
	}
	for _, l := range lines {
		s.serials.Set(s.edit, l.id, l.highest+serialGap)
	}
}

// MayBeReplaced refuses to replace a state in which anything happened since the
// founding, unless the operator insists.
func (s *State) MayBeReplaced(force bool) error {
	if force || s.untouched() {
		return nil
	}
	return federation.Errorf(federation.Conflict, "cluster %s holds state: %d zones, %d keys, revision %s",
		s.cluster, s.zones.Len(), s.keys.Len(), s.Revision()).WithReason("holds_state").
		WithHint("give --force to replace it by the backup; save it first: global snapshot save FILE")
}

// untouched reports whether there is nothing but what the founding made.
func (s *State) untouched() bool {
	if s.zones.Len() > 0 || s.meshes.Len() > 1 {
		return false
	}
	founding := uint64(0)
	for at, e := range s.log.All() {
		if founding == 0 {
			founding = at.index
		}
		if at.index != founding || e.what != keyChanged {
			return false
		}
	}
	return true
}
