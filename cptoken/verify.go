package cptoken

import (
	"crypto/sha256"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/meridiankds/meridian/internal/clock"
)

// DefaultCacheBytes bounds the verified signatures that a Verifier remembers
// where its options do not say.
const DefaultCacheBytes = 8 << 20

// VerifierOptions configure a Verifier. The zero value is good.
type VerifierOptions struct {
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// CacheBytes bounds the memory of the cache, approximately; 0 means
	// DefaultCacheBytes, less than 0 no cache.
	CacheBytes int
}

// Verifier checks tokens that are signed with RS256: zone, dataplane and user
// tokens. It is safe for concurrent use and starts nothing.
type Verifier struct {
	now   func() time.Time
	cache *cache
}

// NewVerifier returns a Verifier.
func NewVerifier(o VerifierOptions) *Verifier {
	v := &Verifier{now: o.Now}
	if v.now == nil {
		v.now = time.Now
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = DefaultCacheBytes
	}
	if o.CacheBytes > 0 {
		v.cache = newCache(o.CacheBytes)
	}
	return v
}

// EmptyView may be implemented by a View to say that it knows nothing at all yet.
// A token is then refused with NoKeys, which tells its holder to try again,
// instead of UnknownKey, which tells them that the token is bad.
type EmptyView interface {
	View
	Empty() bool
}

// Verify returns the claims of a token of the given kind that view has no reason
// to refuse. What the token may be used for is for the caller to check
// (CheckZoneProxy, CheckDataplane, CheckControlPlane).
//
// The slices and the map in the claims are shared with later calls and must not
// be changed. The error is a Refusal. Until the signature is verified it depends
// on the header alone, so that a forger learns nothing about what would pass.
func (v *Verifier) Verify(view View, kind Kind, raw string) (*Claims, error) {
	claims, _, _, err := v.verify(view, kind, raw, nil)
	return claims, err
}

// Admit is Verify for who opens something with the token: the grant judges later
// whether it may go on.
func (v *Verifier) Admit(view View, kind Kind, raw string) (*Claims, Grant, error) {
	return v.admit(view, kind, raw, nil)
}

// AdmitParsed is Admit for who has parsed the token already.
func (v *Verifier) AdmitParsed(view View, kind Kind, t *Token) (*Claims, Grant, error) {
	return v.admit(view, kind, t.Raw, t)
}

func (v *Verifier) admit(view View, kind Kind, raw string, t *Token) (*Claims, Grant, error) {
	claims, known, key, err := v.verify(view, kind, raw, t)
	if err != nil {
		return nil, Grant{}, err
	}
	return claims, grantOf(claims, known.kid, known.id, key), nil
}

// verify is the one path of all tokens. t is the token if it was parsed, else nil.
func (v *Verifier) verify(view View, kind Kind, raw string, t *Token) (*Claims, *verified, *PublicKey, error) {
	if len(raw) > MaxTokenBytes {
		return nil, nil, nil, tooLarge(raw)
	}
	if kind == ControlPlane || !kind.Valid() {
		return nil, nil, nil, Refuse(WrongKind, "tokens of kind %.20q are not checked here", kind)
	}
	sum := digest(raw)
	// The key, its state and everything that view decides are asked anew on each
	// hit; remembered is only that these bytes were signed with that key.
	if known := v.cache.get(sum); known != nil && known.claims.Kind == kind {
		key := lookup(view, KeyID{Kind: kind, Mesh: known.claims.Mesh, KID: known.kid})
		if key != nil && key.fingerprint == known.key {
			claims, err := known.admit(view, key, v.now())
			return claims, known, key, err
		}
	}
	known, key, err := check(view, kind, raw, t, sum)
	if err != nil {
		return nil, nil, nil, err
	}
	v.cache.put(sum, known)
	claims, err := known.admit(view, key, v.now())
	return claims, known, key, err
}

// digest returns the SHA-256 of a token. A token of usual size is copied to the
// stack: converted to bytes it would go to the heap, on every hit.
func digest(raw string) [sha256.Size]byte {
	var buf [1 << 10]byte
	if len(raw) > len(buf) {
		return sha256.Sum256([]byte(raw))
	}
	return sha256.Sum256(buf[:copy(buf[:], raw)])
}

