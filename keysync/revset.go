package keysync

// revSet is an immutable set of revoked ids: tables from the newest to the
// oldest, of which the first that speaks of an id decides. The zero revSet is
// empty.
//
// An older table is more than mergeRatio times as large as the next newer one, so
// a million ids lie in at most ten tables, of which all but the oldest few fit
// into the processor's caches. Adding to the set builds a table of what is added
// and merges it with those that are not much larger: a single id is copied some
// dozens of times in the course of a million others, and the large tables are
// shared with the set before. A sorted array or one large table would have to be
// copied for each revocation (20 MB for a million ids), a tree of nodes costs
// three times the memory and ten cache misses a lookup.
type revSet struct{ tables []*table }

const mergeRatio = 4

// revoked reports whether d is in the set.
func (s revSet) revoked(d digest) bool {
	for _, t := range s.tables {
		if revoked, found := t.get(d); found {
			return revoked
		}
	}
	return false
}

// push returns the set with the entries of t on top. s stays as it is; t becomes
// part of the result and must not change again.
func (s revSet) push(t *table) revSet {
	if t.used == 0 {
		return s
	}
	rest := s.tables
	for len(rest) > 0 && rest[0].used <= mergeRatio*t.used {
		t = merge(rest[0], t, len(rest) == 1)
		rest = rest[1:]
	}
	if len(rest) == 0 {
		t = t.compact(false)
		if t.used == 0 {
			return revSet{}
		}
	}
	tables := make([]*table, 0, len(rest)+1)
	tables = append(tables, t)
	return revSet{tables: append(tables, rest...)}
}

// bytes returns how much memory the set holds.
func (s revSet) bytes() int {
	n := 0
	for _, t := range s.tables {
		n += 16*cap(t.slots) + 8*cap(t.filter)
	}
	return n
}
