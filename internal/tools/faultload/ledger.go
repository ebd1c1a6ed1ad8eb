package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// standing is what is known of a token from what was acknowledged.
type standing int

const (
	good    standing = iota
	asked            // its revocation was asked for: either verdict is right
	revoked          // its revocation was acknowledged, in force at a revision
)

type token struct {
	raw  string
	zone int
	id   string
	kid  string

	tried    bool // its zone was asked about it
	standing standing
	inForce  federation.Revision
	// held: its zone was seen to refuse it as revoked, and may not accept it any more. sure:
	// it was acknowledged before the copies were made of all members' disks. gone: it was not,
	// and these were put back: who does not hold it accepts it.
	held, sure, gone bool
}

// ledger is what was acknowledged, and what zones were seen to do with it.
type ledger struct {
	mu     sync.Mutex
	tokens map[int][]*token // by zone
	// seen is the newest revision at which a zone accepted anything, signing the
	// revision by which a key was in use, zero while that is not known.
	seen    map[int]federation.Revision
	signing map[string]federation.Revision
	marks   []*mark
	// holds are the zones that had to hold a key when it was activated, awayRefused the
	// refusals of a key's tokens by zones of which that is not known.
	holds       map[string]map[int]bool
	awayRefused map[keyAt]int

	// forgot counts how often a zone's disk went back; lostPast are histories that all members
	// fell back within, so that their indexes are given out twice; began are all that a
	// revocation was acknowledged in, and losses how often that was to be expected.
	forgot   map[int]int
	lostPast map[federation.History]bool
	began    map[federation.History]bool
	losses   int

	operations, unanswered       int
	wronglyRefused, wronglyTaken int
	acknowledged                 int
	examples                     []string
	latest                       federation.Revision // in force, of all revocations
}

// mark is a fault, and how long after it the first write was acknowledged that began
// later.
type mark struct {
	name  string
	at    time.Time
	again time.Duration
}

// keyAt is a key as a zone knows it.
type keyAt struct {
	kid  string
	zone int
}

func newLedger() *ledger {
	return &ledger{
		tokens: map[int][]*token{}, seen: map[int]federation.Revision{}, signing: map[string]federation.Revision{},
		holds: map[string]map[int]bool{}, awayRefused: map[keyAt]int{},
		forgot: map[int]int{}, lostPast: map[federation.History]bool{}, began: map[federation.History]bool{},
	}
}

// newer reports whether a revision comes after another one.
func newer(a, b federation.Revision) bool {
	c := a.History.Compare(b.History)
	return c > 0 || c == 0 && a.Index > b.Index
}

// has reports whether who is at a revision has what is in force at another one. The members
// go back in the past that these are of, if at all, and what is not gone with that is in
// every newer history. l.mu is held.
func (l *ledger) has(at, inForce federation.Revision) bool {
	return at.History.Compare(inForce.History) > 0 || at.Covers(inForce) && !l.lostPast[at.History]
}

// parse reads the two names of a token that the ledger needs, unverified.
func parse(raw string) (kid, id string, err error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return "", "", errors.New("no token")
	}
	var header struct{ Kid string }
	var claims struct{ Jti string }
	for i, into := range []any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			return "", "", fmt.Errorf("no token: %w", err)
		}
	}
	return header.Kid, claims.Jti, nil
}

// issued enters a token that was just issued.
func (l *ledger) issued(zone int, raw string) error {
	kid, id, err := parse(raw)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.operations++
	l.tokens[zone] = append(l.tokens[zone], &token{raw: raw, zone: zone, kid: kid, id: id})
	if _, known := l.signing[kid]; !known {
		l.signing[kid] = federation.Revision{}
	}
	return nil
}

// condemn picks a good token of a zone whose revocation is to be asked for, nil where
// the zone has no more good ones than it should keep.
func (l *ledger) condemn(zone, keep int) *token {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*token
	for _, t := range l.tokens[zone] {
		if t.standing == good {
			all = append(all, t)
		}
	}
	if len(all) <= keep {
		return nil
	}
	t := all[rand.IntN(len(all))]
	t.standing = asked
	return t
}

// acknowledgedAt enters the answer to a revocation whose last attempt began at a time.
func (l *ledger) acknowledgedAt(t *token, inForce federation.Revision, began, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.operations++
	l.acknowledged++
	t.standing, t.inForce = revoked, inForce
	l.began[inForce.History] = true
	if newer(inForce, l.latest) {
		l.latest = inForce
	}
	// Whatever key signs by now was activated before this revision.
	for kid, at := range l.signing {
		if at.IsZero() {
			l.signing[kid] = inForce
		}
	}
	for _, m := range l.marks {
		if m.again == 0 && began.After(m.at) {
			m.again = now.Sub(m.at)
		}
	}
}

