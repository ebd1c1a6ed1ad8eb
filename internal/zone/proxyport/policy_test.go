package proxyport

import (
	"testing"

	"github.com/meridiankds/meridian/internal/test/policy"
)

// TestEveryRouteHasAPolicy: each route of the port for proxies has a row in the table of
// package preauth.
func TestEveryRouteHasAPolicy(t *testing.T) {
	for path, methods := range New(Config{}).proxyRoutes() {
		for method := range methods {
			if what := method + " " + path; !policy.Covered(t, "zone", "proxies", what) {
				t.Errorf("%s has no row in the table of package preauth", what)
			}
		}
	}
	if policy.Covered(t, "zone", "proxies", "POST /another") {
		t.Error("the table covers what is not served: the test proves nothing")
	}
}
