package preauth

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func from(t interface{ Fatal(...any) }, addr string) Source {
	s, ok := sourceOfAddr(netip.MustParseAddr(addr))
	if !ok {
		t.Fatal(addr)
	}
	return s
}

func TestSources(t *testing.T) {
	for addr, want := range map[string][2]string{
		"192.0.2.1":               {"192.0.2.1/32", "192.0.2.1/32"},
		"::ffff:192.0.2.1":        {"192.0.2.1/32", "192.0.2.1/32"},
		"2001:db8:1:2:3:4:5:6":    {"2001:db8:1:2::/64", "2001:db8:1::/48"},
		"fe80::1%eth0":            {"fe80::/64", "fe80::/48"},
		"2001:db8:1:ffff::1":      {"2001:db8:1:ffff::/64", "2001:db8:1::/48"},
		"2001:db8:2:ffff:a:b:c:d": {"2001:db8:2:ffff::/64", "2001:db8:2::/48"},
	} {
		if s := from(t, addr); s.Unit.String() != want[0] || s.Wide.String() != want[1] {
			t.Errorf("%s: %v", addr, s)
		}
	}
}

// book is a ledger with what a test knows of it.
type book struct {
	*ledger
	now  time.Time
	port port
}

const (
	testBase  = 10
	testFloor = 50
	testLimit = 1000
)

func newBook() *book {
	return &book{ledger: newLedger(testLimit, testFloor, testBase), now: time.Unix(1_800_000_000, 0)}
}

func (b *book) come(s Source) (*entry, []*entry, verdict) {
	b.now = b.now.Add(time.Millisecond)
	return b.enter(s, &b.port, b.now, b.now, nil)
}

func (b *book) check(t interface{ Fatalf(string, ...any) }) {
	var bytes, floors int64
	conns := 0
	for _, w := range b.wides {
		var inWide int64
		for _, u := range w.units {
			var inUnit int64
			of := 0
			for e := range u.entries {
				inUnit += e.bytes
				if e.gone || e.unit != u {
					t.Fatalf("an entry that is out is kept")
				}
				if e.parent == nil {
					of++
				}
			}
			if inUnit != u.bytes || of != u.conns {
				t.Fatalf("%v holds %d in %d, the ledger says %d in %d", u.source, inUnit, of, u.bytes, u.conns)
			}
			inWide, conns, floors = inWide+inUnit, conns+of, floors+min(inUnit, b.floor)
		}
		if inWide != w.bytes {
			t.Fatalf("a network holds %d, the ledger says %d", inWide, w.bytes)
		}
		bytes += inWide
	}
	if bytes != b.bytes || floors != b.floors || conns != b.conns || b.port.bytes != bytes {
		t.Fatalf("%d bytes, %d floors, %d connections; the ledger says %d, %d, %d, the port %d", bytes, floors, conns, b.bytes, b.floors, b.conns, b.port.bytes)
	}
	if bytes > b.limit {
		t.Fatalf("%d bytes are held, the limit is %d", bytes, b.limit)
	}
}

// TestLedger holds the ledger to its promises under any sequence of what callers do.
func TestLedger(t *testing.T) {
	var sources []Source
	for i := range 6 {
		sources = append(sources, from(t, fmt.Sprintf("192.0.2.%d", i)), from(t, fmt.Sprintf("2001:db8:1:%d::1", i)), from(t, fmt.Sprintf("2001:db8:%d::1", i)))
	}
	rapid.Check(t, func(rt *rapid.T) {
		b := newBook()
		var live []*entry
		prune := func() {
			kept := live[:0]
			for _, e := range live {
				if !e.gone {
					kept = append(kept, e)
				}
			}
			live = kept
		}
		pick := func() *entry { return live[rapid.IntRange(0, len(live)-1).Draw(rt, "which")] }
		for range rapid.IntRange(1, 200).Draw(rt, "steps") {
			prune()
			action := rapid.IntRange(0, 9).Draw(rt, "action")
			if len(live) == 0 {
				action = 0
			}
			switch action {
			case 0, 1, 2, 3:
				s := rapid.SampledFrom(sources).Draw(rt, "source")
				held, before, shielded := b.heldBy(s), b.unitHas(s), b.floors < b.limit/2
				e, evicted, v := b.come(s)
				for _, out := range evicted {
					if !out.gone {
						rt.Fatalf("evicted and still there")
					}
					if out.working {
						rt.Fatalf("evicted what the server works on")
					}
				}
				if v == admitted {
					live = append(live, e)
				} else if before == 0 && shielded && held == 0 {
					rt.Fatalf("an address without a connection was not let in: %v", v)
				}
			case 4:
				if e := pick(); e.parent == nil {
					live = append(live, b.request(e, b.now, nil))
				}
			case 5, 6:
				b.grow(pick(), int64(rapid.IntRange(1, 400).Draw(rt, "bytes")), b.now)
			case 7:
				b.leave(pick())
			case 8:
				if e := pick(); e.parent != nil {
					b.shift(e, int64(rapid.IntRange(0, 50).Draw(rt, "shift")))
				} else if e.open == 0 {
					b.settle(e, b.now)
				}
			case 9:
				e := pick()
				if b.prove(e.unit.source, b.now); rapid.Bool().Draw(rt, "move") && e.parent == nil && e.open == 0 {
					b.move(e, rapid.SampledFrom(sources).Draw(rt, "to"))
				}
				b.now = b.now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(rt, "passes")) * time.Millisecond)
			}
			b.check(rt)
		}
		for _, e := range live {
			b.leave(e)
		}
		if b.check(rt); b.bytes != 0 || len(b.wides) != 0 {
			rt.Fatalf("%d bytes stay when all have left", b.bytes)
		}
	})
}

