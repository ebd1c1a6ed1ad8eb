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
}

// RevokeResult is the answer to a revocation: how many ids were new to the list,
// the revision at which zones have them, and the ids that were named.
type RevokeResult struct {
	Kind     string   `json:"kind"`
	Mesh     string   `json:"mesh,omitempty"`
	Revoked  int      `json:"revoked"`
	Revision string   `json:"revision"`
	IDs      []string `json:"ids"`
}

// WithdrawRequest is the body of POST /v1/revocations/withdraw.
type WithdrawRequest struct {
	Kind string   `json:"kind"`
	Mesh string   `json:"mesh,omitempty"`
	IDs  []string `json:"ids"`
}

// WithdrawResult is the answer to a withdrawal.
type WithdrawResult struct {
	Kind      string   `json:"kind"`
	Mesh      string   `json:"mesh,omitempty"`
	Withdrawn int      `json:"withdrawn"`
	Revision  string   `json:"revision"`
	IDs       []string `json:"ids"`
}

// Revocation is an item of GET /v1/revocations?kind=&mesh=&after=&limit=, which
// answers a List in the order of ids. Its Next continues after the last id.
type Revocation struct {
	ID string `json:"id"`
	// Expires is the token's own expiry where it is known.
	Expires *time.Time `json:"expires,omitempty"`
	Reason  string     `json:"reason,omitempty"`
	By      string     `json:"by,omitempty"`
	At      *time.Time `json:"at,omitempty"`
}
