package cptoken

import (
	"testing"
	"time"
)

func parsed(t *testing.T, raw string) *Token {
	t.Helper()
	token, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestGrant(t *testing.T) {
	const id = "d602fcb4-c4e4-44d6-8fad-1c40fb97c3ca"
	raw := sign(t, testKeys()[0], header1, west)
	view := zoneView(t)
	g := GrantOf(view, parsed(t, raw))
	if g.ID != id || g.Key != (KeyID{Kind: Zone, KID: "1"}) || g.ExpiresAt.Unix() != 1800100000 || g.IssuedAt.Unix() != 1800000000 {
		t.Errorf("grant %+v", g)
	}
	if err := g.Check(view, testNow); err != nil {
		t.Fatalf("a good grant: %v", err)
	}
	if n := testing.AllocsPerRun(10, func() { _ = g.Check(view, testNow) }); n > 0 {
		t.Errorf("a check allocates %.0f times", n)
	}
	refused(t, g.Check(view, g.ExpiresAt), Expired)
	refused(t, g.Check(newView(), testNow), KeyRemoved)
	// Another key under the same id is not the one that signed it.
	refused(t, g.Check(newView(publicKey(t, g.Key, testKeys()[1], nil)), testNow), KeyRemoved)
	view.revoke(User, "", id)
	view.revoke(Zone, "", "another")
	if err := g.Check(view, testNow); err != nil {
		t.Errorf("what concerns others: %v", err)
	}
	view.cutOffs[KeyID{Kind: Zone, KID: "1"}] = g.IssuedAt
	if err := g.Check(view, testNow); err != nil {
		t.Errorf("a cut-off at the time of issue: %v", err)
	}
	view.cutOffs[KeyID{Kind: Zone, KID: "1"}] = g.IssuedAt.Add(time.Second)
	refused(t, g.Check(view, testNow), IssuedBeforeCutOff)
	view.revoke(Zone, "", id)
	refused(t, g.Check(view, testNow), Revoked)
}

// What Admit remembers of a token is what reading it again would find, the first time
// and from the cache, with a jti and without.
func TestAdmitKnowsTheGrant(t *testing.T) {
	v := newVerifier()
	lax := &Constraints{AllowNoID: true, AllowNoExpiry: true}
	ci := KeyID{Kind: Zone, KID: "ci"}
	view := zoneView(t)
	view.keys[ci] = publicKey(t, ci, testKeys()[0], lax)
	for name, raw := range map[string]string{
		"a token of the global's": sign(t, testKeys()[0], header1, west),
		"one without a jti":       sign(t, testKeys()[0], `{"alg":"RS256","kid":"ci","typ":"JWT"}`, `{"Zone":"west","Scope":["egress","ingress"]}`),
	} {
		want := GrantOf(view, parsed(t, raw))
		for range 2 {
			claims, g, err := v.Admit(view, Zone, raw)
			if err != nil || g != want || claims.Zone != "west" {
				t.Errorf("%s: %+v, want %+v: %v", name, g, want, err)
			}
		}
		if _, g, err := newVerifier().AdmitParsed(view, Zone, parsed(t, raw)); err != nil || g != want {
			t.Errorf("%s, parsed: %+v, want %+v: %v", name, g, want, err)
		}
	}
	if _, g, err := v.Admit(newView(), Zone, sign(t, testKeys()[0], header1, west)); err == nil || g != (Grant{}) {
		t.Errorf("a refused token has the grant %+v", g)
	}
}

func TestGrantOfAControlPlaneToken(t *testing.T) {
	for name, token := range map[string]string{
		"kid":    unsigned(`{"alg":"HS256","kid":"3","typ":"JWT"}`, `{"Zone":"west","TokenSerialNumber":3,`+times+`,"jti":"c"}`) + ".c2ln",
		"serial": unsigned(`{"alg":"HS256","typ":"JWT"}`, `{"Zone":"west","TokenSerialNumber":3,`+times+`,"jti":"c"}`) + ".c2ln",
	} {
		g := GrantOf(newView(), parsed(t, token))
		if g.Key != (KeyID{Kind: ControlPlane, KID: "3"}) || g.ID != "c" {
			t.Errorf("%s: %+v", name, g)
		}
		if err := g.Check(newView(), testNow); err != nil {
			t.Errorf("%s: no View has its key, and it is judged: %v", name, err)
		}
	}
}

// TestForeignGrant: no key and no list decides over it, only the time.
func TestForeignGrant(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	g := ForeignGrant("demo/backend", now, now.Add(time.Hour))
	if err := g.Check(nil, now); err != nil {
		t.Errorf("within its time: %v", err)
	}
	if err := g.Check(nil, now.Add(time.Hour)); ReasonOf(err) != Expired {
		t.Errorf("after its time: %v", err)
	}
	forever := ForeignGrant("", time.Time{}, time.Time{})
	if err := forever.Check(nil, now.Add(1000*time.Hour)); err != nil {
		t.Errorf("without an end: %v", err)
	}
	var none Grant
	if err := none.Check(zoneView(t), now); err == nil {
		t.Error("the zero grant holds")
	}
}

// TestGrantEndsWithNarrowerBounds narrows each bound of a registered key in turn:
// what the narrower bounds refuse of a token ends what it opened, and nothing else
// does.
func TestGrantEndsWithNarrowerBounds(t *testing.T) {
	id := KeyID{Kind: Zone, KID: "1"}
	wide := Constraints{AllowNoExpiry: true, AllowNoID: true}
	full := `{"Zone":"west","Scope":["ingress","egress"],` + times + `,"jti":"a"}`
	for name, tt := range map[string]struct {
		claims string
		narrow func(*Constraints)
		want   Reason // "" where it goes on
	}{
		"nothing":                {full, func(*Constraints) {}, ""},
		"to its zone":            {full, func(c *Constraints) { c.Zones = []string{"west"} }, ""},
		"to another zone":        {full, func(c *Constraints) { c.Zones = []string{"east"} }, NotAllowed},
		"to its scopes":          {full, func(c *Constraints) { c.Scopes = []Scope{ScopeEgress, ScopeIngress} }, ""},
		"to one of its scopes":   {full, func(c *Constraints) { c.Scopes = []Scope{ScopeEgress} }, NotAllowed},
		"to its lifetime":        {full, func(c *Constraints) { c.MaxLifetime = 100000 * time.Second }, ""},
		"to a shorter life":      {full, func(c *Constraints) { c.MaxLifetime = 99999 * time.Second }, NotAllowed},
		"to tokens with expiry":  {`{"Zone":"west","Scope":["egress"],"jti":"a"}`, func(c *Constraints) { c.AllowNoExpiry = false }, MissingExpiry},
		"to tokens with id":      {`{"Zone":"west","Scope":["egress"],` + times + `}`, func(c *Constraints) { c.AllowNoID = false }, MissingID},
		"it has both, to both":   {full, func(c *Constraints) { c.AllowNoID, c.AllowNoExpiry = false, false }, ""},
		"to a life, without iat": {`{"Zone":"west","Scope":["egress"],"exp":1800100000,"jti":"a"}`, func(c *Constraints) { c.MaxLifetime = time.Hour }, NotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			view := newView(publicKey(t, id, testKeys()[0], &wide))
			token := sign(t, testKeys()[0], header1, tt.claims)
			if _, err := newVerifier().Verify(view, Zone, token); err != nil {
				t.Fatalf("before: %v", err)
			}
			g := GrantOf(view, parsed(t, token))
			narrow := wide
			tt.narrow(&narrow)
			now := newView(publicKey(t, id, testKeys()[0], &narrow))
			_, again := newVerifier().Verify(now, Zone, token)
			if got := g.Check(now, testNow); ReasonOf(got) != tt.want || ReasonOf(again) != tt.want {
				t.Errorf("the session: %v, a new one: %v, want reason %q of both", got, again, tt.want)
			}
		})
	}
}

// TestGrantOutlastsAClockThatIsSetBack: what was good before the clock was set back
// is not made bad by it.
func TestGrantOutlastsAClockThatIsSetBack(t *testing.T) {
	id := KeyID{Kind: Zone, KID: "1"}
	view := newView(publicKey(t, id, testKeys()[0], &Constraints{MaxLifetime: 100000 * time.Second}))
	g := GrantOf(view, parsed(t, sign(t, testKeys()[0], header1, west)))
	if err := g.Check(view, testNow.Add(-1000*time.Hour)); err != nil {
		t.Error(err)
	}
}
