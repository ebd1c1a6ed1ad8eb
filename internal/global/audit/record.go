package audit

import (
	"slices"
	"strings"
	"time"

	"github.com/meridiankds/meridian/internal/clock"
)

// Class sorts records by who can cause them.
type Class string

// The classes.
const (
	Change     Class = "change"     // what takes an administrator
	Revocation Class = "revocation" // what revokers may do
	Issue      Class = "issue"      // a token was issued
	Refusal    Class = "refusal"    // somebody was refused
)

// Classes lists them all.
var Classes = [...]Class{Change, Revocation, Issue, Refusal}

// Outcome is how an act ended.
type Outcome string

// The outcomes.
const (
	Begun    Outcome = "begun"    // not known yet
	Done     Outcome = "done"     // it took effect
	Rejected Outcome = "rejected" // it was allowed and not possible; nothing changed
	Refused  Outcome = "refused"  // who asked may not
	Failed   Outcome = "failed"   // it broke; nothing changed as far as the node knows
	Unknown  Outcome = "unknown"  // nobody knows: the process or the leader was lost meanwhile
)

// Record is one line.
type Record struct {
	// Seq counts a member's records from 1, Time is the member's clock in UTC.
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"`
	// Member is the node's id. It is not in the files, which are that node's own.
	Member string `json:"member,omitempty"`
	Class  Class  `json:"class"`

	User   string `json:"user,omitempty"` // empty: who did not prove who they are
	Via    string `json:"via,omitempty"`  // token, cert, socket, loopback, kds
	Remote string `json:"remote,omitempty"`

	// Action is the command in its own words, or what else was asked for; About what it was about: kind,
	// jti, zone, mesh, key, expires and so on, never a token or key.
	Action string            `json:"action"`
	About  map[string]string `json:"about,omitempty"`

	RequestID string  `json:"requestId,omitempty"`
	Outcome   Outcome `json:"outcome"`
	Status    int     `json:"status,omitempty"` // of the HTTP answer
	Reason    string  `json:"reason,omitempty"`
	Detail    string  `json:"detail,omitempty"`
	// Revision is the state's after the act.
	Revision string `json:"revision,omitempty"`

	// Began is the Seq of the record that an act began with.
	Began uint64 `json:"began,omitempty"`
	// Suppressed is how many refusals were left out before this one.
	Suppressed uint64 `json:"suppressed,omitempty"`
}

// The bounds of a record: what a caller can have written.
const (
	maxText  = 200
	maxAbout = 24
)

// bound cuts what is too long.
func (r *Record) bound() {
	for _, text := range []*string{&r.User, &r.Via, &r.Remote, &r.Action, &r.RequestID, &r.Reason, &r.Detail, &r.Revision} {
		*text = clip(*text)
	}
	if len(r.About) == 0 {
		return
	}
	about := make(map[string]string, len(r.About))
	for name, value := range r.About {
		if len(about) < maxAbout && value != "" {
			about[clip(name)] = clip(value)
		}
	}
	r.About = about
}

func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

// Query says which records are wanted. The zero Query wants all.
type Query struct {
	// Before is the Seq below which records are wanted; 0: from the newest.
	Before uint64 `json:"before,omitempty"`
	Limit  int    `json:"limit"`

	Since     time.Time `json:"since,omitzero"`
	Until     time.Time `json:"until,omitzero"`
	Class     Class     `json:"class,omitempty"`
	Outcome   Outcome   `json:"outcome,omitempty"`
	User      string    `json:"user,omitempty"`
	RequestID string    `json:"requestId,omitempty"`
	// About is a value that one of About has: a jti, a zone, a key.
	About string `json:"about,omitempty"`
	// Tokens are ids: only records of tokens that have one of them are wanted, and of those
	// whose ids one of Near resembles, see [Resembles].
	Tokens []string `json:"tokens,omitempty"`
	Near   []string `json:"near,omitempty"`
}

// aboutTokens returns whether a record is of one of the tokens that are asked for.
func (q *Query) aboutTokens() func(*Record) bool {
	if len(q.Tokens)+len(q.Near) == 0 {
		return func(*Record) bool { return true }
	}
	asked := make(map[string]bool, len(q.Tokens))
	for _, id := range q.Tokens {
		asked[id] = true
	}
	return func(r *Record) bool {
		id := r.About["jti"]
		return id != "" && (asked[id] || slices.ContainsFunc(q.Near, func(text string) bool { return Resembles(text, id) }))
	}
}

// leastPart is how much of an id says which one is meant.
const leastPart = 4

// Resembles reports whether a text is an id that is cut off, in capitals or with something
// around it.
func Resembles(text, id string) bool {
	text = strings.ToLower(text)
	return len(text) >= leastPart && strings.HasPrefix(id, text) || strings.Contains(text, id)
}

// wants reports whether r is asked for.
func (q *Query) wants(r *Record) bool {
	return (q.Since.IsZero() || !clock.Earlier(r.Time, q.Since)) && (q.Until.IsZero() || clock.Earlier(r.Time, q.Until)) &&
		(q.Class == "" || r.Class == q.Class) && (q.Outcome == "" || r.Outcome == q.Outcome) &&
		(q.User == "" || r.User == q.User) && (q.RequestID == "" || r.RequestID == q.RequestID) &&
		(q.About == "" || r.mentions(q.About))
}

func (r *Record) mentions(value string) bool {
	for _, v := range r.About {
		if v == value {
			return true
		}
	}
	return false
}

// Page is an answer to a [Query], newest first.
type Page struct {
	Records []Record `json:"records"`
	// Next is what Before is for the rest; 0: there is none. A page may have fewer
	// records than were asked for and still have a rest.
	Next uint64 `json:"next,omitempty"`
	// Damaged is how many lines could not be read.
	Damaged int `json:"damaged,omitempty"`
	// Since is from when on every record of the classes that were asked for is kept, in the
	// first page of an answer; zero where none has been dropped yet. Began is the time of the
	// oldest of them.
	Since time.Time `json:"since,omitzero"`
	Began time.Time `json:"began,omitzero"`
}
