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
	if named != 1 || !strings.Contains(cluster.Warning, "key zone-token 1 is broken") {
		t.Errorf("%d keys are named, and the warning is %q", named, cluster.Warning)
	}
}

// unopened is a store that lacks the seal key of every user key.
type unopened struct{ Store }

func (unopened) CanSign() error { return keeper{}.CanSign() }

func (u unopened) View() cptoken.View { return noUserKeys{u.Store.View()} }

type noUserKeys struct{ cptoken.View }

func (v noUserKeys) Key(id cptoken.KeyID) *cptoken.PublicKey {
	if id.Kind == cptoken.User {
		return nil
	}
	return v.View.Key(id)
}

// TestATokenOfAKeyThatCannotBeOpened is not called bad by a member that cannot tell.
func TestATokenOfAKeyThatCannotBeOpened(t *testing.T) {
	e := newEnv(t)
	token := e.token("user", map[string]any{"name": "ann", "groups": []string{"mesh-system:admin"}})
	e.api.store = unopened{e.api.store}
	w := e.raw("GET", "/v1/keys", nil, "Authorization", "Bearer "+token)
	if w.Code != 503 || !strings.Contains(w.Body.String(), "seal") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
