package access

import "slices"

// AdminGroup is the group of user tokens that may do everything.
const AdminGroup = "admin"

// How a caller was recognised: values of Caller.Via.
const (
	ViaToken    = "token"    // a user token
	ViaCert     = "cert"     // a user's client certificate
	ViaSocket   = "socket"   // the node's admin socket: file permissions decided
	ViaLoopback = "loopback" // a loopback address, where that makes an admin
)

// Ways are all of them: of who came another way nothing is believed. Each has a row in
// the table of internal/global/peer.
var Ways = [...]string{ViaToken, ViaCert, ViaSocket, ViaLoopback}

// Caller is who sent a request.
type Caller struct {
	// Name is that of the token or certificate, or says where an unnamed admin came from.
	Name   string
	Groups []string
	// Via is how the caller was recognised: one of the above.
	Via string
	// Remote is the address that the request came from, for the log.
	Remote string
}

// Admin reports whether the caller is in the group "admin".
func (c Caller) Admin() bool { return slices.Contains(c.Groups, AdminGroup) }
