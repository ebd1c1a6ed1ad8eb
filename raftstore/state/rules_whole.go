package state

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// checkRevocations holds a piece of a run against what revoking would have asked for. Whether
// an id is there twice shows when it is added.
func (rs *restorer) checkRevocations(v *storepb.Revocations) error {
	s := rs.state
	err := firstOf(s.checkList(v.Kind, v.Mesh), s.checkMesh(cptoken.Kind(v.Kind), v.Mesh), s.checkMade(v.Index, v.By, v.Reason), s.checkTimes("revocations", v.AtMs),
		unless(len(v.Ids) > 0 && len(v.Ids) <= cptoken.MaxRun, "a piece of %d revoked ids", len(v.Ids)))
	for _, id := range v.Ids {
		err = firstOf(err, validateRevoked(id))
	}
	return err
}

func (rs *restorer) checkTombstone(t *storepb.Tombstone) error {
	s := rs.state
	if err := firstOf(s.checkMade(t.Index, "", ""), s.checkTimes("a tombstone", t.AtMs),
		unless(t.Index > s.floor, "a tombstone at index %d, and those up to %d are forgotten", t.Index, s.floor)); err != nil {
		return err
	}
	if of := t.RemovedKey; of != nil || t.CutOff != nil {
		if t.Kind != "" || t.Mesh != "" || t.Id != "" || t.ExpiresS != 0 || of != nil && t.CutOff != nil {
			return errors.New("a tombstone of two things")
		}
		if of != nil {
			return firstOf(s.checkScope(of.Kind, of.Mesh), s.checkRemoved(keyID(of)))
		}
		id, err := s.cutOffID(t.CutOff, false)
		_, stands := s.cutOffs.Get(id)
		return firstOf(err, s.checkMesh(id.Kind, id.Mesh), once(rs.withdrawn[id], "the withdrawal of the cut-off of", t.CutOff.Kid),
			unless(!stands, "the cut-off of %.80q is set and withdrawn", t.CutOff.Kid))
	}
	return firstOf(s.checkList(t.Kind, t.Mesh), validateRevoked(&storepb.RevokedID{Id: t.Id, ExpiresS: t.ExpiresS}))
}

// checkRemoved checks that a key was there, is no more, and was removed once.
func (s *State) checkRemoved(id cptoken.KeyID) error {
	_, there := s.keys.Get(id)
	_, twice := s.removed.Get(id)
	err := firstOf(once(twice, "the tombstone of key", KeyName(id)), unless(!there, "key %s is there, and removed", KeyName(id)), s.checkMesh(id.Kind, id.Mesh))
	serial, parsed := strconv.ParseUint(id.KID, 10, 64)
	if parsed != nil || cptoken.SerialKID(serial) != id.KID {
		return firstOf(err, cptoken.ValidateKID("kid", id.KID), unless(id.Kind == cptoken.Zone || id.Kind == cptoken.Dataplane, "no key of %ss can be registered", id.Kind.TokenName()))
	}
	highest, _ := s.serials.Get(listID{id.Kind, id.Mesh})
	return firstOf(err, unless(serial > 0 && serial <= highest, "key %s was removed, and the highest serial is %d", KeyName(id), highest))
}

// checkJoins holds a piece of a run against the piece before it, which it goes on from, or
// the run that is there already.
func (rs *restorer) checkJoins(next run) error {
	if r := rs.run; r != nil && r.same(next) {
		return unless(r.reason == next.reason && r.by == next.by && r.at == next.at, "two reasons, authors or times of one change at index %d", r.index)
	}
	_, other := rs.state.runAt(next.listID, next.index, next.withdrawn)
	return unless(other == nil, "what index %d changed of %ss appears in two places", next.index, next.kind)
}

