package cptoken

import (
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/meridiankds/meridian/federation"
)

// claimSet tells which of the claims that belong to kinds a token has.
type claimSet uint16

const (
	hasZone claimSet = 1 << iota
	hasSerial
	hasScope
	hasName
	hasMesh
	hasTags
	hasType
	hasWorkload
	hasGroups
	hasAudience
)

// claimNames are the names of claims that this package gives a meaning, with the
// kinds of tokens that they belong to; 0 is every kind. A name that differs from
// one of them only in its case is that claim to readers that ignore case.
var claimNames = [...]struct {
	name string
	of   claimSet
}{
	{"iss", 0}, {"sub", 0}, {"aud", 0}, {"exp", 0}, {"nbf", 0}, {"iat", 0}, {"jti", 0},
	{"RenewableUntil", 0}, {"Renewal", 0}, {"Root", 0},
	{"Zone", hasZone}, {"TokenSerialNumber", hasSerial}, {"Scope", hasScope},
	{"Name", hasName}, {"Mesh", hasMesh}, {"Tags", hasTags}, {"Type", hasType}, {"Workload", hasWorkload},
	{"Groups", hasGroups},
}

// oddClaim returns the first claim of t that may narrow a token of the given kind
// in a way that is not known here, or "": one that begins with a capital letter, as
// those of every kind do, or that another program may take for a claim of the kind
// because it ignores case.
func (t *Token) oddClaim(kind Kind) string {
	for _, key := range t.odd {
		if capital(key) {
			return key
		}
		for _, claim := range claimNames {
			if (claim.of == 0 || kind.own()&claim.of != 0) && strings.EqualFold(key, claim.name) {
				return key
			}
		}
	}
	return ""
}

// foreignClaim returns the name of a claim of t that tokens of the kind do not
// have, or "".
func (t *Token) foreignClaim(kind Kind) string {
	for _, claim := range claimNames {
		if claim.of&t.has&^kind.own() != 0 {
			return claim.name
		}
	}
	return ""
}

func capital(key string) bool {
	first, _ := utf8.DecodeRuneInString(key)
	return unicode.IsUpper(first) || unicode.IsTitle(first)
}

// isOdd reports whether a key that is not a claim's name could be taken for one.
func isOdd(key string) bool {
	if capital(key) {
		return true
	}
	for _, claim := range claimNames {
		if key != claim.name && strings.EqualFold(key, claim.name) {
			return true
		}
	}
	return false
}

// own returns the claims that tokens of kind k may have.
func (k Kind) own() claimSet {
	switch k {
	case ControlPlane:
		return hasZone | hasSerial
	case Zone:
		return hasZone | hasScope
	case Dataplane:
		return hasName | hasMesh | hasTags | hasType | hasWorkload
	case User:
		return hasName | hasGroups | hasAudience
	}
	return 0
}

// kind tells what a token with these claims is for, "" where they belong to no
// one kind. Keys are of one kind each, so this decides only where one key was
// registered for several; there a mixed token would be good for each of them.
func (s claimSet) kind(alg string) Kind {
	kind := User
	switch {
	case s&hasSerial != 0 || s == hasZone && alg == AlgHS256:
		kind = ControlPlane
	case s&(hasScope|hasZone) != 0:
		kind = Zone
	case s&(hasMesh|hasTags|hasType|hasWorkload) != 0:
		kind = Dataplane
	}
	if s == 0 || s&^kind.own() != 0 {
		return ""
	}
	return kind
}

// writtenAs says how each claim must be written, and each parameter of the header.
var writtenAs = map[string]string{
	"exp": aDate, "nbf": aDate, "iat": aDate,
	"jti": "a string of at most 128 printable characters without blank or comma", "TokenSerialNumber": "a whole number",
	"aud":  "a string or an array of strings",
	"Zone": aString, "Name": aString, "Mesh": aString, "Type": aString,
	"Scope": aList, "Groups": aList, "Tags": "an object of arrays of strings",
	"alg": aString, "kid": "a string of at most 128 bytes", "typ": "JWT",
}

const (
	aString = "a string"
	aList   = "an array of strings"
	aDate   = "a number, the seconds since 1970"
)

