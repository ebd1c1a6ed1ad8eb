package apitypes

import "time"

// Audit is the answer of GET /v1/audit: a page of what was done through the members
// and who was refused, newest first.
type Audit struct {
	Items []AuditRecord `json:"items"`
	Next  *string       `json:"next"`
	// Silent are the members that did not tell their part.
	Silent []string `json:"silent"`
	// Damaged is how many lines of the members' files could not be read.
	Damaged int `json:"damaged,omitempty"`
	// Since is from when on the members that answer have kept everything, on the first page;
	// absent where none has dropped anything yet.
	Since *time.Time `json:"since,omitempty"`
	// Began is the time of the oldest record that is kept, on the first page.
	Began *time.Time `json:"began,omitempty"`
}

// AuditRecord is one act or refusal.
type AuditRecord struct {
	Time   time.Time `json:"time"`
	Member string    `json:"member"` // whose clock, number and file it is
	Seq    uint64    `json:"seq"`
	// Class is change, revocation, issue or refusal.
	Class  string `json:"class"`
	User   string `json:"user,omitempty"` // empty: nobody proved who they are
	Via    string `json:"via,omitempty"`
	Remote string `json:"remote,omitempty"`
	// Action is the route, About what it was about.
	Action    string            `json:"action"`
	About     map[string]string `json:"about,omitempty"`
	RequestID string            `json:"requestId,omitempty"`
	// Outcome is done, rejected, refused, failed, unknown or begun.
	Outcome  string `json:"outcome"`
	Status   int    `json:"status,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Detail   string `json:"detail,omitempty"`
	Revision string `json:"revision,omitempty"`
	// Suppressed is how many refusals were left out before this one.
	Suppressed uint64 `json:"suppressed,omitempty"`
}
