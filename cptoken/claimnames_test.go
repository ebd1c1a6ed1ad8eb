package cptoken

import (
	"reflect"
	"strings"
	"testing"
)

// TestClaimNamesAreAllThere holds the table of names against the fields of Claims
// and Registered: a claim that is read and not listed could be passed over in
// another case.
func TestClaimNamesAreAllThere(t *testing.T) {
	listed := map[string]bool{}
	for _, c := range claimNames {
		listed[c.name] = true
	}
	fields := reflect.TypeFor[Claims]()
	for i := range fields.NumField() {
		name := fields.Field(i).Name
		if name == "Audience" {
			name = "aud"
		}
		if name != "Kind" && name != "Registered" && !listed[name] {
			t.Errorf("the claim %s is not in claimNames", name)
		}
	}
	for _, name := range []string{"exp", "nbf", "iat", "jti"} {
		if !listed[name] {
			t.Errorf("the claim %s is not in claimNames", name)
		}
	}
}

// TestClaimsInAnotherCase presents each claim of each kind in other cases, beside
// the true one and alone: another program may take it for the claim.
func TestClaimsInAnotherCase(t *testing.T) {
	key := testKeys()[0]
	bodies := map[Kind]string{
		Zone:      `"Zone":"west","Scope":["egress"]`,
		Dataplane: `"Mesh":"default","Name":"","Tags":{},"Type":""`,
		User:      `"Name":"jane","Groups":[]`,
	}
	for kind, body := range bodies {
		id := KeyID{Kind: kind, KID: "1"}
		if kind.PerMesh() {
			id.Mesh = "default"
		}
		view := newView(publicKey(t, id, key, nil))
		for _, claim := range claimNames {
			for _, other := range []string{strings.ToLower(claim.name), strings.ToUpper(claim.name), swapCase(claim.name)} {
				if other == claim.name {
					continue
				}
				own := claim.of == 0 || kind.own()&claim.of != 0
				_, err := newVerifier().Verify(view, kind, sign(t, key, header1, `{"`+other+`":"x",`+body+`,`+times+`,"jti":"a"}`))
				if own || capital(other) {
					refused(t, err, UnknownClaim)
					if err != nil && !strings.Contains(err.Error(), other) {
						t.Errorf("%s: the refusal does not name %s: %v", kind, other, err)
					}
				} else if err != nil {
					t.Errorf("%s: %s, a claim of other kinds, is refused: %v", kind, other, err)
				}
			}
		}
	}
}

func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ToLower(string(r)) == string(r) {
			return []rune(strings.ToUpper(string(r)))[0]
		}
		return []rune(strings.ToLower(string(r)))[0]
	}, s)
}

// TestClaimsOfAnotherKindAreNamed: a claim that only other kinds have narrows
// nothing here, and whoever issued it meant it to.
func TestClaimsOfAnotherKindAreNamed(t *testing.T) {
	_, err := newVerifier().Verify(zoneView(t), Zone, sign(t, testKeys()[0], header1, `{"Zone":"west","Scope":["egress"],"Workload":"a",`+times+`,"jti":"a"}`))
	refused(t, err, WrongKind)
	if err == nil || !strings.Contains(err.Error(), "Workload") {
		t.Errorf("the refusal does not name the claim: %v", err)
	}
}

// TestOddClaimsAreToldAfterTheSignature: a forger learns nothing of the table.
func TestOddClaimsAreToldAfterTheSignature(t *testing.T) {
	_, err := newVerifier().Verify(zoneView(t), Zone, sign(t, testKeys()[1], header1, `{"Region":"eu","Zone":"west","Scope":["egress"],`+times+`,"jti":"a"}`))
	refused(t, err, BadSignature)
}
