package issue

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// full are claims of every kind with all that they may have.
func full() map[cptoken.Kind]cptoken.Claims {
	return map[cptoken.Kind]cptoken.Claims{
		cptoken.ControlPlane: {Zone: "west"},
		cptoken.Zone:         {Zone: "west", Scope: []cptoken.Scope{cptoken.ScopeIngress, cptoken.ScopeDataplane}},
		cptoken.Dataplane: {Mesh: "default", Name: "dp-<1>&", Type: "dataplane",
			Tags: map[string][]string{"kuma.io/service": {"b", "a"}, "é \"q\" 😀\\": {"e <&"}}},
		cptoken.User: {Name: "Jörg <j@example.com>", Groups: []string{"admin", "a&b"}},
	}
}

func TestIssuedTokensVerify(t *testing.T) {
	view := everyKey(t)
	now := testNow.Add(time.Minute)
	v := cptoken.NewVerifier(cptoken.VerifierOptions{Now: func() time.Time { return now }})
	for kind, asked := range full() {
		key := testKeys()[kind]
		raw, claims, err := key.Issue(asked, 0, testNow)
		if err != nil {
			t.Fatal(err)
		}
		var got *cptoken.Claims
		if kind == cptoken.ControlPlane {
			got, err = VerifyControlPlane(raw, secrets{2: {key, false}}, view, now)
		} else {
			got, err = v.Verify(view, kind, raw)
		}
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if !reflect.DeepEqual(got, claims) {
			t.Errorf("verified %+v\nissued   %+v", got, claims)
		}
		asked.Kind, asked.Registered, asked.TokenSerialNumber = kind, claims.Registered, claims.TokenSerialNumber
		if !reflect.DeepEqual(*claims, asked) {
			t.Errorf("issued %+v\nasked  %+v", claims, asked)
		}
		// For no other kind, whatever the key.
		for other := range full() {
			if other != kind && other != cptoken.ControlPlane {
				if _, err := v.Verify(view, other, raw); err == nil {
					t.Errorf("a %s passes for a %s", kind.TokenName(), other.TokenName())
				}
			}
		}
	}
}

// TestIssuedBytes pins down header and claims, order included.
func TestIssuedBytes(t *testing.T) {
	const tail = `"exp":2115374400,"nbf":1800014100,"iat":1800014400,"jti":"JTI"}`
	for what, test := range map[string]struct {
		kind           cptoken.Kind
		claims         cptoken.Claims
		header, expect string
	}{
		"control plane": {cptoken.ControlPlane, cptoken.Claims{Zone: "west", TokenSerialNumber: 9}, `{"alg":"HS256","kid":"2","typ":"JWT"}`, `{"Zone":"west","TokenSerialNumber":2,` + tail},
		"zone":          {cptoken.Zone, cptoken.Claims{Zone: "west", Scope: []cptoken.Scope{"ingress"}}, `{"alg":"RS256","kid":"3","typ":"JWT"}`, `{"Zone":"west","Scope":["ingress"],` + tail},
		"zone, default": {cptoken.Zone, cptoken.Claims{Zone: "west"}, `{"alg":"RS256","kid":"3","typ":"JWT"}`, `{"Zone":"west","Scope":["egress","ingress"],` + tail},
		"dataplane":     {cptoken.Dataplane, cptoken.Claims{Mesh: "default", Name: "dp", Tags: map[string][]string{"b": {"2", "1"}, "a": {"x"}}, Type: "dataplane"}, `{"alg":"RS256","kid":"1","typ":"JWT"}`, `{"Name":"dp","Mesh":"default","Tags":{"a":["x"],"b":["2","1"]},"Type":"dataplane",` + tail},
		"dataplane, no": {cptoken.Dataplane, cptoken.Claims{Mesh: "default"}, `{"alg":"RS256","kid":"1","typ":"JWT"}`, `{"Name":"","Mesh":"default","Tags":{},"Type":"",` + tail},
		"user":          {cptoken.User, cptoken.Claims{Name: "john", Groups: []string{"a", "b"}}, `{"alg":"RS256","kid":"1","typ":"JWT"}`, `{"Name":"john","Groups":["a","b"],` + tail},
		"user, no":      {cptoken.User, cptoken.Claims{Name: "john"}, `{"alg":"RS256","kid":"1","typ":"JWT"}`, `{"Name":"john","Groups":[],` + tail},
	} {
		raw, claims, err := testKeys()[test.kind].Issue(test.claims, 0, testNow)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		tok, err := cptoken.Parse(raw)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if tok.HeaderJSON() != test.header {
			t.Errorf("%s: header %s", what, tok.HeaderJSON())
		}
		if got := strings.Replace(tok.ClaimsJSON(), claims.ID, "JTI", 1); got != test.expect {
			t.Errorf("%s:\ngot  %s\nwant %s", what, got, test.expect)
		}
		if !json.Valid([]byte(tok.ClaimsJSON())) {
			t.Errorf("%s: not JSON", what)
		}
	}
}