func (l *ledger) unitHas(s Source) int64 {
	if w := l.wides[s.Wide]; w != nil {
		if u := w.units[s.Unit]; u != nil {
			return u.bytes
		}
	}
	return 0
}

// TestAFloodEvictsItself: whoever holds most gives way, and nobody else does.
func TestAFloodEvictsItself(t *testing.T) {
	for name, flood := range map[string]func(i int) string{
		"one address": func(int) string { return "192.0.2.66" },
		"one /64":     func(i int) string { return fmt.Sprintf("2001:db8:66::%x", i+1) },
		"one /48":     func(i int) string { return fmt.Sprintf("2001:db8:66:%x::1", i%0x10000) },
	} {
		b := newBook()
		quiet, _, _ := b.come(from(t, "192.0.2.1"))
		for i := range 1000 {
			s := from(t, flood(i))
			if _, _, v := b.come(s); v != admitted {
				t.Fatalf("%s: newcomer %d: %v", name, i, v)
			}
			b.now = b.now.Add(100 * time.Millisecond)
		}
		if quiet.gone {
			t.Errorf("%s evicted another address", name)
		}
		if e, evicted, v := b.come(from(t, "192.0.2.2")); v != admitted || len(evicted) != 1 || e.gone {
			t.Errorf("%s: a newcomer from elsewhere: %v, evicted %d", name, v, len(evicted))
		}
		b.check(t)
	}
}

// TestTheLeastAdvancedGoesFirst, of one address.
func TestTheLeastAdvancedGoesFirst(t *testing.T) {
	b, s := newBook(), from(t, "192.0.2.66")
	far, _, _ := b.come(s)
	r := b.request(far, b.now, nil)
	b.grow(r, 100, b.now)
	b.advance(r, stageBody, b.now)
	answered, _, _ := b.come(s)
	b.advance(answered, stageHandshake, b.now)
	silent, _, _ := b.come(s)
	b.now = b.now.Add(time.Minute)
	young, _, _ := b.come(s)
	for i, want := range []*entry{silent, answered, r} {
		got := b.victim(s, 0, nil, b.now)
		if got != want {
			t.Fatalf("eviction %d is not of the least advanced: %+v", i, got)
		}
		b.leave(got)
	}
	if far.gone || young.gone {
		t.Error("the wrong ones are out")
	}
}

// TestAddressesThatProvedThemselvesComeLast, whatever they hold.
func TestAddressesThatProvedThemselvesComeLast(t *testing.T) {
	b := newBook()
	good, bad := from(t, "192.0.2.1"), from(t, "192.0.2.66")
	b.prove(good, b.now)
	for range 60 {
		b.come(good)
	}
	for range 200 {
		_, evicted, v := b.come(bad)
		if v != admitted {
			continue
		}
		for _, e := range evicted {
			if e.unit.source == good {
				t.Fatal("an address that has lately proved itself gave way to one that has not")
			}
		}
		b.now = b.now.Add(20 * time.Millisecond)
	}
	// It has its way even though it holds most.
	for range 30 {
		if _, evicted, v := b.come(good); v != admitted || len(evicted) == 1 && evicted[0].unit.source != bad {
			t.Fatalf("%v %v", v, evicted)
		}
	}
	b.now = b.now.Add(2 * provedFor)
	if b.lately(good.Unit, b.now) {
		t.Error("it is remembered for ever")
	}
	for i := range 3 * maxProved {
		b.prove(from(t, fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)), b.now)
	}
	if n := len(b.proved) + len(b.provedBefore); n > 2*maxProved {
		t.Errorf("%d addresses are remembered", n)
	}
}

// TestHandshakesAreNotCut: what waits for the processor or has it is left alone by its
// own address, whose newcomers wait; one that holds less may have the place of who has
// not begun.
func TestHandshakesAreNotCut(t *testing.T) {
	b, storm := newBook(), from(t, "192.0.2.66")
	var all []*entry
	for {
		e, evicted, v := b.come(storm)
		if v == wait {
			break
		}
		if v != admitted || len(evicted) > 0 {
			t.Fatalf("%v, %d evicted", v, len(evicted))
		}
		e.queued = true
		all = append(all, e)
	}
	all[0].queued, all[0].working = false, true
	for range 50 {
		if _, evicted, v := b.come(storm); v != wait || len(evicted) > 0 {
			t.Fatalf("%v, %d evicted", v, len(evicted))
		}
	}
	_, evicted, v := b.come(from(t, "192.0.2.1"))
	if v != admitted || len(evicted) != 1 || evicted[0] == all[0] {
		t.Fatalf("another address: %v, %d evicted", v, len(evicted))
	}
	// Now that others are here the storm is refused rather than left to hold them up.
	if _, _, v := b.come(storm); v != refused {
		t.Errorf("the storm's next: %v", v)
	}
	b.check(t)
}

