package state

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/ptree"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// idEntry is what is known of one id. The rest (reason, author, time) is in the
// run at its index. A withdrawn id keeps its expiry: if it is revoked again, zones
// that never heard of either must not outlive what the global forgets.
type idEntry struct {
	mark    uint64 // the Raft index of the newest change; the top bit: it was withdrawn
	expires int64  // Unix seconds, 0 unknown
}

const withdrawnMark = 1 << 63

func (e idEntry) index() uint64   { return e.mark &^ withdrawnMark }
func (e idEntry) withdrawn() bool { return e.mark&withdrawnMark != 0 }

// idList is the revoked ids of a kind and mesh, and those that were withdrawn.
type idList struct {
	uuids  ptree.Tree[cptoken.UUID, idEntry]
	others ptree.Tree[string, idEntry]
	live   int // revoked and not withdrawn
}

func (s *State) list(id listID) idList {
	if l, ok := s.lists.Get(id); ok {
		return l
	}
	return idList{
		uuids:  ptree.NewRecords(cptoken.UUID.Compare, recordUUID(id)),
		others: ptree.NewRecords(strings.Compare, recordID(id)),
	}
}

func (l *idList) get(id string) (idEntry, bool) {
	if u, ok := cptoken.ParseUUID(id); ok {
		return l.uuids.Get(u)
	}
	return l.others.Get(id)
}

func (l *idList) len() int { return l.uuids.Len() + l.others.Len() }

func (l *idList) set(e *ptree.Edit, id string, entry idEntry) {
	if u, ok := cptoken.ParseUUID(id); ok {
		l.uuids.Set(e, u, entry)
		return
	}
	l.others.Set(e, id, entry)
}

func (l *idList) del(e *ptree.Edit, id string) {
	if u, ok := cptoken.ParseUUID(id); ok {
		l.uuids.Del(e, u)
		return
	}
	l.others.Del(e, id)
}

// run is the ids of one list that were revoked, or withdrawn, by one command. An
// id that a later run took over stays here and is skipped. A run is immutable.
type run struct {
	listID
	index     uint64
	withdrawn bool
	reason    string
	by        string
	at        int64
	uuids     []cptoken.UUID
	others    []string
	live      int // ids that no later run took over
}

// same reports whether both are what one command did to one list.
func (r *run) same(o run) bool {
	return r.listID == o.listID && r.index == o.index && r.withdrawn == o.withdrawn
}

func (r *run) add(id string) {
	if u, ok := cptoken.ParseUUID(id); ok {
		r.uuids = append(r.uuids, u)
	} else {
		r.others = append(r.others, id)
	}
	r.live++
}

// holds reports whether the run is the newest word on an id with that entry.
func (r *run) holds(e idEntry) bool {
	return e.index() == r.index && e.withdrawn() == r.withdrawn
}

// each yields the ids that the run is the newest word on.
func (r *run) each(l *idList, yield func(id string, e idEntry) bool) {
	for _, u := range r.uuids {
		if e, ok := l.uuids.Get(u); ok && r.holds(e) && !yield(u.String(), e) {
			return
		}
	}
	for _, id := range r.others {
		if e, ok := l.others.Get(id); ok && r.holds(e) && !yield(id, e) {
			return
		}
	}
}

// eachText is each without a string for every id: id is valid until yield returns.
func (r *run) eachText(l *idList, yield func(id []byte, e idEntry) bool) {
	text := make([]byte, 0, 64)
	for _, u := range r.uuids {
		if e, ok := l.uuids.Get(u); ok && r.holds(e) && !yield(u.AppendTo(text[:0]), e) {
			return
		}
	}
	for _, id := range r.others {
		if e, ok := l.others.Get(id); ok && r.holds(e) && !yield(append(text[:0], id...), e) {
			return
		}
	}
}

// runAt finds the run of a list at an index.
func (s *State) runAt(list listID, index uint64, withdrawn bool) (logKey, *run) {
	for at, e := range s.log.From(logKey{index: index}) {
		if at.index != index {
			break
		}
		if e.run != nil && e.run.listID == list && e.run.withdrawn == withdrawn {
			return at, e.run
		}
	}
	return logKey{}, nil
}

// took counts, for each earlier run, how many ids were taken over from it.
type took map[tookFrom]int

type tookFrom struct {
	index     uint64
	withdrawn bool
}

func (t took) from(e idEntry) { t[tookFrom{e.index(), e.withdrawn()}]++ }

// settle brings the earlier runs up to date: a run that holds nothing any more
// goes, one that holds less than half is rewritten.
func (s *State) settle(list listID, l *idList, t took) {
	for from, n := range t {
		at, old := s.runAt(list, from.index, from.withdrawn)
		if old == nil {
			continue
		}
		if old.live == n {
			s.log.Del(s.edit, at)
			continue
		}
		next := *old
		next.live -= n
		if next.live < (len(old.uuids)+len(old.others))/2 {
			next.uuids, next.others, next.live = nil, nil, 0
			old.each(l, func(id string, _ idEntry) bool {
				next.add(id)
				return true
			})
		}
		entry, _ := s.log.Get(at)
		entry.run = &next
		s.log.Set(s.edit, at, entry)
	}
}

