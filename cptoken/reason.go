package cptoken

import (
	"errors"
	"fmt"

	"github.com/meridiankds/meridian/federation"
)

// Reason is why a token was refused, as a word that programs can compare. The
// set is closed: answers of the HTTP APIs, logs and metrics carry these words.
type Reason string

// Reasons that a token is not believed.
const (
	Malformed            Reason = "malformed"             // not a token, or a claim of the wrong type
	TooLarge             Reason = "too_large"             // more than MaxTokenBytes
	UnsupportedAlgorithm Reason = "unsupported_algorithm" // not the one algorithm of this kind of token
	MissingKID           Reason = "missing_kid"           // names no key
	UnknownKey           Reason = "unknown_key"           // names a key that was never here or was removed
	BadSignature         Reason = "bad_signature"         // was not signed with the key that it names
	WrongKind            Reason = "wrong_kind"            // is a good token for something else
	UnknownClaim         Reason = "unknown_claim"         // has a claim that may narrow it in a way that is not known here
	Expired              Reason = "expired"
	NotYetValid          Reason = "not_yet_valid"
	MissingExpiry        Reason = "missing_expiry" // has no exp, and its key does not allow that
	MissingID            Reason = "missing_id"     // has no jti, and its key does not allow that
	Revoked              Reason = "revoked"
	IssuedBeforeCutOff   Reason = "cut_off" // issued before a cut-off, or not saying when
	// KeyRemoved ends what a token opened when its key is removed. A token that is
	// presented after that is refused as UnknownKey.
	KeyRemoved Reason = "key_removed"
)

// Reasons that a token, though believed, is not good for what was asked.
const (
	WrongZone   Reason = "wrong_zone"
	OutOfScope  Reason = "out_of_scope"
	WrongMesh   Reason = "wrong_mesh"
	WrongName   Reason = "wrong_name"
	WrongType   Reason = "wrong_type"
	TagMismatch Reason = "tag_mismatch"
	// WrongAudience: a user token is shown where it was not issued for.
	WrongAudience Reason = "wrong_audience"
	// WrongWorkload: the proxy's resource has not the label that the token names.
	WrongWorkload Reason = "wrong_workload"
	NotAllowed    Reason = "not_allowed" // the key may not vouch for this
	// NotProved: something is stated about the caller, and this verifier has callers
	// prove nothing.
	NotProved Reason = "not_proved"
	// Misconfigured: what is stated about the caller can be met by nobody.
	Misconfigured Reason = "misconfigured"
	// UnfitValue: a value of the token cannot be handed on as it is.
	UnfitValue Reason = "unfit_value"
)

// Reasons that lie with the verifier, not with the token.
const (
	NoKeys Reason = "no_keys" // the verifier knows nothing yet
	Stale  Reason = "stale"   // what the verifier knows is older than it may be
)

// code returns the code under which a refusal travels.
func (r Reason) code() federation.Code {
	switch r {
	case WrongZone, WrongAudience, OutOfScope, WrongMesh, WrongName, WrongType, TagMismatch, WrongWorkload, NotAllowed, NotProved, Misconfigured, UnfitValue:
		return federation.Forbidden
	case NoKeys, Stale:
		return federation.Unavailable
	}
	return federation.Unauthenticated
}

// Refusal is the error of every check of a token. Detail and Hint are for the
// operator; they contain no token, and nothing that the token claims unless its
// signature was verified before.
type Refusal struct {
	Reason Reason
	Detail string // one line: what is wrong
	Hint   string // one line: what to do next; may be empty
}

// Refuse returns a Refusal whose detail is made from format and args.
func Refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// WithHint returns a copy of r with the hint set.
func (r *Refusal) WithHint(format string, args ...any) *Refusal {
	c := *r
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// Error returns Detail.
func (r *Refusal) Error() string { return r.Detail }

// Unwrap returns r in the vocabulary of the federation: Unauthenticated where the
// token is not believed, Forbidden where it is not good for what was asked,
// Unavailable where the verifier cannot tell yet. The reason goes with it.
func (r *Refusal) Unwrap() error {
	return &federation.Error{Code: r.Reason.code(), Detail: r.Detail, Hint: r.Hint, Reason: string(r.Reason)}
}

// ReasonOf returns the reason of the first Refusal in err's chain, else that of
// the first federation.Error, else "".
func ReasonOf(err error) Reason {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Reason
	}
	var e *federation.Error
	if errors.As(err, &e) {
		return Reason(e.Reason)
	}
	return ""
}
