package apiclient

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

func TestAuthenticate(t *testing.T) {
	tests := []struct {
		name    string
		status  int
		body    any
		refused bool
		code    federation.Code
	}{
		{"accepted", 200, apitypes.Identity{Kind: "zone", Zone: "west", Revision: "r@1"}, false, ""},
		{"refused", 403, apitypes.Error{Title: "Access Denied", Detail: "for west", Reason: "wrong_zone"}, true, federation.Forbidden},
		{"not believed", 401, apitypes.Error{Title: "Unauthenticated", Detail: "expired", Reason: "expired"}, true, federation.Unauthenticated},
		{"no keys", 503, apitypes.Error{Title: "Unavailable", Detail: "knows no keys", Reason: "no_keys"}, true, federation.Unavailable},
		{"asked wrongly", 400, apitypes.Error{Title: "Bad Request", Detail: "mesh: must not be empty"}, false, federation.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, tt.status, tt.body) }))
			t.Cleanup(server.Close)
			p, err := NewProxies(Target{Service: ProxyPort(), Address: server.URL}, "zone/test")
			if err != nil {
				t.Fatal(err)
			}
			p.c.http = server.Client()
			_, err = p.Authenticate(t.Context(), apitypes.AuthenticateRequest{Token: "x", ProxyType: "egress"})
			if Refused(err) != tt.refused || federation.CodeOf(err) != tt.code {
				t.Errorf("refused %v, %v", Refused(err), err)
			}
			// The zone is asked about another's token: advice about one's own
			// would mislead.
			if e := federation.AsError(err); e != nil && e.Hint != "" {
				t.Errorf("hint %q", e.Hint)
			}
		})
	}
}
