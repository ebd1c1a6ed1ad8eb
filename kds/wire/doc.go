// Package wire turns changes into the messages of kds and back: parts and sets of
// them, the codec that passes encoded sets through, requests read within bounds, and
// errors as gRPC statuses. Both ends use it; it dials and serves nothing.
package wire