// rotated enters which zones had to hold a key when it began to sign. The answer to
// a rotation comes after the first tokens of the key: what such a zone refused of them
// meanwhile was refused wrongly.
func (l *ledger) rotated(kid string, zones []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holds[kid] = map[int]bool{}
	for _, zone := range zones {
		l.holds[kid][zone] = true
		if n := l.awayRefused[keyAt{kid, zone}]; n > 0 {
			delete(l.awayRefused, keyAt{kid, zone})
			l.wronglyRefused += n
			l.example("%s refused %d tokens of key %s, which its gate had waited for", zoneName(zone), n, kid)
		}
	}
}

// late counts the refusals that are excused.
func (l *ledger) late() (n int) {
	for _, refusals := range l.awayRefused {
		n += refusals
	}
	return n
}

// trial is a token that a zone is asked about, as it stood when it was asked.
type trial struct {
	*token
	was     standing
	wasHeld bool
	inForce federation.Revision
	seen    federation.Revision // the zone, before
	signing federation.Revision // the token's key
	forgot  int                 // of the zone
}

// try picks a token of a zone: the newest, if nobody has asked about it yet, because a
// key that the zone lacks shows only until the zone has it.
func (l *ledger) try(zone int) (trial, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.tokens[zone]
	if len(all) == 0 {
		return trial{}, false
	}
	// Half of the time one of the newest: that is where a mistake would show.
	t := all[rand.IntN(len(all))]
	if newest := min(len(all), 8); rand.IntN(2) == 0 {
		t = all[len(all)-1-rand.IntN(newest)]
	}
	if last := all[len(all)-1]; !last.tried {
		t = last
	}
	t.tried = true
	return l.trialOf(t), true
}

func (l *ledger) trialOf(t *token) trial {
	return trial{token: t, was: t.standing, wasHeld: t.held, inForce: t.inForce, seen: l.seen[t.zone], signing: l.signing[t.kid], forgot: l.forgot[t.zone]}
}

// verdict is a zone's answer: the revision at which it accepted, or the reason why it
// refused; neither where it gave none.
type verdict struct {
	accepted federation.Revision
	refused  string
}

// judge holds a verdict against the ledger.
func (l *ledger) judge(t trial, v verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.forgot != l.forgot[t.zone] && v != (verdict{}) {
		l.operations++ // it may be of either disk
		return
	}
	switch {
	case !v.accepted.IsZero():
		l.operations++
		if newer(v.accepted, l.seen[t.zone]) {
			l.seen[t.zone] = v.accepted
		}
		if t.was == revoked && (t.wasHeld || !t.gone && l.has(v.accepted, t.inForce)) {
			l.wronglyTaken++
			l.example("%s accepted %s at %s, revoked since %s (refused before: %t)", zoneName(t.zone), t.id, v.accepted, t.inForce, t.wasHeld)
		}
	case v.refused == "":
		l.unanswered++
	default:
		l.operations++
		t.held = t.held || v.refused == "revoked"
		if t.standing != good {
			return
		}
		if v.refused == "unknown_key" && !l.holds[t.kid][t.zone] && (t.signing.IsZero() || !l.has(t.seen, t.signing)) {
			l.awayRefused[keyAt{t.kid, t.zone}]++
			return
		}
		l.wronglyRefused++
		l.example("%s refused %s as %s, seen at %s, key %s in use by %s", zoneName(t.zone), t.id, v.refused, t.seen, t.kid, t.signing)
	}
}

// kept is told that the disks of all members, which have ended, were copied.
func (l *ledger) kept() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, tokens := range l.tokens {
		for _, t := range tokens {
			t.sure = t.standing == revoked
		}
	}
}

// wentBack is told that the disks of all members, which have ended, are as they were when
// they were kept. What was acknowledged since is gone, but where a zone was seen to have it.
func (l *ledger) wentBack() (gone, held int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.losses++
	for h := range l.began {
		l.lostPast[h] = true
	}
	for zone, tokens := range l.tokens {
		for _, t := range tokens {
			if t.standing != revoked {
				continue
			}
			t.held = t.held || l.seen[zone].Covers(t.inForce)
			if t.gone = t.gone || !t.sure; t.gone {
				gone++
				if t.held {
					held++
				}
			}
		}
	}
	return gone, held
}

// zoneWentBack is told that the disk of a zone, which has ended, is an earlier one: it may
// accept what it held until it has caught up.
func (l *ledger) zoneWentBack(zone int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgot[zone]++
	l.seen[zone] = federation.Revision{}
	for _, t := range l.tokens[zone] {
		t.held = false
	}
}

func (l *ledger) example(format string, args ...any) {
	if len(l.examples) < 20 {
		l.examples = append(l.examples, fmt.Sprintf(format, args...))
	}
}

// mark notes a fault that has just been made, or healed.
func (l *ledger) mark(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.marks = append(l.marks, &mark{name: name, at: time.Now()})
}

// all returns every token of a standing.
func (l *ledger) all(s standing) []trial {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []trial
	for _, tokens := range l.tokens {
		for _, t := range tokens {
			if t.standing == s {
				list = append(list, l.trialOf(t))
			}
		}
	}
	return list
}