// TestWhoHoldsLessIsLeftAlone: a storm that cannot give way itself takes nothing from an
// address that holds less, and nobody takes the one connection of an address.
func TestWhoHoldsLessIsLeftAlone(t *testing.T) {
	b, storm := newBook(), from(t, "192.0.2.66")
	few := map[*entry]bool{}
	for range 3 {
		e, _, _ := b.come(from(t, "192.0.2.1"))
		few[e] = true
	}
	quiet, _, _ := b.come(from(t, "192.0.2.2"))
	for {
		e, _, v := b.come(storm)
		if v != admitted {
			break
		}
		e.queued = true
	}
	b.now = b.now.Add(time.Minute)
	if _, evicted, v := b.come(storm); v == admitted || len(evicted) > 0 {
		t.Errorf("the storm took a place of who holds less: %v", v)
	}
	for e := range few { // now nobody but the quiet one stalls
		if e.gone {
			t.Error("the storm took a place of who holds less while it grew")
		}
		e.working = true
	}
	if _, evicted, v := b.come(from(t, "192.0.2.3")); v != admitted || len(evicted) != 1 || evicted[0].unit.source != storm || quiet.gone {
		t.Errorf("a newcomer took the one connection of an address: %v, %d evicted", v, len(evicted))
	}
	b.check(t)
}

// TestAnsweredHandshakesAreSpared: for a newcomer of their own network, which has proved itself
// or not, for half of the deadline; for one of another network for a second, unless that has
// proved itself. Who has sent nothing gives way at once.
func TestAnsweredHandshakesAreSpared(t *testing.T) {
	for name, tt := range map[string]struct {
		newcomer string
		proved   bool
		spared   time.Duration
	}{
		"their own network":           {"192.0.2.66", false, patiently},
		"their own, which has proved": {"192.0.2.66", true, patiently},
		"another network":             {"192.0.2.1", false, recently},
		"another one, which has":      {"192.0.2.1", true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b, newcomer := newBook(), from(t, tt.newcomer)
			if tt.proved {
				b.prove(newcomer, b.now)
			}
			var answered []*entry
			for b.bytes+testBase <= testLimit {
				e, _, _ := b.come(from(t, "192.0.2.66"))
				answered = append(answered, e)
			}
			for _, e := range answered {
				b.advance(e, stageHandshake, b.now)
			}
			if tt.spared > 0 {
				b.now = b.now.Add(tt.spared - 2*time.Millisecond) // to come takes one
				if _, evicted, v := b.come(newcomer); v != wait && v != refused || len(evicted) > 0 {
					t.Fatalf("before %s a newcomer is %v, %d evicted", tt.spared, v, len(evicted))
				}
			}
			if _, evicted, v := b.come(newcomer); v != admitted || len(evicted) != 1 {
				t.Errorf("after %s a newcomer is %v, %d evicted", tt.spared, v, len(evicted))
			}
			answered[len(answered)-1].stage = stageAccepted
			if _, evicted, v := b.come(from(t, "192.0.2.66")); v != admitted || len(evicted) != 1 || evicted[0] != answered[len(answered)-1] && tt.spared > 0 {
				t.Errorf("who has sent nothing does not give way: %v, %d evicted", v, len(evicted))
			}
			b.check(t)
		})
	}
}

// TestOneConnectionIsNoWayRound: a floor is for a first request, not for anything that
// one connection can hold.
func TestOneConnectionIsNoWayRound(t *testing.T) {
	b := newBook()
	hog, _, _ := b.come(from(t, "192.0.2.66"))
	b.grow(hog, testLimit-testBase-5, b.now)
	if _, evicted, v := b.come(from(t, "192.0.2.1")); v != admitted || len(evicted) != 1 || evicted[0] != hog {
		t.Fatalf("%v, %d evicted", v, len(evicted))
	}
	if evicted := b.grow(hog, 10, b.now); evicted != nil {
		t.Error("who is out was charged")
	}
	alone, _, _ := newBook().come(from(t, "192.0.2.66"))
	_ = alone
	b = newBook()
	e, _, _ := b.come(from(t, "192.0.2.66"))
	if evicted := b.grow(e, 2*testLimit, b.now); len(evicted) != 1 || evicted[0] != e {
		t.Errorf("more than all is held: %v", evicted)
	}
}

func BenchmarkEvict(b *testing.B) {
	l := newLedger(DefaultBytes, 100<<10, costConnection)
	var p port
	now := time.Now()
	for i := 0; b.Loop(); i++ {
		s, _ := sourceOfAddr(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		l.enter(s, &p, now, now, nil)
		now = now.Add(time.Millisecond)
	}
}
