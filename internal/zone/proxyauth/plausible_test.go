package proxyauth

import (
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/keyring"
)

// TestWhoseQuota: a name counts where what was presented proves it. A name that is only
// said shares no quota with anybody but the holders of the same token.
func TestWhoseQuota(t *testing.T) {
	of := func(id, name string) *Admission {
		return &Admission{Method: keyring.DataplaneToken, Zone: "west", TokenID: id, Proxy: Proxy{Type: cptoken.TypeDataplane, Mesh: "default", Name: "a"},
			Claims: &cptoken.Claims{Kind: cptoken.Dataplane, Mesh: "default", Name: name}, Grant: cptoken.ForeignGrant(id, time.Time{}, time.Time{})}
	}
	zone := func(id string) *Admission {
		a := of(id, "")
		a.Method, a.Claims, a.Proxy = keyring.ZoneToken, &cptoken.Claims{Kind: cptoken.Zone, Zone: "west"}, Proxy{Type: cptoken.TypeIngress, Name: "a"}
		return a
	}
	account := func(name, pod string) *Admission {
		a := of("", "")
		a.Method, a.Claims, a.Account = keyring.ServiceAccountToken, nil, &Account{Namespace: "n", Name: name, Pod: pod}
		return a
	}
	other := of("1", "")
	other.Proxy.Name = "b"
	for name, tc := range map[string]struct {
		a, b   *Admission
		same   bool
		shared bool // the token of a has a quota too
	}{
		"two tokens for one name":             {of("1", "a"), of("2", "a"), true, false},
		"a token that only says the name":     {of("1", ""), of("2", "a"), false, true},
		"two tokens that only say it":         {of("1", ""), of("2", ""), false, true},
		"one token, one name said twice":      {of("1", ""), of("1", ""), true, true},
		"one token, two names":                {of("1", ""), other, false, true},
		"two zone tokens, one name":           {zone("1"), zone("2"), false, true},
		"two tokens of a pod":                 {account("sa", "p"), account("sa", "p"), true, false},
		"an account without a pod says a pod": {account("other", ""), account("sa", "a"), false, true},
	} {
		a, b := tc.a.Identity(), tc.b.Identity()
		if (a == b) != tc.same || (a.Shared != "") != tc.shared {
			t.Errorf("%s: %+v and %+v", name, a, b)
		}
	}
	if one, two := of("1", "").Identity(), other.Identity(); one.Shared != two.Shared {
		t.Errorf("the names of one token share no quota: %q, %q", one.Shared, two.Shared)
	}
}

// TestARefusalNamesTheTokensKind: a token of a key that is gone, or that never was, is
// refused as the kind that it is of, whatever the zone's other proxies show.
func TestARefusalNamesTheTokensKind(t *testing.T) {
	auth := newAuth(t, newCopy(t), keyring.Settings{}, nil)
	for name, tc := range map[string]struct {
		token  string
		reason cptoken.Reason
		says   string
	}{
		"a zone token of a removed key":      {sign(t, ownKey(), "7", registered(zoneClaims("egress"))), cptoken.UnknownKey, "zone-token"},
		"a dataplane token of a removed key": {sign(t, ownKey(), "7", registered(meshClaims())), cptoken.UnknownKey, "dataplane-token"},
		"a forged zone token":                {sign(t, ownKey(), "1", registered(zoneClaims("egress"))), cptoken.BadSignature, "zone-token"},
		"a forged dataplane token":           {sign(t, ownKey(), "1", registered(meshClaims())), cptoken.BadSignature, "dataplane-token"},
	} {
		err := auth.Plausible(t.Context(), tc.token)
		if cptoken.ReasonOf(err) != tc.reason || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want %s of a %s", name, err, tc.reason, tc.says)
		}
	}
	if err := auth.Plausible(t.Context(), sign(t, globalKey(), "1", registered(zoneClaims("egress")))); err != nil {
		t.Errorf("a good zone token: %v", err)
	}
}
