package issue

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// MaxValidity is the longest validity that a token may be asked for.
const MaxValidity = 100 * 365 * 24 * time.Hour

// backdate is how long before iat a token is valid already, for verifiers whose
// clocks are slow.
const backdate = 5 * time.Minute

// Issue is Draft and Sign in one.
func (k *SigningKey) Issue(c cptoken.Claims, validFor time.Duration, now time.Time) (string, *cptoken.Claims, error) {
	return k.issue(k.secret().header, c, validFor, now)
}

// IssueWithKID is Issue for a key that verifiers know under another kid than its
// serial: one whose public part is registered. It is not for control plane tokens.
func (k *SigningKey) IssueWithKID(kid string, c cptoken.Claims, validFor time.Duration, now time.Time) (string, *cptoken.Claims, error) {
	if err := cptoken.ValidateKID("kid", kid); err != nil {
		return "", nil, err
	}
	if k.secret().rsa == nil {
		return "", nil, federation.InvalidField("kid", "a %s has its key's serial", k.ref.Kind.TokenName())
	}
	return k.issue(encodeHeader(cptoken.AlgRS256, kid), c, validFor, now)
}

func (k *SigningKey) issue(header string, c cptoken.Claims, validFor time.Duration, now time.Time) (string, *cptoken.Claims, error) {
	d, err := k.draft(header, c, validFor, now)
	if err != nil {
		return "", nil, err
	}
	token, err := d.Sign()
	if err != nil {
		return "", nil, err
	}
	return token, &d.Claims, nil
}

// Draft is a token that is not signed yet: nobody accepts it, and everything about
// it is known, so that it can be written down before it exists.
type Draft struct {
	Claims cptoken.Claims // not to be changed: the token has them already
	key    *SigningKey
	input  string // what is signed
}

// Draft makes a token with claims c at the time now, valid for validFor (0:
// cptoken.DefaultValidity), up to its signature. c.Kind may be empty; the registered
// claims and TokenSerialNumber of c are overwritten. A zone token without scope gets
// cptoken.DefaultScopes.
//
// The error is Invalid and names the field as the HTTP API spells it, or TooLarge
// where the token would have more than cptoken.MaxTokenBytes.
func (k *SigningKey) Draft(c cptoken.Claims, validFor time.Duration, now time.Time) (*Draft, error) {
	return k.draft(k.secret().header, c, validFor, now)
}

func (k *SigningKey) draft(header string, c cptoken.Claims, validFor time.Duration, now time.Time) (*Draft, error) {
	if err := k.complete(&c, validFor, now); err != nil {
		return nil, err
	}
	payload, err := encodeClaims(&c)
	if err != nil {
		return nil, err
	}
	input := header + "." + payload
	signatureLen := base64.RawURLEncoding.EncodedLen(k.signatureLen())
	if n := len(input) + 1 + signatureLen; n > cptoken.MaxTokenBytes {
		return nil, federation.Errorf(federation.TooLarge, "the token would have %d bytes, at most %d are accepted", n, cptoken.MaxTokenBytes).
			WithHint("name fewer tags, values or groups")
	}
	return &Draft{Claims: c, key: k, input: input}, nil
}

