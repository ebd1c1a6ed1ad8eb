package apitypes

import "time"

// RevokeRequest is the body of POST /v1/revocations: either a kind (and mesh)
// with ids, or a token, whose kind, mesh, id and expiry are then taken from its
// verified claims.
type RevokeRequest struct {
	Kind   string   `json:"kind,omitempty"`
	Mesh   string   `json:"mesh,omitempty"`
	IDs    []string `json:"ids,omitempty"`
	Token  string   `json:"token,omitempty"`
	Reason string   `json:"reason,omitempty"`
	// Compare holds ids against those of tokens that are known: see [Compared]. Nothing is
	// revoked where one of them is part of a known id.
	Compare bool `json:"compare,omitempty"`
}

// Compared is what is known of the ids that a request with compare revoked. The audit logs
// of the members and the list know ids; those of tokens that others signed are on neither.
type Compared struct {
	// Unknown are the ids that no token is known to have.
	Unknown []string `json:"unknown"`
	// Elsewhere are those that tokens of another kind or mesh have.
	Elsewhere []KnownID `json:"elsewhere,omitempty"`
	// Since is from when on the audit logs are complete; absent where nothing was dropped.
	Since *time.Time `json:"since,omitempty"`
	// Silent are members that did not answer: what they issued is not known.
	Silent []string `json:"silent,omitempty"`
	// Others are keys of the kind and mesh with which others sign, or may.
	Others []string `json:"others,omitempty"`
}

// KnownID is the id of a token.
type KnownID struct {
	ID   string `json:"id"`
	Kind string `json:"kind"`
	Mesh string `json:"mesh,omitempty"`
}

// MaxIDs is how many of the ids that a request named its answer repeats.
const MaxIDs = 5000

// Where a revocation counts.
const (
	// AtZones: at every zone that holds the answer's revision.
	AtZones = "zones"
	// AtGlobal: at the global, at once. The answer's revision is that of before,
	// since zones are not told.
	AtGlobal = "global"
)

// RevokeResult is the answer to a revocation: how many ids were new to the list,
// the revision at which zones have them, where they are in force (AtZones or
// AtGlobal), and the ids that were named, without repetitions. Where these are more
// than MaxIDs, IDs are the first of them and Named is their number.
type RevokeResult struct {
	Kind     string   `json:"kind"`
	Mesh     string   `json:"mesh,omitempty"`
	Revoked  int      `json:"revoked"`
	Revision string   `json:"revision"`
	InForce  string   `json:"inForce,omitempty"`
	Named    int      `json:"named,omitempty"`
	IDs      []string `json:"ids"`
	// Given is the number of ids that were sent as text, and Withdrawn how many of
	// them were withdrawn, also ones that were not on the list: only in answers of POST /v1/revocations/bulk,
	// which repeat no id.
	Given     int `json:"given,omitempty"`
	Withdrawn int `json:"withdrawn,omitempty"`
	// Unheeding are zones at which the revocation is not in force.
	Unheeding []UnheedingZone `json:"unheeding,omitempty"`
	// Warnings name zones at which it is, and what a revoked token opened before goes on.
	Warnings []string `json:"warnings,omitempty"`
	// Compared is there where the request asked for it, of MaxIDs ids at most.
	Compared *Compared `json:"compared,omitempty"`
}

// UnheedingZone is a zone that runs a version of Kuma's control plane which does not heed
// something.
type UnheedingZone struct {
	Zone    string `json:"zone"`
	Version string `json:"version,omitempty"`
	What    string `json:"what"` // such as "lists of zone tokens"
}

// WithdrawRequest is the body of POST /v1/revocations/withdraw.
type WithdrawRequest struct {
	Kind string   `json:"kind"`
	Mesh string   `json:"mesh,omitempty"`
	IDs  []string `json:"ids"`
}

// WithdrawResult is the answer to a withdrawal, as RevokeResult is.
type WithdrawResult struct {
	Kind      string   `json:"kind"`
	Mesh      string   `json:"mesh,omitempty"`
	Withdrawn int      `json:"withdrawn"`
	Revision  string   `json:"revision"`
	InForce   string   `json:"inForce,omitempty"`
	Named     int      `json:"named,omitempty"`
	IDs       []string `json:"ids"`
}

// POST /v1/revocations/bulk?kind=&mesh=&reason=&withdraw=&compare= takes ids as text/plain,
// one a line or separated by commas: all of them are one change, or none is made.

// Revocation is an item of GET /v1/revocations?kind=&mesh=&after=&limit=, which
// answers a List in the order of ids. Its Next continues after the last id. id=
// (a beginning), by=, reason= (a part) and since= filter; with a filter a page
// may have few items, even none, and still a Next.
type Revocation struct {
	ID string `json:"id"`
	// Expires is the token's own expiry where it is known.
	Expires *time.Time `json:"expires,omitempty"`
	Reason  string     `json:"reason,omitempty"`
	By      string     `json:"by,omitempty"`
	At      *time.Time `json:"at,omitempty"`
	// Index is where in the global's log it was revoked: a zone has it that acknowledged a
	// revision from there on.
	Index uint64 `json:"index,omitempty"`
}

// RevocationList is an item of GET /v1/revocation-lists.
type RevocationList struct {
	Kind    string `json:"kind"`
	Mesh    string `json:"mesh,omitempty"`
	Name    string `json:"name"` // of the secret under which users know the list
	Revoked int    `json:"revoked"`
}

// CutOffNow is a cut-off's Before that means now: the latest clock among the members
// that agree, so that nothing that was issued by then is left out.
const CutOffNow = "now"

// CutOffRequest is the body of POST /v1/cut-offs, and without Before and Reason of
// POST /v1/cut-offs/withdraw. Before is RFC 3339 and must not lie in the future, or
// [CutOffNow]; an
// empty KID means every key of the kind and mesh.
type CutOffRequest struct {
	Kind   string `json:"kind"`
	Mesh   string `json:"mesh,omitempty"`
	KID    string `json:"kid,omitempty"`
	Before string `json:"before,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// CutOff is an item of GET /v1/cut-offs: everything of the kind, mesh and key that
// was issued before a time is refused.
type CutOff struct {
	Kind   string     `json:"kind"`
	Mesh   string     `json:"mesh,omitempty"`
	KID    string     `json:"kid,omitempty"`
	Before *time.Time `json:"before,omitempty"`
	Reason string     `json:"reason,omitempty"`
	By     string     `json:"by,omitempty"`
	At     *time.Time `json:"at,omitempty"`
}

// CutOffResult is the answer to setting or withdrawing one: the cut-off as it is
// now, without Before where there is none any more. Changed is false where a later
// one was there already.
type CutOffResult struct {
	CutOff
	Changed  bool   `json:"changed"`
	Revision string `json:"revision"`
	// Unheeding are zones at which the cut-off is not in force.
	Unheeding []UnheedingZone `json:"unheeding,omitempty"`
}
