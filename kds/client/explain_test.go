package client

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
)

// TestAZoneTellsWhatIsWrongWithItsToken: the global tells who has proved nothing only that it
// was refused; what the zone can read in its own file it says by itself.
func TestAZoneTellsWhatIsWrongWithItsToken(t *testing.T) {
	part := base64.RawURLEncoding.EncodeToString
	token := func(claims string) string {
		return part([]byte(`{"alg":"RS256","kid":"1"}`)) + "." + part([]byte(claims)) + "." + part([]byte("none"))
	}
	for name, tc := range map[string]struct{ token, reason, want string }{
		"a zone token of egress":  {token(`{"Zone":"west","Scope":["egress"],"jti":"a","exp":2110684516}`), "out_of_scope", "a zone token of the scope egress, not cp"},
		"of egress, another zone": {token(`{"Zone":"east","Scope":["egress","ingress"],"jti":"a","exp":2110684516}`), "wrong_zone", "a zone token of the scope egress,ingress, not cp"},
		"of another zone":         {token(`{"Zone":"east","Scope":["cp"],"jti":"a","exp":2110684516}`), "wrong_zone", `names another zone, "east"`},
		"a user token":            {token(`{"Name":"jane","Groups":["admin"],"jti":"a","exp":2110684516}`), "", "is a user-token"},
		"nothing to say":          {token(`{"Zone":"west","Scope":["cp"],"jti":"a","exp":2110684516}`), "expired", "as it was"},
		"no token":                {"", kds.ReasonMissingToken, "as it was"},
		"no token of ours":        {"hello", "", "as it was"},
	} {
		c := New(Config{Zone: "west", Token: func() (string, error) { return tc.token, nil }})
		before := federation.Errorf(federation.Unauthenticated, "authentication failed").WithReason(tc.reason).WithHint("as it was")
		if e := c.aboutToken(before); !strings.Contains(e.Hint, tc.want) || e.Reason != tc.reason {
			t.Errorf("%s: %s, want %s", name, e.Hint, tc.want)
		}
	}
}

// TestAProxyIsNamed: gRPC dials through HTTPS_PROXY, and its errors do not say so.
func TestAProxyIsNamed(t *testing.T) {
	through := func(*http.Request) (*url.URL, error) {
		return &url.URL{Scheme: "http", Host: "proxy.example:3128"}, nil
	}
	direct := func(*http.Request) (*url.URL, error) { return nil, nil }
	refused := federation.Errorf(federation.Unavailable, "connection refused")
	e := throughProxy(refused, "global.example:5685", through)
	if !strings.HasSuffix(e.Detail, "(through the proxy proxy.example:3128)") || !strings.Contains(e.Hint, "NO_PROXY=global.example ") {
		t.Errorf("%s; hint: %s", e.Detail, e.Hint)
	}
	if e := throughProxy(refused, "global.example:5685", direct); e != refused {
		t.Errorf("without a proxy: %v", e)
	}
	if denied := federation.Errorf(federation.Unauthenticated, "no"); throughProxy(denied, "global.example:5685", through) != denied {
		t.Error("an answer of the global is taken for one of the proxy")
	}
}
