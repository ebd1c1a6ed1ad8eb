package apitypes

import "time"

// What became of a request, or of one change that it was to make.
const (
	// OutcomeApplied: it was made.
	OutcomeApplied = "applied"
	// OutcomeRefused: it was refused and changed nothing.
	OutcomeRefused = "refused"
	// OutcomePartly: of several changes some were made.
	OutcomePartly = "partly"
	// OutcomeUnknown: nothing is remembered under the id. Nothing was changed up to the
	// revision of the answer, unless it was more than ten minutes ago; the request may
	// still be on its way.
	OutcomeUnknown = "unknown"
)

// RequestOutcome is the answer of GET /v1/requests/{id}. It is the leader's, and as of a
// revision before which no change is missing.
type RequestOutcome struct {
	RequestID string          `json:"requestId"`
	Outcome   string          `json:"outcome"`
	Changes   []RequestChange `json:"changes"`
	Revision  string          `json:"revision"`
}

// RequestChange is one change that a request made, or was refused.
type RequestChange struct {
	Change  string `json:"change"` // what was to be done: "revoke", "activate-key"…
	Outcome string `json:"outcome"`
	// Revision is that at which it was made or refused, Changed how many things it
	// changed.
	Revision string     `json:"revision"`
	Changed  uint64     `json:"changed"`
	At       *time.Time `json:"at,omitempty"`
	// RememberedUntil is when it is forgotten.
	RememberedUntil *time.Time `json:"rememberedUntil,omitempty"`
	// Reason and Detail say why it was refused.
	Reason string `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`
}
