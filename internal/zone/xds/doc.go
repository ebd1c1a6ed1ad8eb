// Package xds is what a zone serves over gRPC on the port of its proxies,
// beside HTTP: Envoy's aggregated discovery service (ADS), state of the world and
// delta, and ext_authz.
//
// # ADS
//
// A stream begins with a request whose node says who the proxy is: its metadata
// has dataplane.proxyType and dataplane.resource (the resource as JSON), or its id
// is that of a proxy that registered before, at /bootstrap for one. The metadata
// of the call has the token as "authorization". Only then is anything answered.
// The connection is registered first and judged then; from there on every message
// is preceded by a look at what the zone knows at that moment, so that nothing is
// sent on a stream whose token was revoked before. The stream ends with a status
// that has the reason (google.rpc.ErrorInfo, domain "meridian"). The id of the
// node cannot change on a stream.
//
// What is sent comes from the operator's folder ([xdsdir.Dir]); a Dataplane with
// inbounds that nothing there is about gets a listener for each inbound and a
// cluster for the service behind it. In which order it is sent is decided by package
// rollout, for each stream by itself: a proxy that does not read what it is sent, or does
// not answer, holds up nobody else. go-control-plane's cache and server are not used: they
// take it that a proxy needs nothing again that it has, and know no references.
//
// # Unauthenticated callers
//
// What a call presents in its metadata is verified before a message is read; a question
// of ext_authz, which holds the token that it is about, is decoded in turn with others
// and bounded in bytes. A call has ten seconds to its first request. What it holds until
// then is charged to its address, see package preauth. A caller that sends faster than
// it is served is made to wait.
package xds
