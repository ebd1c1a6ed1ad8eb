// Package proxyport is what a zone serves: the port where proxies present their
// tokens, the zone's HTTP API, and the diagnostics for orchestrators.
//
// Every decision over a token is made here, from the zone's own copy of keys and
// revocations, and never asks the global: see [keysync.View] for what that copy
// is, and cptoken for the rules. The package declares the small interfaces that
// it needs of both, makes handlers and starts nothing; who runs them brings the
// listeners, TLS (1.2 or newer, HTTP/2) and the timeouts.
//
//	POST /bootstrap               on the port for proxies; see package bootstrap
//	POST /v1/authenticate         the same; see [apitypes.AuthenticateRequest]
//	POST /v1/authenticate/batch   the same, of many at once; see [BatchRequest]
//	any /v1/authorize, and below  the same: a proxy asks about a request that it got
//	GET /v1/jwks/zone, …/dataplane/MESH   the same: the keys that verify tokens
//	POST /v1/introspect           the same: who a token is for, for services
//	GET /, /v1/status, /v1/proxies, /v1/proxies/config   on the API, for holders of a user token
//	POST /tokens/dataplane        the same: the global issues one, for whoever may
//	POST /v1/xds/accept, any /v1/log-level, GET /v1/support-dump   the same, for administrators
//	GET /healthy, /ready          on the diagnostics port
//
// Errors have the shape of package apierr; the reason of a refused token is its
// "reason".
package proxyport
