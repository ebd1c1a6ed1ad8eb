package access

import (
	"net/http"
	"slices"

	"github.com/meridiankds/meridian/federation"
)

// AdminGroup is the group of user tokens that may do everything.
const AdminGroup = "admin"

// How a caller was recognised: values of Caller.Via.
const (
	ViaToken    = "token"    // a user token
	ViaSocket   = "socket"   // the node's admin socket: file permissions decided
	ViaLoopback = "loopback" // a loopback address, where that makes an admin
)

// Caller is who sent a request.
type Caller struct {
	// Name is the token's Name, or says where an unnamed admin came from.
	Name   string
	Groups []string
	// Via is how the caller was recognised: ViaToken, ViaSocket or ViaLoopback.
	Via string
	// Remote is the address that the request came from, for the log.
	Remote string
}

// Admin reports whether the caller is in the group "admin".
func (c Caller) Admin() bool { return slices.Contains(c.Groups, AdminGroup) }

// Allow returns nil if the caller may use the HTTP method, else a Forbidden
// error: who is no admin may only read.
func (c Caller) Allow(method string) error {
	if c.Admin() || method == http.MethodGet || method == http.MethodHead {
		return nil
	}
	return federation.Errorf(federation.Forbidden, "user %.80q may only read", c.Name).
		WithReason("not_allowed").
		WithHint("use a user token of the group %q", AdminGroup)
}
