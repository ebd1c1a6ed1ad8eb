package keysync

import "math/bits"

// table is an open-addressing hash table of signed digests. A positive entry says
// that an id is revoked, a negative one that it is not, whatever older tables
// say. A table that is part of a published set never changes again.
type table struct {
	// slots hold hi and lo of a digest with the sign in the lowest bit of lo;
	// both zero: empty.
	slots     []digest
	used      int
	negatives int
	// filter has two bits set in one word for each entry. Most ids are in no table:
	// it says so of all but a few with one read and one branch that is always the
	// same, at the price of one byte an entry, and stays in a cache that the slots
	// of a large table do not fit into. Lookups take half the time with it.
	filter []uint64
}

// filtered is how many entries are worth a filter.
const filtered = 1 << 3

// Slots are filled to 7/10 at most: 23 bytes an id, and a search for an id that
// is absent looks at 6 neighbouring slots on average.
const fillNum, fillDen = 7, 10

// newTable makes a table with room for n entries.
func newTable(n int) *table {
	t := &table{slots: make([]digest, slotsFor(n))}
	if n >= filtered {
		t.filter = make([]uint64, n/8+1)
	}
	return t
}

// mark returns the word of the filter and the bits in it that belong to d. They
// depend on other bits of d than its home slot.
func (t *table) mark(d digest) (word, mask uint64) {
	word, _ = bits.Mul64(d.lo, uint64(len(t.filter)))
	return word, 1<<(d.hi&63) | 1<<(d.hi>>6&63)
}

func slotsFor(n int) int { return n*fillDen/fillNum + 2 }

// seek returns the slot that holds d, or the empty one where it belongs. The
// home slot grows with hi, so that walking one table in order of its slots and
// seeking in another touches memory in order too.
func (t *table) seek(d digest) (i int, found bool) {
	h, _ := bits.Mul64(d.hi, uint64(len(t.slots)))
	for i = int(h); ; {
		s := t.slots[i]
		if s.hi == d.hi && s.lo&^1 == d.lo {
			// An empty slot equals no digest: a digest is never all zeros.
			return i, true
		}
		if s.hi == 0 && s.lo == 0 {
			return i, false
		}
		if i++; i == len(t.slots) {
			i = 0
		}
	}
}

// get returns whether the table speaks of d, and what it says.
func (t *table) get(d digest) (revoked, found bool) {
	if t.filter != nil {
		if w, mask := t.mark(d); t.filter[w]&mask != mask {
			return false, false
		}
	}
	i, found := t.seek(d)
	return found && t.slots[i].lo&1 == 1, found
}

// set writes an entry and returns its slot. The table must have room.
func (t *table) set(d digest, revoked bool) int {
	i, found := t.seek(d)
	if found {
		if t.slots[i].lo&1 == 0 {
			t.negatives--
		}
	} else {
		t.used++
	}
	if !revoked {
		t.negatives++
	}
	t.slots[i] = signed(d, revoked)
	if t.filter != nil {
		w, mask := t.mark(d)
		t.filter[w] |= mask
	}
	return i
}

// grow makes room for one more entry, into a table of twice the size if need be.
func (t *table) grow() {
	if (t.used+1)*fillDen <= (len(t.slots)-1)*fillNum {
		return
	}
	bigger := newTable(2*t.used + 16)
	for _, s := range t.slots {
		if s != (digest{}) {
			bigger.set(s.digest(), s.lo&1 == 1)
		}
	}
	*t = *bigger
}

// compact returns the entries in a table of just their size, without the
// negative ones unless they are asked for.
func (t *table) compact(negatives bool) *table {
	n := t.used
	if !negatives {
		n -= t.negatives
	}
	if n == t.used && slotsFor(n) >= len(t.slots) {
		return t
	}
	out := newTable(n)
	for _, s := range t.slots {
		if s != (digest{}) && (negatives || s.lo&1 == 1) {
			out.set(s.digest(), s.lo&1 == 1)
		}
	}
	return out
}

// merge returns what newer on top of older says, in one new table. With oldest,
// nothing lies beneath and negative entries are left out.
func merge(older, newer *table, oldest bool) *table {
	n := newer.used
	if oldest {
		n -= newer.negatives
	}
	for _, s := range older.slots {
		if s != (digest{}) && !(oldest && s.lo&1 == 0) {
			if _, found := newer.get(s.digest()); !found {
				n++
			}
		}
	}
	out := newTable(n)
	for _, s := range newer.slots {
		if s != (digest{}) && !(oldest && s.lo&1 == 0) {
			out.set(s.digest(), s.lo&1 == 1)
		}
	}
	for _, s := range older.slots {
		if s != (digest{}) && !(oldest && s.lo&1 == 0) {
			if _, found := newer.get(s.digest()); !found {
				out.set(s.digest(), s.lo&1 == 1)
			}
		}
	}
	return out
}

func signed(d digest, revoked bool) digest {
	if revoked {
		d.lo |= 1
	}
	return d
}

// digest strips the sign.
func (d digest) digest() digest { return digest{hi: d.hi, lo: d.lo &^ 1} }
