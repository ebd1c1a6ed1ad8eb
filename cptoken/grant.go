package cptoken

import (
	"crypto/sha256"
	"strings"
	"time"

	"github.com/meridiankds/meridian/internal/clock"
)

// Grant is what must be remembered of a verified token to judge later, without
// the token, whether what it opened may go on. It holds no secret, is a
// comparable value, and costs a look into a View to check: no parsing and no
// signature.
type Grant struct {
	// Key signed the token.
	Key KeyID
	// ID is the token's RevocationID.
	ID string
	// IssuedAt and ExpiresAt are the token's, zero where it has none.
	IssuedAt, ExpiresAt time.Time

	zone, scopes string            // what the token claims; bounds of a registered key may narrow
	fingerprint  [sha256.Size]byte // of Key; zero where no View has it
	foreign      bool              // proven to somebody else: no key and no list here decides over it
}

// ForeignGrant returns the grant of what was proven without a token of ours, for
// example to the API server of a Kubernetes cluster. It ends at expires alone,
// where that is not zero. id is for the log.
func ForeignGrant(id string, issued, expires time.Time) Grant {
	return Grant{ID: id, IssuedAt: issued, ExpiresAt: expires, foreign: true}
}

// GrantOf returns the grant of a token that was verified just now by other means than
// [Verifier.Admit]. It verifies nothing: for a token that nobody verified it means
// nothing.
func GrantOf(view View, t *Token) Grant {
	c := t.Claims
	kid := t.KID
	if !t.HasKID && c.Kind == ControlPlane {
		kid = SerialKID(c.TokenSerialNumber)
	}
	id := KeyID{Kind: c.Kind, KID: kid}
	if c.Kind.PerMesh() {
		id.Mesh = c.Mesh
	}
	return grantOf(&c, kid, t.RevocationID(), lookup(view, id))
}

// grantOf makes a grant of verified claims, the kid and the id under which the token
// is revoked, and its key; nil where no View has it.
func grantOf(c *Claims, kid, id string, key *PublicKey) Grant {
	g := Grant{Key: KeyID{Kind: c.Kind, KID: kid}, ID: id, IssuedAt: c.IssuedAt, ExpiresAt: c.ExpiresAt,
		zone: c.Zone, scopes: joinScopes(c.Scope)}
	if c.Kind.PerMesh() {
		g.Key.Mesh = c.Mesh
	}
	if key != nil {
		g.fingerprint = key.fingerprint
	}
	return g
}

// Check returns nil, or the Refusal for which what the token opened must end:
// Expired, KeyRemoved, Revoked, IssuedBeforeCutOff, or what the key's bounds, which
// may have been narrowed, do not allow. A clock that was set back ends nothing. No
// View has the key of a control plane token; whoever has it checks it.
func (g *Grant) Check(view View, now time.Time) error {
	if g.foreign {
		if clock.Ended(g.ExpiresAt, now) {
			return Refuse(Expired, "what was presented expired at %s", stamp(g.ExpiresAt)).WithHint("present a current credential")
		}
		return nil
	}
	c := Claims{Kind: g.Key.Kind, Registered: Registered{IssuedAt: g.IssuedAt, ExpiresAt: g.ExpiresAt}, Mesh: g.Key.Mesh, Zone: g.zone}
	if err := c.checkExpiry(view, now); err != nil {
		return err
	}
	if g.Key.Kind != ControlPlane {
		key := lookup(view, g.Key)
		if key == nil || key.fingerprint != g.fingerprint {
			return g.RemovedKey()
		}
		if key.Registered != nil {
			c.Scope = splitScopes(g.scopes)
		}
		if !strings.HasPrefix(g.ID, hashPrefix) {
			c.ID = g.ID
		}
		if err := key.vouches(&c, clock.Last(now, g.IssuedAt)); err != nil {
			return err
		}
	}
	return c.CheckRevoked(view, g.Key.KID, g.ID)
}

// joinScopes writes scopes as one comparable value.
func joinScopes(scopes []Scope) string {
	words := make([]string, len(scopes))
	for i, s := range scopes {
		words[i] = string(s)
	}
	return strings.Join(words, "\x00")
}

func splitScopes(joined string) []Scope {
	if joined == "" {
		return nil
	}
	var scopes []Scope
	for word := range strings.SplitSeq(joined, "\x00") {
		scopes = append(scopes, Scope(word))
	}
	return scopes
}

// RemovedKey is the Refusal for a grant whose key is not there any more.
func (g *Grant) RemovedKey() *Refusal {
	return Refuse(KeyRemoved, "the key %s that signed the %s was removed", g.Key.KID, g.Key.Kind.TokenName()).
		WithHint("%s", anew(g.Key.Kind))
}
