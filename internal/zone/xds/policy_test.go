package xds

import (
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
		}
	}
	if n < 3 {
		t.Errorf("%d methods were found", n)
	}
}