// later reports whether an expiry keeps a revocation longer than another: an
// unknown one is never forgotten.
func later(a, b int64) bool { return b != 0 && (a == 0 || a > b) }

// revoke adds the ids of all parts, which are of one list, as one run. Revoking
// again keeps the later expiry.
func (s *State) revoke(index uint64, by, reason string, parts []*storepb.Revoke) (uint64, error) {
	kind, err := s.Scope(parts[0].Kind, parts[0].Mesh, true)
	if err != nil {
		return 0, err
	}
	if len(reason) > federation.MaxReason {
		return 0, federation.InvalidField("reason", "must have at most %d bytes", federation.MaxReason)
	}
	return s.revokeOn(listID{kind, parts[0].Mesh}, index, by, reason, parts)
}

// revokeOn adds ids to a list.
func (s *State) revokeOn(id listID, index uint64, by, reason string, parts []*storepb.Revoke) (uint64, error) {
	list, taken := s.list(id), took{}
	next := &run{listID: id, index: index, reason: reason, by: by, at: s.time}
	for _, part := range parts {
		for _, r := range part.Ids {
			if err := validateRevoked(r); err != nil {
				return 0, err
			}
			old, known := list.get(r.Id)
			live, expires := known && !old.withdrawn(), r.ExpiresS
			if known && !later(expires, old.expires) {
				expires = old.expires
			}
			switch {
			case live && expires == old.expires:
				continue
			case live && old.index() == index:
				// Twice in this command: it is in the run already.
			default:
				if known {
					taken.from(old)
				}
				if !live {
					list.live++
				}
				next.add(r.Id)
			}
			list.set(s.edit, r.Id, idEntry{mark: index, expires: expires})
		}
	}
	return s.publishRun(index, next, list, taken), nil
}

// withdraw takes the ids of all parts, which are of one list, off it.
func (s *State) withdraw(index uint64, parts []*storepb.Withdraw) (uint64, error) {
	kind, err := s.Scope(parts[0].Kind, parts[0].Mesh, false)
	if err != nil {
		return 0, err
	}
	return s.withdrawFrom(listID{kind, parts[0].Mesh}, index, parts)
}

// withdrawFrom takes ids off a list and leaves tombstones. From LevelLineage on it does so
// for ids that are not on it, too: a zone may keep what a lost past had revoked. From
// LevelWithdrawals on also for those that a former history withdrew, which zones do not heed:
// the lost past may have revoked them again.
func (s *State) withdrawFrom(id listID, index uint64, parts []*storepb.Withdraw) (uint64, error) {
	list, taken := s.list(id), took{}
	next := &run{listID: id, index: index, withdrawn: true, at: s.time}
	for _, part := range parts {
		for _, name := range part.Ids {
			old, known := list.get(name)
			switch {
			case old.withdrawn() && (s.level < LevelWithdrawals || old.index() > s.began), !known && s.level < LevelLineage:
				continue
			case old.withdrawn():
				taken.from(old)
			case known:
				taken.from(old)
				list.live--
			default:
				if err := validateRevoked(&storepb.RevokedID{Id: name}); err != nil {
					return 0, err
				}
			}
			next.add(name)
			list.set(s.edit, name, idEntry{mark: index | withdrawnMark, expires: old.expires})
		}
	}
	return s.publishRun(index, next, list, taken), nil
}

func (s *State) publishRun(index uint64, r *run, list idList, taken took) uint64 {
	if r.live == 0 {
		return 0
	}
	s.settle(r.listID, &list, taken)
	s.lists.Set(s.edit, r.listID, list)
	what := idsRevoked
	if r.withdrawn {
		what = idsWithdrawn
	}
	s.append(index, logEntry{what: what, run: r, at: r.at})
	return uint64(r.live)
}

// maxTime bounds times in Unix seconds, so that milliseconds do not overflow.
const maxTime = 1 << 50

// latest is that bound in milliseconds, for the state's own time.
const latest = int64(maxTime * 1000)

func validateRevoked(r *storepb.RevokedID) error {
	if r.Id == "" || len(r.Id) > cptoken.MaxIDLen {
		return federation.InvalidField("ids", "a token id must have 1 to %d bytes", cptoken.MaxIDLen)
	}
	if r.ExpiresS < 0 || r.ExpiresS > maxTime {
		return federation.InvalidField("ids", "the expiry of %.140q is not a time", r.Id)
	}
	return validateText("ids", r.Id)
}

// validateText checks that an id can stand in a comma-separated list: UTF-8, no
// control characters, no comma, no blank at either end.
func validateText(field, s string) error {
	bad := func(r rune) bool { return r == ',' || r == utf8.RuneError || unicode.IsControl(r) }
	if strings.ContainsFunc(s, bad) || strings.TrimSpace(s) != s {
		return federation.InvalidField(field, "%.140q must not have commas, control characters or blanks around it", s)
	}
	return nil
}
