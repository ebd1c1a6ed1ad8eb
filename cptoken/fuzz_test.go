package cptoken

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// seeds adds every vector and some tokens of this run.
func seeds(f *testing.F, more ...string) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*.jwt"))
	if err != nil || len(files) < 50 {
		f.Fatalf("%d vectors: %v", len(files), err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(strings.TrimSuffix(string(b), "\n"))
	}
	for _, raw := range more {
		f.Add(raw)
	}
}

// FuzzParse: what is read has one spelling only, is JSON to everybody, and means
// to the standard library what it means here.
func FuzzParse(f *testing.F) {
	seeds(f, unsigned(header1, west)+".")
	f.Fuzz(func(t *testing.T, raw string) {
		tok, err := Parse(raw)
		if err != nil {
			if reason := ReasonOf(err); reason != Malformed && reason != TooLarge {
				t.Fatalf("reason %q", reason)
			}
			return
		}
		again := unsigned(tok.HeaderJSON(), tok.ClaimsJSON()) + "." + base64.RawURLEncoding.EncodeToString(tok.Signature())
		if again != raw {
			t.Fatalf("another spelling of %q", again)
		}
		if err := ValidateID("id", tok.RevocationID()); err != nil {
			t.Fatalf("cannot be revoked: %v", err)
		}
		sameToOthers(t, tok)
	})
}

// sameToOthers holds a token against encoding/json.
func sameToOthers(t *testing.T, tok *Token) {
	t.Helper()
	var header, claims map[string]any
	for text, into := range map[string]*map[string]any{tok.HeaderJSON(): &header, tok.ClaimsJSON(): &claims} {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber() // a claim that we pass over may be a number beyond float64
		if err := d.Decode(into); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	text := func(m map[string]any, key, ours string) {
		if theirs, _ := m[key].(string); theirs != ours {
			t.Fatalf("%s: read %q, encoding/json reads %q", key, ours, m[key])
		}
	}
	text(header, "alg", tok.Alg)
	text(header, "kid", tok.KID)
	c := tok.Claims
	text(claims, "Zone", c.Zone)
	text(claims, "Name", c.Name)
	text(claims, "Mesh", c.Mesh)
	text(claims, "Type", c.Type)
	text(claims, "jti", c.ID)
	if n, ok := claims["exp"].(json.Number); ok != !c.ExpiresAt.IsZero() {
		t.Fatalf("exp %v, read as %v", claims["exp"], c.ExpiresAt)
	} else if exp, err := n.Float64(); ok && (err != nil || float64(c.ExpiresAt.Unix()) > exp) {
		t.Fatalf("exp %v, read as %v", n, c.ExpiresAt)
	}
	list := func(key string, ours []string) {
		theirs, _ := claims[key].([]any)
		if len(theirs) != len(ours) {
			t.Fatalf("%s: %v, read as %q", key, theirs, ours)
		}
		for i, s := range ours {
			if theirs[i] != s {
				t.Fatalf("%s: %v, read as %q", key, theirs, ours)
			}
		}
	}
	scopes := make([]string, len(c.Scope))
	for i, s := range c.Scope {
		scopes[i] = string(s)
	}
	list("Scope", scopes)
	list("Groups", c.Groups)
	if tags, _ := claims["Tags"].(map[string]any); len(tags) != len(c.Tags) {
		t.Fatalf("Tags: %v, read as %v", tags, c.Tags)
	}
}

// FuzzVerify: whatever is presented, nothing is accepted but the tokens that were
// signed, and every refusal is typed.
func FuzzVerify(f *testing.F) {
	key := testKeys()[0]
	view := newView(
		publicKey(f, KeyID{Kind: Zone, KID: "1"}, key, nil),
		publicKey(f, KeyID{Kind: Dataplane, Mesh: "default", KID: "1"}, key, nil),
		publicKey(f, KeyID{Kind: User, KID: "1"}, key, nil),
	)
	signed := map[string]Kind{
		sign(f, key, header1, west): Zone,
		sign(f, key, header1, `{"Name":"","Mesh":"default","Tags":{"a":["b"]},"Type":"",`+times+`,"jti":"d"}`): Dataplane,
		sign(f, key, header1, `{"Name":"john","Groups":["admin"],`+times+`,"jti":"u"}`):                        User,
	}
	var more []string
	for raw := range signed {
		more = append(more, raw, raw[:len(raw)-1], raw+"A", strings.Replace(raw, ".", "..", 1))
	}
	seeds(f, more...)
	v := NewVerifier(VerifierOptions{Now: func() time.Time { return testNow }, CacheBytes: 64 << 10})
	f.Fuzz(func(t *testing.T, raw string) {
		for _, kind := range Kinds {
			c, err := v.Verify(view, kind, raw)
			is, ours := signed[raw]
			switch {
			case err == nil && (!ours || is != kind || c.Kind != kind):
				t.Fatalf("accepted as %s: %q", kind, raw)
			case err != nil && ours && is == kind:
				t.Fatalf("a good token is refused: %v", err)
			case err != nil && (ReasonOf(err) == "" || c != nil):
				t.Fatalf("an untyped refusal: %v", err)
			}
		}
	})
}
