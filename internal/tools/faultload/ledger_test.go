package main

import (
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
)

func at(index uint64) federation.Revision {
	return federation.Revision{History: federation.History{ID: "h", Created: 1}, Index: index}
}

func raw(kid, jti string) string {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	return part(fmt.Sprintf(`{"kid":%q}`, kid)) + "." + part(fmt.Sprintf(`{"jti":%q}`, jti)) + ".x"
}

// enter issues a token to zone 1 and returns the trial of it.
func enter(t *testing.T, l *ledger, kid, jti string) *token {
	t.Helper()
	if err := l.issued(1, raw(kid, jti)); err != nil {
		t.Fatal(err)
	}
	all := l.tokens[1]
	return all[len(all)-1]
}

func TestTheLedgerSeesWhatIsWrong(t *testing.T) {
	l := newLedger()
	tok := enter(t, l, "1", "a")
	if tok.kid != "1" || tok.id != "a" {
		t.Fatalf("read %+v", tok)
	}
	l.judge(l.trialOf(tok), verdict{accepted: at(5)})
	l.judge(l.trialOf(tok), verdict{})
	if l.wronglyRefused+l.wronglyTaken != 0 || l.unanswered != 1 || l.seen[1] != at(5) {
		t.Fatalf("%+v", l)
	}
	l.judge(l.trialOf(tok), verdict{refused: "expired"})
	if l.wronglyRefused != 1 {
		t.Errorf("a good token was refused and %d are counted", l.wronglyRefused)
	}

	// While the revocation is under way both verdicts are right.
	if got := l.condemn(1, 1); got != nil {
		t.Errorf("the last good token is to be revoked: %+v", got)
	}
	if got := l.condemn(1, 0); got != tok {
		t.Fatalf("condemned %+v", got)
	}
	l.judge(l.trialOf(tok), verdict{accepted: at(6)})
	l.acknowledgedAt(tok, at(7), time.Now(), time.Now())
	// A zone that does not hold it yet may accept it, one that does may not.
	l.judge(l.trialOf(tok), verdict{accepted: at(6)})
	if l.wronglyRefused != 1 || l.wronglyTaken != 0 {
		t.Fatalf("%+v", l)
	}
	l.judge(l.trialOf(tok), verdict{accepted: at(7)})
	if l.wronglyTaken != 1 || len(l.examples) != 2 {
		t.Errorf("a revoked token was accepted and %d are counted: %q", l.wronglyTaken, l.examples)
	}
	// Once the zone has refused it, it may not accept it at any revision.
	l.judge(l.trialOf(tok), verdict{refused: "revoked"})
	l.judge(l.trialOf(tok), verdict{accepted: at(6)})
	if l.wronglyTaken != 2 || l.wronglyRefused != 1 {
		t.Errorf("it was accepted after it was refused, and %d are counted: %q", l.wronglyTaken, l.examples)
	}
}

// A verdict that was asked for before the acknowledgement is judged as of then.
func TestAVerdictIsOfWhenItWasAskedFor(t *testing.T) {
	l := newLedger()
	tok := enter(t, l, "1", "a")
	before := l.trialOf(tok)
	l.condemn(1, 0)
	l.acknowledgedAt(tok, at(7), time.Now(), time.Now())
	l.judge(before, verdict{accepted: at(9)})
	l.judge(before, verdict{refused: "revoked"})
	if l.wronglyTaken+l.wronglyRefused != 0 {
		t.Errorf("%+v", l)
	}
}

// A zone without a link does not know a key that began to sign meanwhile; one that
// was seen at a later revision has to.
func TestAKeyThatAZoneCannotKnow(t *testing.T) {
	l := newLedger()
	old := enter(t, l, "1", "a")
	l.judge(l.trialOf(old), verdict{accepted: at(5)})
	old.standing = asked
	fresh := enter(t, l, "2", "b")
	l.judge(l.trialOf(fresh), verdict{refused: "unknown_key"})
	l.acknowledgedAt(old, at(8), time.Now(), time.Now())
	l.judge(l.trialOf(fresh), verdict{refused: "unknown_key"})
	if l.late() != 2 || l.wronglyRefused != 0 {
		t.Fatalf("%+v", l)
	}
	l.seen[1] = at(8)
	l.judge(l.trialOf(fresh), verdict{refused: "unknown_key"})
	if l.wronglyRefused != 1 {
		t.Errorf("%+v", l)
	}
}

