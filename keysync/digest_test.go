package keysync

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/meridiankds/meridian/cptoken"
)

// The first vectors of SipHash-2-4 with 128 bits of output, of the reference
// implementation: key 00..0f, message 00, 01, … of the length that is the index.
func TestSipHashVectors(t *testing.T) {
	vectors := []string{
		"a3817f04ba25a8e66df67214c7550293", "da87c1d86b99af44347659119b22fc45",
		"8177228da4a45dc7fca38bdef60affe4", "9c70b60c5267a94e5f33b6b02985ed51",
		"f88164c12d9c8faf7d0f6e7c7bcd5579", "1368875980776f8854527a07690e9627",
		"14eeca338b208613485ea0308fd7a15e", "a1f1ebbed8dbc153c0b84aa61ff08239",
		"3b62a9ba6258f5610f83e264f31497b4", "264499060ad9baabc47f8b02bb6d71ed",
	}
	key := hashKey{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	var message []byte
	for n, want := range vectors {
		if n > 0 {
			message = append(message, byte(n-1))
		}
		first, second := sipHash128(key.init(), 2, 4, message)
		if a, b := sipHash128(key.init(), 2, 4, string(message)); a != first || b != second {
			t.Errorf("of %d bytes: a string and a slice differ", n)
		}
		var out [16]byte
		binary.LittleEndian.PutUint64(out[:], first)
		binary.LittleEndian.PutUint64(out[8:], second)
		if got := hex.EncodeToString(out[:]); got != want {
			t.Errorf("of %d bytes: %s, want %s", n, got, want)
		}
	}
}

func TestDigestsAreInjectiveInTheirParts(t *testing.T) {
	key := hashKey{1, 2}
	seen := map[digest]string{}
	for _, parts := range [][3]string{{"2", "", "ab"}, {"3", "", "ab"}, {"3", "a", "b"}, {"3", "ab", ""}, {"3", "ab", "\x00"}, {"3", "ab\x00", ""}, {"3", "12345678", "9"}, {"3", "123456789", ""}} {
		d, ok := key.of(cptoken.Kind(parts[0]), parts[1], parts[2])
		if !ok {
			t.Fatalf("%q cannot be digested", parts)
		}
		if other, twice := seen[d]; twice {
			t.Errorf("%q and %s have one digest", parts, other)
		}
		seen[d] = parts[0] + parts[1] + parts[2]
		if d != key.ofBytes(cptoken.Kind(parts[0]), parts[1], []byte(parts[2])) {
			t.Errorf("%q: of and ofBytes differ", parts)
		}
	}
	if _, ok := key.of("", "", "a"); ok {
		t.Error("an id of no kind was digested")
	}
}

// TestRevSetAgainstAMap pushes random tables onto a set and compares it with a
// map after each; the sets before must stay as they were.
func TestRevSetAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type generation struct {
			set  revSet
			want map[digest]bool
		}
		var past []generation
		set, want := revSet{}, map[digest]bool{}
		// Few homes, so that searches run into each other and around the end.
		drawn := rapid.Custom(func(t *rapid.T) digest {
			return digest{hi: rapid.Uint64Range(0, 3).Draw(t, "hi") << 62, lo: rapid.Uint64Range(1, 40).Draw(t, "lo") << 1}
		})
		for range rapid.IntRange(1, 30).Draw(t, "pushes") {
			top := newTable(0)
			next := map[digest]bool{}
			for d, r := range want {
				next[d] = r
			}
			for range rapid.IntRange(0, 20).Draw(t, "entries") {
				d, r := drawn.Draw(t, "digest"), rapid.Bool().Draw(t, "revoked")
				top.grow()
				top.set(d, r)
				next[d] = r
			}
			set, want = set.push(top.compact(true)), next
			past = append(past, generation{set, want})
		}
		for i, g := range past {
			for hi := range uint64(4) {
				for lo := range uint64(40) {
					d := digest{hi << 62, (lo + 1) << 1}
					if got := g.set.revoked(d); got != g.want[d] {
						t.Fatalf("generation %d: revoked(%v) = %v", i, d, got)
					}
				}
			}
			for j, table := range g.set.tables {
				used, negatives := 0, 0
				for _, s := range table.slots {
					if s != (digest{}) {
						used++
						if s.lo&1 == 0 {
							negatives++
						}
					}
				}
				if used != table.used || negatives != table.negatives || used >= len(table.slots) {
					t.Fatalf("generation %d, table %d: counts %d and %d of %d slots, has %d and %d",
						i, j, table.used, table.negatives, len(table.slots), used, negatives)
				}
				if j == len(g.set.tables)-1 && negatives > 0 {
					t.Fatalf("generation %d: the oldest table says of %d ids that they are not revoked", i, negatives)
				}
			}
		}
	})
}

// One more id on top of many must not copy the many.
func TestPushSharesTheLargeTables(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	big := newTable(100_000)
	for range 100_000 {
		big.set(digest{random.Uint64(), random.Uint64() &^ 1}, true)
	}
	set := revSet{}.push(big)
	copied := 0
	for range 1000 {
		one := newTable(1)
		one.set(digest{random.Uint64(), random.Uint64() &^ 1}, true)
		next := set.push(one)
		if next.tables[len(next.tables)-1] != big {
			t.Fatal("the large table was copied")
		}
		copied += next.tables[0].used
		set = next
	}
	if len(set.tables) > 10 || copied > 1000*100 {
		t.Errorf("%d tables, %d entries copied for 1000 ids", len(set.tables), copied)
	}
}

// Reading a record must end without a panic whatever it holds.
func FuzzRecords(f *testing.F) {
	var w logWriter
	w.add(entry{op: opRevoked, kind: cptoken.Zone, id: []byte(uuidOf(1)), expires: 9})
	w.add(entry{op: opRevoked, kind: cptoken.Zone, id: []byte("text")})
	w.flush()
	f.Add(w.records[0])
	f.Add(appendChanges(nil, []cptoken.Change{revoked(1, "a"), removed(2, zoneKey("1")), cutOffAt(3, 5), cutOffWithdrawn(4)}))
	f.Add((&head{instance: "i", zone: "west"}).encode())
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = eachID(b, func(entry) error { return nil })
		_ = eachChange(b, func(cptoken.Change) error { return nil })
		_, _ = decodeHead(b)
		r := reader{b: b}
		_, _ = r.key(zoneKey("1"))
	})
}
