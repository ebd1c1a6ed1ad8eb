package xds

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/meridiankds/meridian/internal/test/policy"
)

// TestEveryMethodHasAPolicy: each method of gRPC has a row in the table of package
// preauth.
func TestEveryMethodHasAPolicy(t *testing.T) {
	n := 0
	for service, info := range New(Config{}).grpc.GetServiceInfo() {
		for _, method := range info.Methods {
			n++
			if what := "/" + service + "/" + method.Name; !policy.Covered(t, "zone", "proxies", what) {
				t.Errorf("%s has no row in the table of package preauth", what)
			}
			if r := grpcCall("/" + service + "/" + method.Name); !Is(r) {
				t.Errorf("%s is not taken for a call of this server", r.URL.Path)
			}
		}
	}
	if n < 3 {
		t.Errorf("%d methods were found", n)
	}
}

// grpcCall is a request that says it is one of gRPC.
func grpcCall(path string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, nil)
	r.ProtoMajor = 2
	r.Header.Set("Content-Type", "application/grpc")
	return r
}

// TestNothingElseIsACall: gRPC answers 200 to everything, which who asks whether a request
// may go on would take for a yes.
func TestNothingElseIsACall(t *testing.T) {
	for _, path := range []string{"/v1/authorize", "/v1/authorize/x", "/v1/authorise", "/", "/x/y", "/v1/authorize/envoy.service.auth.v3.Authorization/Check",
		"/envoy.service.auth.v3.AuthorizationX/Check", "/v1/jwks/zone"} {
		if Is(grpcCall(path)) {
			t.Errorf("%s is taken for a call of gRPC", path)
		}
	}
}
