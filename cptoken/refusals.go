package cptoken

import "time"

// The refusals of a verifier, in the words that operators see. Each says what is
// wrong and what to do next.

// firstOf returns the first refusal that is one.
func firstOf(refusals ...*Refusal) *Refusal {
	for _, r := range refusals {
		if r != nil {
			return r
		}
	}
	return nil
}

func wrongAlgorithm(kind Kind, t *Token) *Refusal {
	r := Refuse(UnsupportedAlgorithm, "the token is signed with %.20q, a %s must be signed with RS256", t.Alg, kind.TokenName())
	if t.Alg == AlgHS256 {
		return r.WithHint("a control plane token is for the zone control plane: issue a %s with: global generate %s", kind.TokenName(), kind.TokenName())
	}
	return r.WithHint("issue one with: global generate %s", kind.TokenName())
}

func unknownKey(view View, kind Kind, kid string) *Refusal {
	if e, ok := view.(EmptyView); ok && e.Empty() {
		return Refuse(NoKeys, "no keys are here yet to check the token with").
			WithHint("wait until this zone has reached the global once, see: zone status")
	}
	return Refuse(UnknownKey, "the token names the key %.40q, which is no key for a %s here", kid, kind.TokenName()).
		WithHint("the key was removed, or the token is of another cluster or mesh: issue a new one with: global generate %s", kind.TokenName())
}

func badSignature(kind Kind, kid string) *Refusal {
	return Refuse(BadSignature, "the token's signature is not that of the key %.40q for a %s", kid, kind.TokenName()).
		WithHint("the token was changed, or is of another cluster or kind: issue a new one with: global generate %s", kind.TokenName())
}

// notOfKind refuses a token whose claims are not those of the kind it was signed
// for.
func notOfKind(want Kind, t *Token) *Refusal {
	r := wrongKind(want, t.Claims.Kind)
	if foreign := t.foreignClaim(want); t.Claims.Kind == "" && foreign != "" {
		r.Detail += ": it has the claim " + foreign
	}
	return r
}

func unknownClaim(kind Kind, name string) *Refusal {
	return Refuse(UnknownClaim, "the %s has the claim %.80q, which is not known here and may bind it to something", kind.TokenName(), name).
		WithHint("issue it without this claim: names of claims begin with a capital letter, and their case matters, only where they bind")
}

func wrongKind(want, is Kind) *Refusal {
	r := Refuse(WrongKind, "the token's claims are not those of a %s", want.TokenName())
	if is != "" {
		r = Refuse(WrongKind, "the token is a %s, here a %s is asked for", is.TokenName(), want.TokenName())
	}
	return r.WithHint("issue one with: global generate %s", want.TokenName())
}

func expired(c *Claims) *Refusal {
	return Refuse(Expired, "the %s expired at %s", c.Kind.TokenName(), stamp(c.ExpiresAt)).WithHint("%s", anew(c.Kind))
}

func issuedAhead(c *Claims, now time.Time) *Refusal {
	return Refuse(NotYetValid, "the %s says that it was issued at %s, which is more than %s ahead of this machine's clock (%s)",
		c.Kind.TokenName(), stamp(c.IssuedAt), MaxSkew, stamp(now)).WithHint("check the clock of this machine and of the issuer")
}

func expiresUnissued(c *Claims) *Refusal {
	return Refuse(Malformed, "the %s expires at %s, which is not after it was issued (%s)", c.Kind.TokenName(), stamp(c.ExpiresAt), stamp(c.IssuedAt)).
		WithHint("%s", anew(c.Kind))
}

func notYetValid(c *Claims) *Refusal {
	return Refuse(NotYetValid, "the %s is not valid before %s", c.Kind.TokenName(), stamp(c.NotBefore)).
		WithHint("check this machine's clock")
}

func missingExpiry(kind Kind) *Refusal {
	return Refuse(MissingExpiry, "the %s does not say when it expires (exp)", kind.TokenName()).
		WithHint("issue it with an expiry, or allow none where its public key is registered")
}

func missingID(kind Kind) *Refusal {
	return Refuse(MissingID, "the %s has no id (jti)", kind.TokenName()).
		WithHint("issue it with a jti, or allow none where its public key is registered")
}

func revoked(kind Kind, id string) *Refusal {
	return Refuse(Revoked, "the %s with the id %.80q is revoked", kind.TokenName(), id).WithHint("%s", anew(kind))
}

func cutOff(c *Claims, before time.Time) *Refusal {
	r := Refuse(IssuedBeforeCutOff, "every %s issued before %s is refused", c.Kind.TokenName(), stamp(before))
	if c.IssuedAt.IsZero() {
		r = Refuse(IssuedBeforeCutOff, "every %s issued before %s is refused, and this one does not say when it was (iat)",
			c.Kind.TokenName(), stamp(before))
	}
	return r.WithHint("%s", anew(c.Kind))
}

// anew says how to get another token of a kind. Who has lost the last user token cannot ask
// for one with it: the node itself gives an administrator's.
func anew(kind Kind) string {
	if kind == User {
		return "issue a new one on the machine of a global: global admin-token --data-dir DIR; who has another good token can also: global generate user-token"
	}
	return "issue a new one with: global generate " + kind.TokenName()
}

func emptyZone(kind Kind) *Refusal {
	return Refuse(WrongZone, "the %s names no zone", kind.TokenName()).
		WithHint("issue one for the zone with: global generate %s --zone ZONE", kind.TokenName())
}

func notAllowed(id KeyID, format string, args ...any) *Refusal {
	r := Refuse(NotAllowed, format, args...)
	r.Detail = "the registered key " + id.String() + " may not vouch for " + r.Detail
	return r.WithHint("register the key with wider bounds, or issue within them")
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
