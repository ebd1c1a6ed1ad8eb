// Package dpserver is what a zone serves: the port where proxies present their
// tokens, the zone's HTTP API, and the diagnostics for orchestrators.
//
// Every decision over a token is made here, from the zone's own copy of keys and
// revocations, and never asks the global: see [keysync.View] for what that copy
// is, and cptoken for the rules. The package declares the small interfaces that
// it needs of both, makes handlers and starts nothing; who runs them brings the
// listeners, TLS (1.2 or newer, HTTP/2) and the timeouts.
//
//	POST /v1/authenticate  on the port for proxies; see [AuthenticateRequest]
//	GET /, GET /v1/status  on the API, for holders of a user token; see [Status]
//	GET /healthy, /ready   on the diagnostics port
//
// Errors have the shape of package httperr; the reason of a refused token is its
// "reason".
package dpserver
