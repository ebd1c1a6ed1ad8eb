// Package access decides who is calling an HTTP API of Meridian: an operator with
// a user token, whoever may open the node's admin socket, or, only where the
// node was told so, a program on the same machine.
//
// The global's API and the zone's ask the same [Policy], so that a rule against
// forged requests is written once. What a caller may then do is [Caller.Allow]:
// the group "admin" may do everything, every other authenticated caller may read.
package access
