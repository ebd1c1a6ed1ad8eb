package kds

import (
	"time"

	"github.com/meridiankds/meridian/federation"
)

// Keepalive is how often something is said on a connection on which nothing changes, for
// the balancers in between that cut what is silent.
type Keepalive struct {
	// Ping is the interval of HTTP/2 pings; 0: [DefaultPing]. Members wait an eighth
	// longer, so that the pings of zones save theirs.
	Ping time.Duration
	// Stream is the interval of messages on the stream itself, in both directions, for
	// balancers that end HTTP/2 and count those; 0: none. A member tells zones its own,
	// and the shorter one counts.
	Stream time.Duration
}

// The bounds of both intervals. gRPC has its clients ping no more often than each 10 s.
const (
	DefaultPing  = 20 * time.Second
	MinPing      = 10 * time.Second
	MinSaid      = time.Second
	maxKeepalive = time.Hour
)

// KeepaliveType is the type of a request that says nothing, and of the answer to it. It is
// no subscription.
const KeepaliveType = "meridian.v1.Keepalive"

// MDStreamKeepalive is, in the header of an answer, how many milliseconds a zone may let
// pass before it says something on its stream; absent: as many as it likes.
const MDStreamKeepalive = "meridian-stream-keepalive"

// Validate checks what an operator asks for.
func (k Keepalive) Validate() error {
	if k.Ping != 0 && (k.Ping < MinPing || k.Ping > maxKeepalive) {
		return federation.InvalidField("--keepalive", "must be from %v to %v, is %v", MinPing, maxKeepalive, k.Ping).
			WithHint("choose less than the shortest time after which a balancer in between cuts a silent connection")
	}
	if k.Stream != 0 && (k.Stream < MinSaid || k.Stream > maxKeepalive) {
		return federation.InvalidField("--stream-keepalive", "must be from %v to %v, or 0 for none, is %v", MinSaid, maxKeepalive, k.Stream).
			WithHint("choose less than the shortest time after which a balancer in between cuts a stream without messages")
	}
	return nil
}

// Pings is the interval of a zone's pings.
func (k Keepalive) Pings() time.Duration {
	if k.Ping == 0 {
		return DefaultPing
	}
	return k.Ping
}

// Shorter is the one of two intervals that comes first, where 0 is none.
func Shorter(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
