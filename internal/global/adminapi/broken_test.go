package adminapi

import (
	"strings"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// tampered is a store that has found a key to be broken.
type tampered struct{ Store }

func (tampered) Broken() []cptoken.KeyID { return []cptoken.KeyID{{Kind: cptoken.Zone, KID: "1"}} }

// TestBrokenKeysAreNamed: the list of keys and the state of the cluster name them.
func TestBrokenKeysAreNamed(t *testing.T) {
	e := newEnv(t, func(c *Config) { c.Store = tampered{c.Store} })
	var keys struct{ Items []apitypes.Key }
	e.want(200, "GET", "/v1/keys", nil, &keys)
	named := 0
	for _, k := range keys.Items {
		if k.Broken != (k.Kind == "zone" && k.KID == "1") {
			t.Errorf("%+v", k)
		}
		if k.Broken {
			named++
		}
	}
	var cluster apitypes.Cluster
	e.want(200, "GET", "/v1/cluster", nil, &cluster)
	if named != 1 || !strings.Contains(cluster.Warning, "zone/1 is broken") {
		t.Errorf("%d keys are named, and the warning is %q", named, cluster.Warning)
	}
}