// verified is a token whose signature was verified with a key. It is immutable.
type verified struct {
	claims  Claims
	kid     string
	id      string            // under which it is revoked
	key     [sha256.Size]byte // fingerprint of the key that signed it
	payload int               // bytes of the claim set, which the claims keep in memory
}

// check reads a token, unless t is it, and verifies its signature and kind.
func check(view View, kind Kind, raw string, t *Token, sum [sha256.Size]byte) (*verified, *PublicKey, error) {
	if t == nil {
		var err error
		if t, err = Parse(raw); err != nil {
			return nil, nil, err
		}
	}
	key, err := signer(view, kind, t)
	if err != nil {
		return nil, nil, err
	}
	if err := t.CheckNames(kind); err != nil {
		return nil, nil, err
	}
	if t.Claims.Kind != kind {
		return nil, nil, notOfKind(kind, t)
	}
	known := &verified{claims: t.Claims, kid: t.KID, id: t.Claims.ID, key: key.fingerprint, payload: len(t.payload)}
	if known.id == "" {
		known.id = hashID(sum)
	}
	return known, key, nil
}

// Signed returns nil if a key of view signed the token as one of the given kind, which
// is all that it proves: the token may have expired, be dated or bound as nobody accepts
// it here, or be revoked. Who revokes it asks so, because other programs may accept it.
func Signed(view View, kind Kind, t *Token) error {
	if !kind.AtZones() {
		return Refuse(WrongKind, "tokens of kind %.20q are not checked here", kind)
	}
	_, err := signer(view, kind, t)
	return err
}

// signer returns the key that signed a token of a kind.
func signer(view View, kind Kind, t *Token) (*PublicKey, error) {
	if t.Alg != AlgRS256 {
		return nil, wrongAlgorithm(kind, t)
	}
	if t.KID == "" {
		return nil, Refuse(MissingKID, "the token does not say which key signed it: its header has no kid").
			WithHint("issue it with a kid: global generate %s", kind.TokenName())
	}
	id := KeyID{Kind: kind, KID: t.KID}
	if kind.PerMesh() {
		id.Mesh = t.Claims.Mesh
	}
	key := lookup(view, id)
	if key == nil {
		return nil, firstOf(otherKind(view, kind, t), unknownKey(view, kind, t.KID))
	}
	if !signed(key, t) {
		return nil, firstOf(otherKind(view, kind, t), badSignature(kind, t.KID))
	}
	return key, nil
}

// CheckNames refuses a token of the given kind, whose signature was verified, for a
// claim that may narrow it in a way that is not known here.
func (t *Token) CheckNames(kind Kind) error {
	if name := t.oddClaim(kind); name != "" {
		return unknownClaim(kind, name)
	}
	return nil
}

// lookup returns the key that verifies tokens of id, or nil. A view should have no
// removed keys; one that slips in verifies nothing all the same.
func lookup(view View, id KeyID) *PublicKey {
	if key := view.Key(id); key != nil && key.State != Removed {
		return key
	}
	return nil
}

// signed reports whether key signed t, in its own algorithm and no other.
func signed(key *PublicKey, t *Token) bool {
	return key.Alg == t.Alg && jwt.SigningMethodRS256.Verify(t.SigningInput(), t.signature, key.rsa) == nil
}

// otherKind returns a WrongKind refusal where t is a token of another kind that
// was truly issued here, and nil otherwise. Who holds such a token learns nothing
// that they did not know; who does not, gets the same answer as ever.
func otherKind(view View, kind Kind, t *Token) *Refusal {
	looks := t.Claims.Kind
	if looks == kind || !looks.AtZones() {
		return nil
	}
	key := lookup(view, KeyID{Kind: looks, Mesh: t.Claims.Mesh, KID: t.KID})
	if key == nil || !signed(key, t) {
		return nil
	}
	return wrongKind(kind, looks)
}

