// Package adminapi is the HTTP API of a global: what operators, scripts and
// kumactl ask of it. The JSON is that of internal/apitypes.
//
// # A request
//
// Every request is authenticated by internal/access, also one for a path that
// does not exist. Each route names the permission that it asks for, see
// API.routes; a handler asks for more where it does more than its route says. A request has an id, taken from X-Request-Id where that is a UUID, which
// is echoed and stands in the log; a write that is sent again with the same id
// and the same content within ten minutes has the result of the first. Each
// change and each refusal is one line in the log: who, from where, what, with
// which result. No token and no key appears there, nor in any error.
//
// # Secrets are a view
//
// Users know signing keys and lists of revoked ids as secrets with telling names
// (see package secretname). The API shows the replicated keys and revocations under
// those names, but keeps nothing of its own: private keys go in and never come
// out, and a list that is written adds to the revocations. What a written list
// would take away needs If-Match with the ETag of a read, so that a script that
// only knows its own ids cannot make somebody else's revoked token valid again.
//
// # Gates
//
// Activating a key and removing one go through internal/global/fleet: a key signs only
// when every member and every connected zone has it. A caller may force a step,
// and the log says that it did.
package adminapi
