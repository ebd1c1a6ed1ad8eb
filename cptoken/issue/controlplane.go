package issue

import (
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/meridiankds/meridian/cptoken"
)

// ControlPlaneKeys finds the symmetric keys of control plane tokens.
type ControlPlaneKeys interface {
	// ControlPlaneKey returns the key of a serial, nil where it is unknown or
	// removed, and whether an operator imported it: tokens of such a key may lack
	// exp, iat and jti, because other programs issued them.
	ControlPlaneKey(serial uint64) (key *SigningKey, imported bool)
}

// VerifyControlPlane returns the claims of a control plane token that neither keys
// nor view has a reason to refuse at the time now. The key is the one whose serial
// the kid names or, without a kid, TokenSerialNumber; the claims have that serial
// either way. For which zone the token is good is for the caller to check
// (Claims.CheckControlPlane). The error is a cptoken.Refusal; until the signature
// is verified it depends on the header and the serial alone.
func VerifyControlPlane(raw string, keys ControlPlaneKeys, view cptoken.View, now time.Time) (*cptoken.Claims, error) {
	t, err := cptoken.Parse(raw)
	if err != nil {
		return nil, err
	}
	return verifyControlPlane(t, keys, view, now)
}

// AdmitControlPlane is VerifyControlPlane for who has parsed the token already, and
// opens something with it: the grant judges later whether it may go on.
func AdmitControlPlane(t *cptoken.Token, keys ControlPlaneKeys, view cptoken.View, now time.Time) (*cptoken.Claims, cptoken.Grant, error) {
	claims, err := verifyControlPlane(t, keys, view, now)
	if err != nil {
		return nil, cptoken.Grant{}, err
	}
	return claims, cptoken.GrantOf(view, t), nil
}

// SignedControlPlane is [cptoken.Signed] for control plane tokens.
func SignedControlPlane(t *cptoken.Token, keys ControlPlaneKeys) error {
	_, _, err := signerOf(t, keys)
	return err
}

// signerOf returns the serial of the key that signed a token, and whether it was imported.
func signerOf(t *cptoken.Token, keys ControlPlaneKeys) (serial uint64, imported bool, err error) {
	if t.Alg != cptoken.AlgHS256 {
		return 0, false, again(cptoken.Refuse(cptoken.UnsupportedAlgorithm,
			"the token is signed with %.20q, a control plane token must be signed with HS256", t.Alg))
	}
	if serial, err = keySerial(t); err != nil {
		return 0, false, err
	}
	key, imported := keys.ControlPlaneKey(serial)
	if key == nil || key.ref.Kind != cptoken.ControlPlane {
		return 0, false, unknownKey(t)
	}
	if jwt.SigningMethodHS256.Verify(t.SigningInput(), t.Signature(), key.secret().material) != nil {
		return 0, false, again(cptoken.Refuse(cptoken.BadSignature,
			"the token's signature is not that of the control plane key %d", serial))
	}
	return serial, imported, nil
}

func verifyControlPlane(t *cptoken.Token, keys ControlPlaneKeys, view cptoken.View, now time.Time) (*cptoken.Claims, error) {
	serial, imported, err := signerOf(t, keys)
	if err != nil {
		return nil, err
	}
	if err := checkShape(t, serial); err != nil {
		return nil, err
	}
	c := t.Claims
	c.TokenSerialNumber = serial
	if err := c.CheckTime(view, now); err != nil {
		return nil, err
	}
	if !imported {
		if err := checkComplete(&c); err != nil {
			return nil, err
		}
	}
	if err := c.CheckRevoked(view, cptoken.SerialKID(serial), t.RevocationID()); err != nil {
		return nil, err
	}
	return &c, nil
}

// keySerial returns the serial of the key that a token names.
func keySerial(t *cptoken.Token) (uint64, error) {
	if t.HasKID {
		serial, ok := cptoken.ParseSerialKID(t.KID)
		if !ok {
			return 0, unknownKey(t)
		}
		return serial, nil
	}
	if !t.HasSerial {
		return 0, again(cptoken.Refuse(cptoken.MissingKID,
			"the token does not say which key signed it: it has neither kid nor TokenSerialNumber"))
	}
	return t.Claims.TokenSerialNumber, nil
}

// checkShape refuses a token that is signed with a control plane key and is no
// control plane token, or that names two keys.
func checkShape(t *cptoken.Token, serial uint64) error {
	if err := t.CheckNames(cptoken.ControlPlane); err != nil {
		return err
	}
	switch {
	case t.Claims.Kind != cptoken.ControlPlane:
		return again(cptoken.Refuse(cptoken.WrongKind, "the token's claims are not those of a control plane token"))
	case t.HasSerial && t.Claims.TokenSerialNumber != serial:
		return again(cptoken.Refuse(cptoken.Malformed,
			"the token names two keys: %d by its kid and %d by its TokenSerialNumber", serial, t.Claims.TokenSerialNumber))
	case t.Claims.Zone == "":
		return again(cptoken.Refuse(cptoken.WrongZone, "the control plane token names no zone"))
	}
	return nil
}

// checkComplete refuses a token of a key that Meridian made and that lacks what
// every token of such a key has.
func checkComplete(c *cptoken.Claims) error {
	switch {
	case c.ExpiresAt.IsZero():
		return again(cptoken.Refuse(cptoken.MissingExpiry, "the control plane token does not say when it expires (exp)"))
	case c.ID == "":
		return again(cptoken.Refuse(cptoken.MissingID, "the control plane token has no id (jti)"))
	case c.IssuedAt.IsZero():
		return again(cptoken.Refuse(cptoken.Malformed, "the control plane token does not say when it was issued (iat)"))
	}
	return nil
}

func unknownKey(t *cptoken.Token) error {
	if t.HasKID {
		return again(cptoken.Refuse(cptoken.UnknownKey, "the token names the key %.40q, which is no control plane key here", t.KID))
	}
	return again(cptoken.Refuse(cptoken.UnknownKey, "the token names the control plane key %d, which is not here", t.Claims.TokenSerialNumber))
}

// again adds what to do about a token that cannot be mended.
func again(r *cptoken.Refusal) error {
	return r.WithHint("issue a new one with: global generate control-plane-token --zone ZONE")
}
