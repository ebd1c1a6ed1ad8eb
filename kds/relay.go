package kds

import (
	"context"
	"fmt"
	"io"
)

// Relay answers what zones pass on for their users. It decides alone whether the
// zone may ask and the user may have; the server has authenticated the zone.
type Relay interface {
	// DataplaneToken issues a dataplane token, or returns an error for the user.
	DataplaneToken(ctx context.Context, zone string, r TokenRequest) (IssuedToken, error)
}

// TokenRequest asks for a dataplane token in a user's name. It prints without the
// user's token.
type TokenRequest struct {
	UserToken  string // the user's own; a secret
	Name, Mesh string
	Tags       map[string][]string
	Type       string // "", "dataplane", "ingress" or "egress"
	Workload   string
	ValidFor   string // a duration; empty: as long as the zone may ask for
	RequestID  string // for the logs of both sides; may be empty
}

// Format implements fmt.Formatter for every verb.
func (r TokenRequest) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "a dataplane token for %q in mesh %q", r.Name, r.Mesh)
}

// IssuedToken is the answer.
type IssuedToken struct {
	Token string // a secret
	// KeyWaiting names a newer key that is prepared and signs nothing yet.
	KeyWaiting string
}

// Format implements fmt.Formatter for every verb.
func (IssuedToken) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "an issued token") }