func TestIssueTimes(t *testing.T) {
	key := testKeys()[cptoken.ControlPlane]
	iat := testNow.Truncate(time.Second)
	for validFor, want := range map[time.Duration]time.Duration{
		0: 87600 * time.Hour, time.Second: time.Second, 720 * time.Hour: 720 * time.Hour,
		1999 * time.Millisecond: time.Second, MaxValidity: MaxValidity,
	} {
		_, c, err := key.Issue(cptoken.Claims{Zone: "west"}, validFor, testNow.In(time.FixedZone("x", 3600)))
		if err != nil {
			t.Errorf("%s: %v", validFor, err)
			continue
		}
		if !c.IssuedAt.Equal(iat) || !c.NotBefore.Equal(iat.Add(-5*time.Minute)) || !c.ExpiresAt.Equal(iat.Add(want)) {
			t.Errorf("%s: %+v", validFor, c.Registered)
		}
	}
	for _, validFor := range []time.Duration{-1, -time.Hour, 1, time.Second - 1, MaxValidity + 1, 1<<63 - 1, -1 << 63} {
		raw, c, err := key.Issue(cptoken.Claims{Zone: "west"}, validFor, testNow)
		invalid(t, validFor.String(), err, "validFor")
		if raw != "" || c != nil {
			t.Errorf("%s: a token beside the error", validFor)
		}
	}
}

func TestIssueIDsAreUUIDs(t *testing.T) {
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for range 200 {
		_, c, err := testKeys()[cptoken.ControlPlane].Issue(cptoken.Claims{Zone: "west", Registered: cptoken.Registered{ID: "mine"}}, 0, testNow)
		if err != nil {
			t.Fatal(err)
		}
		if !uuid.MatchString(c.ID) || seen[c.ID] {
			t.Fatalf("id %q", c.ID)
		}
		seen[c.ID] = true
	}
}

func TestIssueRefuses(t *testing.T) {
	zone, mesh, user, cp := testKeys()[cptoken.Zone], testKeys()[cptoken.Dataplane], testKeys()[cptoken.User], testKeys()[cptoken.ControlPlane]
	for what, test := range map[string]struct {
		key    *SigningKey
		claims cptoken.Claims
		field  string
	}{
		"no zone":             {zone, cptoken.Claims{}, "zone"},
		"no zone, cp":         {cp, cptoken.Claims{}, "zone"},
		"an odd zone":         {cp, cptoken.Claims{Zone: "we st"}, "zone"},
		"an unknown scope":    {zone, cptoken.Claims{Zone: "west", Scope: []cptoken.Scope{"admin"}}, "scope[0]"},
		"cp and more":         {zone, cptoken.Claims{Zone: "west", Scope: []cptoken.Scope{"cp", "egress"}}, "scope"},
		"another kind":        {zone, cptoken.Claims{Kind: cptoken.User, Name: "john"}, "kind"},
		"another kind's":      {zone, cptoken.Claims{Zone: "west", Groups: []string{"admin"}}, "groups"},
		"another mesh":        {mesh, cptoken.Claims{Mesh: "other"}, "mesh"},
		"no mesh":             {mesh, cptoken.Claims{}, "mesh"},
		"no name":             {user, cptoken.Claims{}, "name"},
		"a group of nothing":  {user, cptoken.Claims{Name: "john", Groups: []string{""}}, "groups[0]"},
		"a tag without value": {mesh, cptoken.Claims{Mesh: "default", Tags: map[string][]string{"a": {}}}, "tags.a"},
	} {
		_, _, err := test.key.Issue(test.claims, 0, testNow)
		invalid(t, what, err, test.field)
	}
}

