// Package callers puts programs of others before a zone: Envoy, clients of HTTP/2 that
// are not Go's, and clients of OAuth 2.0 introspection. It has tests only. One whose
// program is not installed says so and is skipped; .ci/run installs all of them.
package callers