// checkHeader holds the numbers of a header against each other.
func (s *State) checkHeader() error {
	switch {
	case s.offset > s.applied:
		return errors.New("the offset of its indexes is greater than the last of them")
	case s.applied >= withdrawnMark:
		return fmt.Errorf("index %d is none", s.applied)
	case s.revision > s.applied || s.began > s.revision || s.floor > s.applied || s.lines.floor > s.applied:
		return fmt.Errorf("indexes lie behind the last one, %d, or the history behind the last change", s.applied)
	case s.time < 0 || s.time > latest || s.watermark < 0 || s.watermark > s.time:
		return fmt.Errorf("what expired up to %s was pruned, and the last change was at %s", millis(s.watermark), millis(s.time))
	case s.proved < 0 || s.proved > s.time:
		return errors.New("a loss was proved after the last change")
	}
	last := lineMark{}
	for _, m := range s.lines.marks {
		if m.at < last.at || m.index < last.index || m.at > s.time || m.index > s.applied {
			return errors.New("the marks of the table of lineages are not in order")
		}
		last = m
	}
	return nil
}

// checkWhole holds the records against each other, once all are read.
func (s *State) checkWhole() error {
	if err := s.checkLines(); err != nil {
		return err
	}
	if !s.Founded() {
		return s.checkEmpty()
	}
	if _, err := ParseHistory(&storepb.History{Id: s.history.ID, CreatedMs: s.history.Created}); err != nil {
		return err
	}
	switch {
	case s.sealCheck == nil:
		return fmt.Errorf("snapshot has no seal check")
	case len(s.cluster) > maxClusterID || s.level < FirstLevel:
		return fmt.Errorf("cluster %.64q of feature level %d cannot be", s.cluster, s.level)
	case s.revision == 0:
		return fmt.Errorf("cluster %.64q was founded at no index", s.cluster)
	case s.level < LevelSecret && len(s.secrets) > 0:
		return fmt.Errorf("a cluster secret at feature level %d", s.level)
	}
	for _, k := range s.keys.All() {
		if _, ok := s.meshes.Get(k.ID.Mesh); perMesh(k.ID.Kind) && !ok {
			return fmt.Errorf("key %s: there is no such mesh", KeyName(k.ID))
		}
	}
	for at, e := range s.log.All() {
		if at.index > s.revision && atZones(e.kind()) {
			return fmt.Errorf("zones see a change at index %d, behind the last one, %d", at.index, s.revision)
		}
	}
	return firstOf(s.checkSerials(), s.checkListed())
}

// checkSerials checks that a key was made of each kind and for each mesh: the founding
// does, and so does the command that makes a mesh.
func (s *State) checkSerials() error {
	for _, k := range kinds {
		if _, ok := s.serials.Get(listID{kind: k.kind}); !k.perMesh && !ok {
			return fmt.Errorf("no %s key was ever made", k.kind.TokenName())
		}
	}
	for name := range s.meshes.All() {
		if _, ok := s.serials.Get(listID{cptoken.Dataplane, name}); !ok {
			return fmt.Errorf("no key was ever made for mesh %.80s", name)
		}
	}
	return nil
}

// checkEmpty checks that a cluster that was not founded holds nothing.
func (s *State) checkEmpty() error {
	records := s.serials.Len() + s.keys.Len() + s.log.Len() + s.zones.Len() + s.meshes.Len() + s.expelled.Len() + s.stages.Len() + s.staged.parts.Len() + len(s.secrets) + len(s.losses)
	return unless(records == 0 && s.sealCheck == nil && s.history == (federation.History{}) && s.revision == 0 && s.floor == 0 && s.watermark == 0 && s.offset == 0 && s.proved == 0,
		"it holds state of a cluster that was never founded")
}

// checkLines checks that the table of lineages ends with the present one: each command,
// refused or not, adds an entry.
func (s *State) checkLines() error {
	first, _, any := s.lines.first()
	last, l, _ := s.lines.at.UpTo(s.applied)
	switch {
	case s.level < LevelLineage:
		return unless(!any, "a table of lineages at feature level %d", s.level)
	case !any:
		return unless(s.applied == 0 && len(s.lines.marks) == 0, "the table of lineages has no entry of the last command")
	case last != s.applied || l != s.line() || first < s.lines.floor || s.lines.floor == 0 || s.lines.at.Len() > maxLines:
		return errors.New("the table of lineages does not lead to the last command")
	}
	end, _, _ := s.lines.at.UpTo(withdrawnMark)
	return unless(end == s.applied, "the table of lineages goes on behind the last command")
}
