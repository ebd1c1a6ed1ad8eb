// Package apitypes is the JSON of the global's HTTP API: what internal/global/adminapi
// writes and what internal/apiclient and the command line read. It imports the
// standard library only, so that a client links nothing of the server.
//
// Two families stand beside each other. The shapes without a version in their
// path (zones, meshes, secrets, tokens, who-am-i) are Kuma's, so that kumactl and
// existing scripts work: field names and the spelling of lists are an interface
// of others and never change. The shapes under /v1/ are Meridian's own.
//
// Times are RFC 3339 in UTC; a zero time is left out. Durations are written as
// Go writes them ("720h0m0s"). Revisions are written as federation.Revision
// writes them ("<history>-<created>@<index>", "none" for the zero one). Kinds of
// tokens are "control-plane", "zone", "dataplane" and "user"; requests may also
// say "zone-token" and so on, as the command line does.
package apitypes
