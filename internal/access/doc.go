// Package access decides who is calling an HTTP API of Meridian: an operator with
// a user token or client certificate, whoever may open the node's admin socket, or,
// only where the node was told so, a program on the same machine.
//
// The global's API and the zone's ask the same [Policy], so that a rule against
// forged requests is written once. What a caller may then do is [Rights], which
// [Roles] gives by the caller's name and groups. Every route names the [Permission]
// that it needs; a caller without any role learns who it is, and nothing else.
package access
