package wire

import (
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/federation"
)

// Answer is an answer of a global, with a bound that depends on which kind of global
// it is.
type Answer struct {
	Resp  discovery.DeltaDiscoveryResponse
	Limit int // of the message, in bytes
	// Wipe has the decoded bytes cleared once they are taken apart, as far as they are in
	// this program's hands (not in the buffers of TLS and HTTP/2): a private key
	// may be in them.
	Wipe bool
	Err  error // why Resp is not to be used
}

// decode reads b, which is the caller's to change.
func (a *Answer) decode(b []byte) {
	if len(b) > a.Limit {
		a.Err = federation.Errorf(federation.TooLarge, "the global sent a message of %d bytes, larger than max (%d)", len(b), a.Limit)
		return
	}
	if err := proto.Unmarshal(b, &a.Resp); err != nil {
		a.Err = federation.Errorf(federation.Invalid, "the global sent what cannot be read: %w", err)
	}
	if a.Wipe {
		clear(b)
	}
}