// admit holds a token whose signature was verified against view and the clock.
func (k *verified) admit(view View, key *PublicKey, now time.Time) (*Claims, error) {
	c := k.claims // a copy: what the caller does to it must not stay
	if err := c.CheckTime(view, now); err != nil {
		return nil, err
	}
	if err := key.vouches(&c, now); err != nil {
		return nil, err
	}
	if err := c.CheckRevoked(view, k.kid, k.id); err != nil {
		return nil, err
	}
	return &c, nil
}

// vouches refuses claims that a key does not stand for: what every token must have
// and, where the key is registered, what is outside its bounds.
func (k *PublicKey) vouches(c *Claims, now time.Time) error {
	reg := k.Registered
	if c.ExpiresAt.IsZero() && (reg == nil || !reg.AllowNoExpiry || reg.MaxLifetime > 0) {
		return missingExpiry(c.Kind)
	}
	if c.ID == "" && (reg == nil || !reg.AllowNoID) {
		return missingID(c.Kind)
	}
	if c.Kind == Zone && c.Zone == "" {
		return emptyZone(c.Kind)
	}
	if reg != nil {
		return reg.check(c, k.ID, now)
	}
	return nil
}

// CheckTime refuses a token that has expired, or is not valid yet, at now, and one
// whose dates contradict each other. There is no leeway for nbf: tokens are made
// valid 5 minutes before they are issued. An iat may be MaxSkew ahead; what lies
// beyond was not issued yet, and would be later than every cut-off. A clock that was set
// back does not bring back what had expired when view was last pruned.
func (c *Claims) CheckTime(view View, now time.Time) error {
	if err := c.checkExpiry(view, now); err != nil {
		return err
	}
	if !c.ExpiresAt.IsZero() && !c.IssuedAt.IsZero() && !clock.Earlier(c.IssuedAt, c.ExpiresAt) {
		return expiresUnissued(c)
	}
	if !clock.Begun(c.NotBefore, now, 0) {
		return notYetValid(c)
	}
	if !clock.Begun(c.IssuedAt, now, MaxSkew) {
		return issuedAhead(c, now)
	}
	return nil
}

// checkExpiry refuses a token that has expired at now, or when view was last pruned.
func (c *Claims) checkExpiry(view View, now time.Time) error {
	if clock.Ended(c.ExpiresAt, clock.Last(now, view.Pruned())) {
		return expired(c)
	}
	return nil
}

// CheckRevoked refuses a token that view has revoked under id, which is its
// Token.RevocationID, or that was signed with the key of the given kid before a
// cut-off. A token that does not say when it was issued is older than any cut-off.
func (c *Claims) CheckRevoked(view View, kid, id string) error {
	if view.Revoked(c.Kind, c.Mesh, id) {
		return revoked(c.Kind, id)
	}
	if before := view.CutOff(c.Kind, c.Mesh, kid); !before.IsZero() && clock.Earlier(c.IssuedAt, before) {
		return cutOff(c, before)
	}
	return nil
}

// check refuses what a registered key may not vouch for.
func (r *Constraints) check(c *Claims, id KeyID, now time.Time) error {
	if len(r.Zones) > 0 && !slices.Contains(r.Zones, c.Zone) {
		return notAllowed(id, "zone %.80q", c.Zone)
	}
	if len(r.Scopes) > 0 {
		for _, s := range c.Scope {
			if !slices.Contains(r.Scopes, s) {
				return notAllowed(id, "scope %.20q", s)
			}
		}
	}
	if r.MaxLifetime > 0 {
		if c.IssuedAt.IsZero() {
			return notAllowed(id, "a token that does not say when it was issued (iat)")
		}
		if life := clock.Span(c.IssuedAt, c.ExpiresAt); life > r.MaxLifetime {
			return notAllowed(id, "a token for %s: at most %s", life, r.MaxLifetime)
		}
		// An iat that is ahead of the clock must not make the token live longer.
		if left := clock.Left(c.ExpiresAt, now); left > r.MaxLifetime {
			return notAllowed(id, "a token that lives for another %s: at most %s; its issuer's clock is ahead of this machine's", left.Round(time.Second), r.MaxLifetime)
		}
	}
	return nil
}
