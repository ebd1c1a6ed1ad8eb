package tokens

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
)

func TestTokenLines(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	tests := []struct{ name, header, claims, want string }{
		{"control plane token of the users' documents' shape", `{"alg":"HS256","typ":"JWT"}`, `{"Zone":"west","TokenSerialNumber":1}`, `kind:       control-plane-token
algorithm:  HS256
id (jti):   none, it is revoked as sha256:
zone:       west
serial:     1
issued:     not said
expires:    never
`},
		{"dataplane token", `{"alg":"RS256","kid":"3"}`, `{"Name":"dp1","Mesh":"default","Tags":{"version":["2"],"kuma.io/service":["a","b"]},"Type":"","exp":1795435200,"nbf":1795348500,"iat":1795348800,"jti":"x"}`, `kind:        dataplane-token
algorithm:   RS256
key (kid):   3
id (jti):    x
mesh:        default
name:        dp1
tags:        kuma.io/service=a,b version=2
issued:      2026-11-22T12:00:00Z (0s ago)
not before:  2026-11-22T11:55:00Z (5m ago)
expires:     2026-11-23T12:00:00Z (in 1d)
`},
		{"user token that has expired", `{"alg":"RS256","kid":"1"}`, `{"Name":"jane\u001b[31m","Groups":["admin","ops"],"exp":1795345200,"jti":"y"}`, `kind:       user-token
algorithm:  RS256
key (kid):  1
id (jti):   y
name:       jane [31m
groups:     admin, ops
issued:     not said
expires:    2026-11-22T11:00:00Z (1h ago)
`},
		{"somebody else's", `{"alg":"none"}`, `{"sub":"x"}`, `kind:       unknown: the claims look like no token of ours
algorithm:  none
id (jti):   none, it is revoked as sha256:
issued:     not said
expires:    never
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token, err := cptoken.Inspect(unsigned(tt.header, tt.claims))
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if _, err := tokenLines(token, now).WriteTo(&b); err != nil {
				t.Fatal(err)
			}
			got := b.String()
			if id := token.RevocationID(); token.Claims.ID == "" {
				got = strings.Replace(got, id, "sha256:", 1)
			}
			if got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// unsigned makes a token in form, with a signature of nothing.
func unsigned(header, claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(header)) + "." + enc([]byte(claims)) + "." + enc([]byte("no signature"))
}
