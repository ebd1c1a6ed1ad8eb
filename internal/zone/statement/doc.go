// Package statement is the rule of statements: where an operator says who a caller
// must be, the caller's token proves all of it, or the answer is no.
//
// A statement comes as a map of strings: the context_extensions of an Envoy's
// ext_authz filter, or the member "require" of POST /v1/authenticate; or as a query, for
// /v1/authorize ([FromQuery]).
//
//	proxyType   ingress, egress or dataplane
//	mesh        the mesh of a dataplane token
//	name        the name in a dataplane token
//	tag/NAME    values, separated by commas: the token has the tag, with at least
//	            one value, and every value of it is among these
//	bound       name, service or both: claims that the token must have
//
// mesh, name, tag/NAME and bound mean proxyType dataplane. [Parse] judges a
// statement by itself: one that nobody can meet, because of an unknown key, an empty
// value or a key that the stated type cannot have, is a mistake of the operator's
// ([Misconfigured]) and refuses everybody. What is not stated is taken from the
// token.
//
// The package is pure: it verifies no signature and asks nobody. A proxy that
// describes itself is another matter: see cptoken.Claims.CheckDataplane.
package statement
