package cptoken

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// TestMalformedNamesTheClaim: whoever issues tokens learns which claim is wrong and
// how to write it, and nothing of an unverified token is repeated.
func TestMalformedNamesTheClaim(t *testing.T) {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	const header, payload = `{"alg":"RS256","kid":"1"}`, `{"Mesh":"default"}`
	for name, want := range map[[2]string][2]string{
		{header, `{"Scope":"egress"}`}:                   {"Scope in its claim set is not an array of strings", "Scope as an array of strings"},
		{header, `{"exp":"1800000000"}`}:                 {"exp in its claim set is not a number", "exp as a number, the seconds since 1970"},
		{header, `{"Mesh":"default","Name":7}`}:          {"Name in its claim set is not a string", "Name as a string"},
		{header, `{"Tags":{"kuma.io/service":"x"}}`}:     {"Tags in its claim set", "Tags as an object of arrays of strings"},
		{header, `{"jti":"a b"}`}:                        {"jti in its claim set", "jti as a string"},
		{header, `{"TokenSerialNumber":1.5}`}:            {"TokenSerialNumber", "a whole number"},
		{`{"alg":"RS256","kid":1}`, payload}:             {"kid in its header is not a string", "kid as a string"},
		{`{"alg":"RS256","kid":"1","typ":"x"}`, payload}: {"typ in its header is not JWT", "typ as JWT"},
		{header, `{"x-secret":"a","x-secret":"b"}`}:      {"a key stands twice", "without duplicate keys"},
		{header, `{"x-secret":nope}`}:                    {"its claim set is not as it must be", "one JSON object"},
	} {
		_, err := Parse(part(name[0]) + "." + part(name[1]) + ".AAAA")
		var r *Refusal
		if !errors.As(err, &r) || r.Reason != Malformed || !strings.Contains(r.Detail, want[0]) || !strings.Contains(r.Hint, want[1]) || strings.Contains(r.Detail+r.Hint, "x-secret") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
