package cluster

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

var lifecycles = flag.Int("lifecycles", 2, "how many random lives of keys and zones are tried")

// TestKeysUnderZonesThatComeAndGo rotates and removes keys under constant issuing and
// verifying, while zones join, leave, lag and hop between members, in random order. No
// valid token is ever refused, and no revoked one accepted once its zone acknowledged.
//
//	go test ./internal/test/cluster -run TestKeysUnderZones -lifecycles 200
func TestKeysUnderZonesThatComeAndGo(t *testing.T) {
	t.Parallel()
	c := StartGlobals(t, verbose(t), 3)
	number := 0
	checks := flag.Lookup("rapid.checks")
	former := checks.Value.String()
	if err := checks.Value.Set(strconv.Itoa(*lifecycles)); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := checks.Value.Set(former); err != nil {
			t.Error(err)
		}
	}()
	rapid.Check(t, func(rt *rapid.T) {
		l := &life{t: t, rt: rt, c: c, number: &number, removed: map[string]bool{}, excused: map[string]map[string]federation.Revision{}}
		defer l.end()
		l.join(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"join": l.join, "leave": l.leave, "come back": l.comeBack, "lag": l.lag, "catch up": l.catchUp, "hop": l.hop,
			"rotate": l.rotate, "rotate again": l.rotate, "remove": l.remove, "revoke": l.revoke,
			"": l.verify,
		})
		l.settle()
	})
}

// life is one random life. Of each token it knows what may be said of it.
type life struct {
	t      *testing.T
	rt     *rapid.T
	c      *Globals
	number *int // of zones, over all lives

	zones   []*living
	tokens  []*issued
	removed map[string]bool // keys whose removal was asked for
	// excused are, by key and zone, those that the activation named as offline, and
	// what they must hold before they count again.
	excused map[string]map[string]federation.Revision
}

type living struct {
	*Zone
	relay *Relay
	up    bool
}

// issued is a token, and the revision at which it was acknowledged as revoked.
type issued struct {
	zone, raw, kid string
	revoked        federation.Revision
	asked          bool // its revocation was asked for
}

func (l *life) member(rt *rapid.T) *Global {
	return l.c.Members[rapid.IntRange(0, len(l.c.Members)-1).Draw(rt, "member")]
}

// pick draws a zone that is up, or down.
func (l *life) pick(rt *rapid.T, up bool) *living {
	var some []*living
	for _, z := range l.zones {
		if z.up == up {
			some = append(some, z)
		}
	}
	if len(some) == 0 {
		rt.Skip("no such zone")
	}
	return some[rapid.IntRange(0, len(some)-1).Draw(rt, "zone")]
}

func (l *life) join(rt *rapid.T) {
	if len(l.zones) >= 5 {
		rt.Skip("enough zones")
	}
	*l.number++
	g := l.member(rt)
	relay := NewRelay(l.t, g.KDS())
	z := &living{Zone: g.StartZone(fmt.Sprintf("zone-%d", *l.number), relay.Addr()), relay: relay, up: true}
	z.WaitCurrent(l.c.Leader()) // until then it knows nothing, and says so
	l.zones = append(l.zones, z)
}

func (l *life) leave(rt *rapid.T) {
	z := l.pick(rt, true)
	z.Stop()
	z.up = false
}

func (l *life) comeBack(rt *rapid.T) {
	z := l.pick(rt, false)
	z.Start()
	z.up = true
}

func (l *life) lag(rt *rapid.T)     { l.pick(rt, true).relay.Stall() }
func (l *life) catchUp(rt *rapid.T) { l.pick(rt, true).relay.Resume() }
func (l *life) hop(rt *rapid.T)     { l.pick(rt, true).relay.Retarget(l.member(rt).KDS()) }

// change has something changed at a member, repeated under one request id for as long as
// there is no leader, and reads the answer into out.
func (l *life) change(rt *rapid.T, g *Global, path string, body, out any) (status int) {
	request := uuid.NewString()
	var said reply
	Eventually(l.t, path+" to be answered", func() bool {
		r, err := g.ask("POST", path, body, "X-Request-Id", request)
		said = r
		return err == nil && r.status != http.StatusServiceUnavailable && r.status != http.StatusGatewayTimeout
	})
	if said.status < 300 {
		if err := json.Unmarshal(said.body, out); err != nil {
			rt.Fatal(err)
		}
	} else if said.status != http.StatusConflict {
		rt.Fatalf("%s: %d %s", path, said.status, said.body)
	}
	return said.status
}

