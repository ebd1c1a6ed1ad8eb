package cptoken

import (
	"strings"
	"testing"
	"time"
)

// TestWhoIsLockedOutIsToldTheWayIn: who has no good user token any more cannot have one
// issued with it. The node itself gives an administrator's.
func TestWhoIsLockedOutIsToldTheWayIn(t *testing.T) {
	user, zone := &Claims{Kind: User, Name: "jane"}, &Claims{Kind: Zone, Zone: "west"}
	for name, of := range map[string]func(*Claims) *Refusal{
		"expired":         expired,
		"never valid":     expiresUnissued,
		"revoked":         func(c *Claims) *Refusal { return revoked(c.Kind, "id") },
		"cut off":         func(c *Claims) *Refusal { return cutOff(c, time.Now()) },
		"of a former key": func(c *Claims) *Refusal { return (&Grant{Key: KeyID{Kind: c.Kind, KID: "1"}}).RemovedKey() },
	} {
		if hint := of(user).Hint; !strings.Contains(hint, "global admin-token --data-dir ") {
			t.Errorf("a user token that is %s: %s", name, hint)
		}
		if hint := of(zone).Hint; hint != "issue a new one with: global generate zone-token" {
			t.Errorf("a zone token that is %s: %s", name, hint)
		}
	}
}