// Who had acknowledged a key when it was activated has no excuse, also for what was
// refused before the answer to the rotation came.
func TestAKeyThatAZoneHolds(t *testing.T) {
	l := &load{zones: map[int]string{1: "", 2: ""}, ledger: newLedger()}
	fresh := enter(t, l.ledger, "2", "b")
	l.ledger.judge(l.ledger.trialOf(fresh), verdict{refused: "unknown_key"})
	away := *fresh
	away.zone = 2
	l.ledger.judge(l.ledger.trialOf(&away), verdict{refused: "unknown_key"})
	if err := l.rotated(`{"key":{"kid":"2","state":"active"}}`); err != nil || l.ledger.wronglyRefused != 0 {
		t.Fatalf("who holds the key is not known, and %d refusals count (%v)", l.ledger.wronglyRefused, err)
	}
	if err := l.rotated(`{"key":{"kid":"2","state":"active"},"holding":{"held":[],"offline":["zone-02"]}}`); err != nil {
		t.Fatal(err)
	}
	l.ledger.judge(l.ledger.trialOf(fresh), verdict{refused: "unknown_key"})
	l.ledger.judge(l.ledger.trialOf(&away), verdict{refused: "unknown_key"})
	if l.ledger.wronglyRefused != 2 || l.ledger.late() != 2 {
		t.Errorf("%d refused wrongly, %d excused", l.ledger.wronglyRefused, l.ledger.late())
	}
	if l.rotated("no answer") == nil || l.rotated(`{"key":{"kid":"3","state":"prepared"}}`) == nil {
		t.Error("a rotation that came to nothing is taken for one")
	}
}

// revoke has a token revoked, in force at a revision.
func revoke(l *ledger, tok *token, inForce federation.Revision) {
	tok.standing = asked
	l.acknowledgedAt(tok, inForce, time.Now(), time.Now())
}

// Where all members went back, who refused a token goes on refusing it, what was acknowledged
// before the copies stays revoked, and nothing else of that past does.
func TestAllMembersGoBack(t *testing.T) {
	next := func(index uint64) federation.Revision {
		return federation.Revision{History: federation.History{ID: "i", Created: 2}, Index: index}
	}
	l := newLedger()
	sure, held, seen, gone, later := enter(t, l, "1", "sure"), enter(t, l, "1", "held"), enter(t, l, "1", "seen"), enter(t, l, "1", "gone"), enter(t, l, "1", "later")
	revoke(l, sure, at(5))
	l.kept()
	revoke(l, held, at(6))
	revoke(l, seen, at(7))
	revoke(l, gone, at(8))
	l.judge(l.trialOf(held), verdict{refused: "revoked"})
	l.seen[1] = at(7)
	if n, of := l.wentBack(); n != 3 || of != 2 {
		t.Errorf("%d are gone, of which %d are held; want 3 and 2", n, of)
	}
	revoke(l, later, at(6)) // by the members, in the past that they share no more with the zone
	l.judge(l.trialOf(later), verdict{accepted: at(8)})
	l.judge(l.trialOf(gone), verdict{accepted: next(9)})
	if l.wronglyTaken != 0 {
		t.Fatalf("%q", l.examples)
	}
	for i, tok := range []*token{sure, held, seen, later} {
		if l.judge(l.trialOf(tok), verdict{accepted: next(9)}); l.wronglyTaken != i+1 {
			t.Errorf("%s was accepted in the new history, and is not counted", tok.id)
		}
	}
	if !newer(l.seen[1], at(100)) || l.latest != at(8) {
		t.Errorf("the zone was seen at %s, and %s is the latest", l.seen[1], l.latest)
	}
}

// A zone whose disk went back may accept what it held, until it names a revision that has it.
func TestAZoneGoesBack(t *testing.T) {
	l := newLedger()
	tok := enter(t, l, "1", "a")
	revoke(l, tok, at(7))
	l.judge(l.trialOf(tok), verdict{refused: "revoked"})
	before := l.trialOf(tok)
	l.zoneWentBack(1)
	l.judge(before, verdict{refused: "revoked"})
	l.judge(l.trialOf(tok), verdict{accepted: at(6)})
	if l.wronglyTaken != 0 || tok.held || l.seen[1] != at(6) {
		t.Fatalf("%+v, %q", tok, l.examples)
	}
	l.judge(l.trialOf(tok), verdict{accepted: at(7)})
	if l.wronglyTaken != 1 {
		t.Error("it has caught up, accepts a revoked token, and that is not counted")
	}
	l.judge(l.trialOf(tok), verdict{refused: "revoked"})
	l.judge(l.trialOf(tok), verdict{accepted: at(6)})
	if l.wronglyTaken != 2 {
		t.Error("what it refused it accepts again, and that is not counted")
	}
}

func TestTheNewestIsTriedFirst(t *testing.T) {
	l := newLedger()
	for i := range 100 {
		tok := enter(t, l, "1", fmt.Sprint(i))
		if got, ok := l.try(1); !ok || got.token != tok {
			t.Fatalf("token %d was just issued, and %+v is tried", i, got.token)
		}
	}
	if got, ok := l.try(1); !ok || !got.tried {
		t.Errorf("%+v is tried", got.token)
	}
}

func TestTimeToWriteAgain(t *testing.T) {
	l := newLedger()
	first, second := enter(t, l, "1", "a"), enter(t, l, "1", "b")
	l.mark("a fault")
	m := l.marks[0]
	l.acknowledgedAt(first, at(1), m.at.Add(-time.Millisecond), m.at.Add(time.Second))
	if m.again != 0 {
		t.Error("a write that began before the fault counts")
	}
	l.acknowledgedAt(second, at(2), m.at.Add(time.Millisecond), m.at.Add(2*time.Second))
	if m.again != 2*time.Second {
		t.Errorf("writes again after %s", m.again)
	}
}