// rotate prepares a key and tries to activate it once, without force.
func (l *life) rotate(rt *rapid.T) {
	var key apitypes.Key
	l.change(rt, l.member(rt), "/v1/keys/prepare", apitypes.KeyPrepareRequest{Kind: "zone"}, &key)
	var change apitypes.KeyChange
	if l.change(rt, l.member(rt), "/v1/keys/activate", step(key), &change) == http.StatusConflict {
		return // a zone that lags holds it back
	}
	_, rev := l.c.Leader().Node.Store().Head()
	offline := map[string]federation.Revision{}
	switch {
	case change.Holding != nil:
		for _, name := range change.Holding.Offline {
			offline[name] = rev
		}
	default: // the first answer, which named them, was lost with its leader
		for _, z := range l.zones {
			offline[z.Name] = rev
		}
	}
	l.excused[key.KID] = offline
}

// remove takes away the oldest key that only verifies, with all its tokens.
func (l *life) remove(rt *rapid.T) {
	for _, k := range l.c.Leader().Node.Store().Keys() {
		if k.ID.Kind == cptoken.Zone && k.State == cptoken.Retiring {
			l.removed[k.ID.KID] = true
			var change apitypes.KeyChange
			l.change(rt, l.member(rt), "/v1/keys/remove", apitypes.KeyStepRequest{Kind: "zone", KID: k.ID.KID, Force: true}, &change)
			return
		}
	}
	rt.Skip("no key retires")
}

func (l *life) revoke(rt *rapid.T) {
	if len(l.tokens) == 0 {
		rt.Skip("no token")
	}
	token := l.tokens[rapid.IntRange(0, len(l.tokens)-1).Draw(rt, "token")]
	if l.removed[token.kid] {
		rt.Skip("its key was removed")
	}
	token.asked = true
	var result apitypes.RevokeResult
	l.change(rt, l.member(rt), "/v1/revocations", apitypes.RevokeRequest{Token: token.raw}, &result)
	var err error
	if token.revoked, err = federation.ParseRevision(result.Revision); err != nil {
		rt.Fatal(err)
	}
}

// verify issues a token for each zone that is up, and shows it some of all that it was
// ever given.
func (l *life) verify(rt *rapid.T) {
	for _, z := range l.zones {
		if !z.up {
			continue
		}
		raw := l.member(rt).ZoneToken(z.Name, cptoken.ScopeEgress)
		parsed, err := cptoken.Parse(raw)
		if err != nil {
			rt.Fatal(err)
		}
		token := &issued{zone: z.Name, raw: raw, kid: parsed.KID}
		l.tokens = append(l.tokens, token)
		l.judge(rt, z, token)
	}
	for _, token := range l.tokens[max(0, len(l.tokens)-12):] {
		if i := slices.IndexFunc(l.zones, func(z *living) bool { return z.Name == token.zone && z.up }); i >= 0 {
			l.judge(rt, l.zones[i], token)
		}
	}
}

// judge holds what a zone says of a token against what it may say.
func (l *life) judge(rt *rapid.T, z *living, token *issued) {
	before := z.Revision()
	said := z.Authenticate(token.raw, "egress")
	acknowledged := !token.revoked.IsZero() && before.Covers(token.revoked)
	switch {
	case said == Accepted && acknowledged:
		rt.Fatalf("zone %s stands at %s and accepts a token that was revoked at %s", z.Name, before, token.revoked)
	case said == Accepted, said.Reason == "revoked" && token.asked, said.Reason == "unknown_key" && l.removed[token.kid]:
		return
	case said.Reason == "unknown_key":
		if needs, ok := l.excused[token.kid][z.Name]; ok && !before.Covers(needs) {
			return // it was offline when the key was activated, named, and has not caught up
		}
	}
	rt.Fatalf("zone %s, at %s, says %+v of a token of key %s", z.Name, before, said, token.kid)
}

// settle lets every zone catch up, and shows it all its tokens once more.
func (l *life) settle() {
	for _, z := range l.zones {
		z.relay.Resume()
		if !z.up {
			z.Start()
			z.up = true
		}
	}
	for _, z := range l.zones {
		z.WaitCurrent(l.c.Leader())
		for _, token := range l.tokens {
			if token.zone == z.Name {
				l.judge(l.rt, z, token)
			}
		}
	}
}

// end stops the zones; their records stay, as those of zones that went away.
func (l *life) end() {
	for _, z := range l.zones {
		z.relay.Resume()
		z.Stop()
	}
}