// Sign returns the token.
func (d *Draft) Sign() (string, error) {
	signature, err := d.key.sign(d.input)
	if err != nil {
		return "", err
	}
	return d.input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func (k *SigningKey) signatureLen() int {
	if k.secret().rsa == nil {
		return symmetricLen
	}
	return k.secret().rsa.Size()
}

// complete checks c and sets what the key and the time decide. Slices and maps are
// copied: the claims that are returned are the token's, not the caller's.
func (k *SigningKey) complete(c *cptoken.Claims, validFor time.Duration, now time.Time) error {
	if c.Kind != "" && c.Kind != k.ref.Kind {
		return federation.InvalidField("kind", "the key %s signs no %s", k.ref, c.Kind.TokenName())
	}
	c.Kind = k.ref.Kind
	c.TokenSerialNumber = 0
	c.RenewableUntil, c.Renewal, c.Root = time.Time{}, 0, ""
	if c.Kind == cptoken.Zone && len(c.Scope) == 0 {
		c.Scope = cptoken.DefaultScopes[:]
	}
	if err := c.Validate(); err != nil {
		return err
	}
	if c.Mesh != k.ref.Mesh {
		return federation.InvalidField("mesh", "the key %s signs for another mesh", k.ref)
	}
	c.Scope, c.Groups, c.Audience, c.Tags = slices.Clone(c.Scope), slices.Clone(c.Groups), slices.Clone(c.Audience), maps.Clone(c.Tags)
	for tag, values := range c.Tags {
		c.Tags[tag] = slices.Clone(values)
	}
	if c.Kind == cptoken.ControlPlane {
		c.TokenSerialNumber = k.ref.Serial
	}
	return register(&c.Registered, validFor, now)
}

// register sets the registered claims.
func register(r *cptoken.Registered, validFor time.Duration, now time.Time) error {
	switch {
	case validFor == 0:
		validFor = cptoken.DefaultValidity
	case validFor < time.Second:
		return federation.InvalidField("validFor", "must be at least 1s, is %s", validFor)
	case validFor > MaxValidity:
		return federation.InvalidField("validFor", "must be at most %s (100 years), is %s", MaxValidity, validFor)
	}
	id, err := newID()
	if err != nil {
		return err
	}
	issued := now.UTC().Truncate(time.Second)
	*r = cptoken.Registered{
		ID:        id,
		ExpiresAt: issued.Add(validFor.Truncate(time.Second)),
		NotBefore: issued.Add(-backdate),
		IssuedAt:  issued,
	}
	return nil
}

// newID returns a random UUID (RFC 9562, version 4).
func newID() (string, error) {
	var u [16]byte
	if _, err := rand.Read(u[:]); err != nil {
		return "", federation.Errorf(federation.Internal, "no random bytes for a token's id: %w", err)
	}
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
}

// encodeHeader returns the header, encoded. A kid is plain ASCII without quotes.
func encodeHeader(alg, kid string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"` + alg + `","kid":"` + kid + `","typ":"JWT"}`))
}

// registered are the registered claims in the order in which Kuma writes them.
type registered struct {
	ExpiresAt int64  `json:"exp"`
	NotBefore int64  `json:"nbf"`
	IssuedAt  int64  `json:"iat"`
	ID        string `json:"jti"`
}

// The claims of each kind, in the order in which Kuma writes them.
type (
	controlPlaneClaims struct {
		Zone              string
		TokenSerialNumber uint64
		registered
	}
	zoneClaims struct {
		Zone  string
		Scope []cptoken.Scope
		registered
	}
	dataplaneClaims struct {
		Name string
		Mesh string
		Tags map[string][]string
		Type string
		// Workload is left out where it is empty: Kuma before 2.13 knows no such claim.
		Workload string `json:",omitempty"`
		registered
	}
	userClaims struct {
		Name     string
		Groups   []string
		Audience []string `json:"aud,omitempty"`
		registered
	}
)

// encodeClaims returns the claims, encoded. Lists that are empty are written as
// such, not as null.
func encodeClaims(c *cptoken.Claims) (string, error) {
	r := registered{c.ExpiresAt.Unix(), c.NotBefore.Unix(), c.IssuedAt.Unix(), c.ID}
	var claims any
	switch c.Kind {
	case cptoken.ControlPlane:
		claims = controlPlaneClaims{c.Zone, c.TokenSerialNumber, r}
	case cptoken.Zone:
		claims = zoneClaims{c.Zone, c.Scope, r}
	case cptoken.Dataplane:
		tags := c.Tags
		if tags == nil {
			tags = map[string][]string{}
		}
		claims = dataplaneClaims{c.Name, c.Mesh, tags, c.Type, c.Workload, r}
	case cptoken.User:
		claims = userClaims{c.Name, append([]string{}, c.Groups...), c.Audience, r}
	}
	b, err := json.Marshal(claims)
	if err != nil {
		return "", federation.Errorf(federation.Internal, "the claims cannot be written: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}