// readClaims reads the claims. Fractions of a second fall to the side of less
// validity.
func (t *Token) readClaims() error {
	var keys [16]string
	r := reader{s: t.payload, open: keys[:0]}
	c := &t.Claims
	var set claimSet
	readable := true // the audience
	for key := range r.members {
		switch key {
		case "exp":
			c.ExpiresAt = r.date(math.Floor)
		case "nbf":
			c.NotBefore = r.date(math.Ceil)
		case "iat":
			c.IssuedAt = r.date(math.Floor)
		case "jti":
			if c.ID = r.text(); c.ID != "" && !validID(c.ID, false) {
				r.fail("a jti that no list of revocations can hold")
			}
		case "Zone":
			c.Zone, set = r.text(), set|hasZone
		case "TokenSerialNumber":
			c.TokenSerialNumber, set = r.serial(), set|hasSerial
		case "Scope":
			c.Scope, set = r.scopes(), set|hasScope
		case "Name":
			c.Name, set = r.text(), set|hasName
		case "Mesh":
			c.Mesh, set = r.text(), set|hasMesh
		case "Tags":
			c.Tags, set = r.tags(), set|hasTags
		case "Type":
			c.Type, set = r.text(), set|hasType
		case "Workload":
			c.Workload, set = r.text(), set|hasWorkload
		case "Groups":
			c.Groups, set = r.texts(), set|hasGroups
		case "aud":
			c.Audience, readable = r.audience()
		case "RenewableUntil":
			c.RenewableUntil = r.date(math.Floor)
		case "Renewal":
			c.Renewal = r.serial()
		case "Root":
			c.Root = r.text()
		default:
			if isOdd(key) {
				t.odd = append(t.odd, key)
			}
			r.skip()
			continue
		}
		r.member(key)
	}
	c.Kind = set.kind(t.Alg)
	switch {
	case c.Kind != User:
		c.Audience = nil // whatever it is, it is none of ours
	case !readable:
		r.fail("an audience of another type")
		r.member("aud")
	}
	t.HasSerial, t.has = set&hasSerial != 0, set
	return r.finish("claim set")
}

// audience reads the aud claim (RFC 7519, section 4.1.3). ok is false where it is of a type
// that it cannot have, which matters in user tokens only.
func (r *reader) audience() (list []string, ok bool) {
	switch r.next() {
	case 'n':
		r.skip()
		return nil, true
	case '"':
		return []string{r.text()}, true
	case '[':
		list, ok = []string{}, true
		for range r.elements {
			if r.next() != '"' {
				ok = false
				r.skip()
				continue
			}
			list = append(list, r.text())
		}
		return list, ok
	}
	r.skip()
	return nil, false
}

// scopes reads the Scope claim. Words that are not known here are kept: they
// are good for nothing, and a later version may know them.
func (r *reader) scopes() []Scope {
	if r.null() {
		return nil
	}
	list := make([]Scope, 0, len(DefaultScopes))
	for range r.elements {
		list = append(list, Scope(r.text()))
	}
	return list
}

// tags reads the Tags claim.
func (r *reader) tags() map[string][]string {
	if r.null() {
		return nil
	}
	tags := map[string][]string{}
	for key := range r.members {
		tags[key] = r.texts()
	}
	return tags
}

// ValidateID checks what is to be revoked: a jti of 1 to MaxIDLen printable ASCII
// characters without blank or comma, which separate ids in a list, or "sha256:"
// and 64 lower-case hexadecimal digits. field is how the caller spelled the input.
func ValidateID(field, id string) error {
	if !validID(id, true) {
		return federation.InvalidField(field,
			"%.80q is not a token's id: use its jti, or sha256:<64 hexadecimal digits> of a token that has none", id)
	}
	return nil
}

// validID reports whether id can be revoked; hashes says whether the form for
// tokens without a jti is meant too. No jti may look like a hash: else a token
// could be revoked, or withdrawn from revocation, in another's name.
func validID(id string, hashes bool) bool {
	if id == "" || len(id) > MaxIDLen {
		return false
	}
	if len(id) >= len(hashPrefix) && id[:len(hashPrefix)] == hashPrefix {
		return hashes && validHash(id[len(hashPrefix):])
	}
	for i := 0; i < len(id); i++ {
		if c := id[i]; c <= ' ' || c > '~' || c == ',' {
			return false
		}
	}
	return true
}

func validHash(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
