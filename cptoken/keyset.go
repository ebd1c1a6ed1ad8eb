package cptoken

import (
	"fmt"
	"slices"
	"strings"
)

// OutsideKeySets says why the key must not stand in a key set (RFC 7517), "" for
// nothing: a set has no words for what bounds a key, and who verifies with a copy of it
// would believe what a zone refuses. Scopes that were left out at registration bind
// nobody who reads the claim Scope.
func (k *PublicKey) OutsideKeySets() string {
	c := k.Registered
	if c == nil {
		return ""
	}
	var bounds []string
	if len(c.Zones) > 0 {
		bounds = append(bounds, "zones "+strings.Join(c.Zones, ", "))
	}
	if len(c.Scopes) > 0 && slices.ContainsFunc(DefaultScopes[:], func(s Scope) bool { return !slices.Contains(c.Scopes, s) }) {
		bounds = append(bounds, "scopes "+scopeList(c.Scopes))
	}
	if c.MaxLifetime > 0 {
		bounds = append(bounds, fmt.Sprintf("lifetime %s", c.MaxLifetime))
	}
	if len(bounds) == 0 {
		return ""
	}
	return "a key set cannot state its bounds: " + strings.Join(bounds, "; ")
}