// TestIssueSize: what is issued is always small enough to be read.
func TestIssueSize(t *testing.T) {
	key := testKeys()[cptoken.User]
	groups := func(n, size int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf("%0*d", size, i))
		}
		return list
	}
	_, _, err := key.Issue(cptoken.Claims{Name: "john", Groups: groups(cptoken.MaxGroups, cptoken.MaxTextLen)}, 0, testNow)
	if e := federation.AsError(err); e == nil || e.Code != federation.TooLarge || e.Hint == "" {
		t.Errorf("a token of 20 KB: %+v", e)
	}
	for size := 60; size < 110; size++ {
		raw, _, err := key.Issue(cptoken.Claims{Name: "john", Groups: groups(cptoken.MaxGroups, size)}, 0, testNow)
		if err != nil {
			if federation.CodeOf(err) != federation.TooLarge {
				t.Errorf("%d: %v", size, err)
			}
			continue
		}
		if _, err := cptoken.Parse(raw); err != nil {
			t.Errorf("%d bytes were issued and cannot be read: %v", len(raw), err)
		}
	}
	tags := map[string][]string{}
	for i := range cptoken.MaxTags {
		tags[fmt.Sprint("t", i)] = groups(10, 4)
	}
	raw, _, err := testKeys()[cptoken.Dataplane].Issue(cptoken.Claims{Mesh: "default", Tags: tags}, 0, testNow)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cptoken.Parse(raw); err != nil {
		t.Errorf("as many tags as are allowed cannot be read: %v", err)
	}
}

func TestIssuedClaimsAreTheCallersNoMore(t *testing.T) {
	asked := full()[cptoken.Dataplane]
	_, claims, err := testKeys()[cptoken.Dataplane].Issue(asked, 0, testNow)
	if err != nil {
		t.Fatal(err)
	}
	asked.Tags["kuma.io/service"][0] = "changed"
	if claims.Tags["kuma.io/service"][0] == "changed" {
		t.Error("the claims share the caller's tags")
	}
	_, claims, err = testKeys()[cptoken.Zone].Issue(cptoken.Claims{Zone: "west"}, 0, testNow)
	if err != nil {
		t.Fatal(err)
	}
	claims.Scope[0] = "changed"
	if slices.Contains(cptoken.DefaultScopes[:], "changed") {
		t.Error("the claims share the default scopes")
	}
}

func TestIssueWithKID(t *testing.T) {
	key := testKeys()[cptoken.Zone]
	id := cptoken.KeyID{Kind: cptoken.Zone, KID: "key-1"}
	public, err := cptoken.NewPublicKey(id, cptoken.AlgRS256, cptoken.Active, key.PublicDER(), &cptoken.Constraints{})
	if err != nil {
		t.Fatal(err)
	}
	raw, _, err := key.IssueWithKID("key-1", cptoken.Claims{Zone: "us-east", Scope: []cptoken.Scope{cptoken.ScopeEgress}}, 720*time.Hour, testNow)
	if err != nil {
		t.Fatal(err)
	}
	v := cptoken.NewVerifier(cptoken.VerifierOptions{Now: func() time.Time { return testNow }})
	c, err := v.Verify(&view{keys: map[cptoken.KeyID]*cptoken.PublicKey{id: public}}, cptoken.Zone, raw)
	if err != nil || c.Zone != "us-east" {
		t.Errorf("%+v: %v", c, err)
	}
	for _, kid := range []string{"", "3", `x","alg":"none`, "a b", strings.Repeat("k", 200)} {
		_, _, err := key.IssueWithKID(kid, cptoken.Claims{Zone: "west"}, 0, testNow)
		invalid(t, kid, err, "kid")
	}
	_, _, err = testKeys()[cptoken.ControlPlane].IssueWithKID("key-1", cptoken.Claims{Zone: "west"}, 0, testNow)
	invalid(t, "control plane", err, "kid")
}
