package cptoken

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// MaxTokenBytes bounds a token in compact form. A larger one is refused unread.
const MaxTokenBytes = 8 << 10

// MaxKIDLen bounds the kid of a token and of a key, in bytes.
const MaxKIDLen = 128

// Token is a token that was read and of which nothing is proven: it says what
// whoever made it wanted it to say.
type Token struct {
	Raw    string // the compact form (RFC 7515, section 7.1)
	Alg    string // as the header has it, for example "RS256" or "none"
	KID    string
	HasKID bool // the header has a kid, which may be empty
	Typ    string
	Claims Claims

	// HasSerial says that there is a TokenSerialNumber, which may be 0.
	HasSerial bool
	has       claimSet
	odd       []string // claims that oddClaim judges
	header    string
	payload   string
	signature []byte
}

// Parse reads a token strictly and verifies nothing. It accepts three parts of
// unpadded base64url without stray bits or line breaks, a JSON object in each of
// the first two in which no key stands twice at any level, and the known header
// parameters and claims in their types; unknown ones are passed over, but for
// "crit", whose point is that it must not be (RFC 7515, section 4.1.11). Whether an
// unknown claim is refused is decided once the signature is verified
// ([Token.CheckNames]).
//
// Claims.Kind is the kind that the claims look like, "" where they look like none
// or mix several. The error is a Refusal: Malformed or TooLarge.
func Parse(raw string) (*Token, error) {
	if len(raw) > MaxTokenBytes {
		return nil, tooLarge(raw)
	}
	header, rest, ok1 := strings.Cut(raw, ".")
	payload, signature, ok2 := strings.Cut(rest, ".")
	if !ok1 || !ok2 || header == "" || payload == "" || strings.IndexByte(signature, '.') >= 0 {
		return nil, malformed("it is not three parts between dots")
	}
	t := &Token{Raw: raw}
	var buf [MaxTokenBytes * 3 / 4]byte
	for _, part := range [...]struct {
		name, text string
		out        *string
	}{{"header", header, &t.header}, {"claim set", payload, &t.payload}} {
		b, ok := decode(buf[:], part.text)
		if !ok {
			return nil, malformed("the " + part.name + " is not unpadded base64url")
		}
		if !utf8.Valid(b) {
			return nil, malformed("the " + part.name + " is not UTF-8")
		}
		*part.out = string(b)
	}
	var ok bool
	if t.signature, ok = decode(make([]byte, base64.RawURLEncoding.DecodedLen(len(signature))), signature); !ok {
		return nil, malformed("the signature is not unpadded base64url")
	}
	if err := t.readHeader(); err != nil {
		return nil, err
	}
	if err := t.readClaims(); err != nil {
		return nil, err
	}
	return t, nil
}

// Inspect reads a token to show it, also one that would be refused. It is Parse
// under the name of what an operator does; nothing is verified.
func Inspect(raw string) (*Token, error) { return Parse(raw) }

// decode decodes strictly into buf, which is large enough. The standard decoder
// passes over line breaks, which would give one token many spellings and each its
// own hash, so that a token revoked by hash could be presented in another one.
func decode(buf []byte, s string) ([]byte, bool) {
	if strings.IndexByte(s, '\n') >= 0 || strings.IndexByte(s, '\r') >= 0 {
		return nil, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(buf, []byte(s))
	return buf[:n], err == nil
}

func (t *Token) readHeader() error {
	var keys [8]string
	r := reader{s: t.header, open: keys[:0]}
	for key := range r.members {
		switch key {
		case "alg":
			t.Alg = r.text()
		case "kid":
			t.KID, t.HasKID = r.text(), true
			if len(t.KID) > MaxKIDLen {
				r.fail("a kid that is too long")
			}
		case "typ":
			if t.Typ = r.text(); !strings.EqualFold(t.Typ, "JWT") {
				r.fail("a typ that is not JWT")
			}
		case "crit":
			r.fail("crit, of which nothing is known here")
		default:
			r.skip()
			continue
		}
		r.member(key)
	}
	return r.finish("header")
}

// finish returns the reader's error, or that something follows the JSON text.
func (r *reader) finish(part string) error {
	if r.next() != 0 || r.pos < len(r.s) {
		r.fail("something stands behind the end")
	}
	if r.err == "" {
		return nil
	}
	if r.want != "" {
		return malformed(r.in+" in its "+part+" is not "+r.want).WithHint("whoever issues the token must write %s as %s", r.in, r.want)
	}
	return malformed("its "+part+" is not as it must be: "+r.err).WithHint("whoever issues the token must write its %s as one JSON object without duplicate keys", part)
}

func malformed(what string) *Refusal {
	return &Refusal{
		Reason: Malformed,
		Detail: "the token cannot be read: " + what,
		Hint:   "check that the file holds one whole token and nothing else",
	}
}

func tooLarge(raw string) *Refusal {
	return Refuse(TooLarge, "the token has %d bytes, at most %d are read", len(raw), MaxTokenBytes).
		WithHint("check that the file holds one token and nothing else")
}

// SigningInput returns what the signature is over: the first two parts and the
// dot between them.
func (t *Token) SigningInput() string { return t.Raw[:strings.LastIndexByte(t.Raw, '.')] }

// Signature returns the signature, which may be empty. The caller must not change
// it.
func (t *Token) Signature() []byte { return t.signature }

// HeaderJSON returns the header as it stands in the token, to show it.
func (t *Token) HeaderJSON() string { return t.header }

// ClaimsJSON returns the claims as they stand in the token, to show them.
func (t *Token) ClaimsJSON() string { return t.payload }

// RevocationID returns the id under which the token is revoked: its jti, or
// "sha256:" and the hexadecimal SHA-256 of the compact form where it has none.
func (t *Token) RevocationID() string {
	if t.Claims.ID != "" {
		return t.Claims.ID
	}
	return hashID(digest(t.Raw))
}

// hashPrefix begins the revocation id of a token that has no jti.
const hashPrefix = "sha256:"

func hashID(sum [sha256.Size]byte) string { return hashPrefix + hex.EncodeToString(sum[:]) }
