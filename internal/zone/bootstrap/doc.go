// Package bootstrap makes what Envoy is started with: where its control plane is,
// how to trust it, and who it is itself.
//
// The request and the answer are kuma-dp's, so that it works unmodified:
// [Request] is the body of POST /bootstrap, of which nothing is required but who
// the proxy is, and which may have members that nobody here knows. [Make] answers
// with an Envoy bootstrap in YAML. It is built as plain data: Envoy's own messages
// for it would bring all of tracing and metrics with them. The tests hold it
// against those messages.
package bootstrap
