package kds

import (
	"time"

	"github.com/meridiankds/meridian/cptoken"
)

// What the protocol fixes: both ends rely on these.
const (
	// MaxPart bounds one encoded response of meridian.v1.Changes, so that a
	// bulk change travels in pieces that neither end must hold many of.
	MaxPart = 512 << 10
	// MaxAnswer bounds what a zone takes from the global in one message: a part
	// and room for what later versions add to its envelope.
	MaxAnswer = 1 << 20
	// MaxRun bounds the ids in one run of revocations on the wire.
	MaxRun = cptoken.MaxRun
	// DefaultHealthInterval is how often a zone calls HealthCheck where the
	// answer names no interval: a fact of the wire.
	DefaultHealthInterval = 5 * time.Minute
)

// Limits bound what the server spends on a caller. A zero field means the value
// that [DefaultLimits] has; tests make them small.
type Limits struct {
	// Streams open at once on a connection. Kuma's zones use six.
	Streams uint32
	// Handshake is how long TLS and the HTTP/2 preface may take.
	Handshake time.Duration
	// FirstRequest is how long a connection may last without an authenticated
	// call, and a GlobalToZoneSync stream without a request.
	FirstRequest time.Duration
	// Headers bounds the metadata of a call, in bytes after decompression.
	Headers uint32
	// Message bounds a message from a zone, in bytes after decompression.
	Message int
	// Types and Names bound the subscriptions of a stream; TypeLen and NameLen
	// the bytes of one.
	Types, Names     int
	TypeLen, NameLen int
	// Unasked is how many messages a zone may send on a stream on which it is asked
	// for nothing, before the stream ends.
	Unasked int
	// SessionsPerZone bounds the sessions of a zone; those that authenticated
	// and those that did not are counted apart, so that a stranger cannot take
	// the place of who has a token.
	SessionsPerZone int
	// RelayMessage bounds what a zone passes on for a user, in bytes, RelaysPerZone
	// how many such requests a zone may have under way, and Relay how long one may
	// take: signing is what costs a member most.
	RelayMessage  int
	RelaysPerZone int
	Relay         time.Duration
	// InFlight is how many sets a stream may have sent that are not yet
	// acknowledged. While they are, changes gather into one larger set.
	InFlight int
	// Send is how long one message may wait for the zone to drain what was sent
	// before; Ack how long it may take to make a set durable. A zone that needs
	// longer is disconnected, and resumes where it stands.
	Send, Ack time.Duration
	// Linger is how long a call that must end may take to say so before its
	// connection is closed.
	Linger time.Duration
	// Authenticate bounds the Authenticator.
	Authenticate time.Duration
	// CacheBytes bounds encoded batches that are kept while nobody sends them,
	// CacheBatches their number. It bounds too the deltas that are being sent to
	// streams that resume: beyond it they get the full state, which they share.
	CacheBytes   int
	CacheBatches int
	// FullLag is how many changes old an encoded full state may be to be sent
	// once more, with the rest behind it as a delta.
	FullLag uint64
	// ClosedSessions that are remembered in all, the last one of each instance, and the
	// bytes of them. The zone that has most of them loses its oldest first.
	ClosedSessions, ClosedBytes int
	// RefusalLines is how many refusals a second are logged one by one, and how
	// many admissions on connections that speak for many zones.
	RefusalLines int
	// PingMin is the shortest interval of keepalive pings that is tolerated;
	// PingEvery and PingTimeout are those of the server's own.
	PingMin, PingEvery, PingTimeout time.Duration
	// Idle is how long a connection may last without any call.
	Idle time.Duration
	// Stop is how long a stopping server waits for its callers to let go.
	Stop time.Duration
}

// DefaultLimits returns the limits of a production server.
func DefaultLimits() Limits {
	return Limits{
		Streams:         16,
		Handshake:       20 * time.Second,
		FirstRequest:    10 * time.Second,
		Headers:         16 << 10,
		Message:         1 << 20,
		Types:           128,
		Names:           1_000,
		TypeLen:         256,
		NameLen:         512,
		Unasked:         1_000,
		SessionsPerZone: 64,
		RelayMessage:    64 << 10,
		RelaysPerZone:   8,
		Relay:           10 * time.Second,
		InFlight:        4,
		Send:            20 * time.Second,
		Ack:             60 * time.Second,
		Linger:          2 * time.Second,
		Authenticate:    10 * time.Second,
		CacheBytes:      32 << 20,
		CacheBatches:    256,
		FullLag:         1_024,
		ClosedSessions:  4_096,
		ClosedBytes:     8 << 20,
		RefusalLines:    20,
		PingMin:         5 * time.Second,
		PingEvery:       DefaultPing + DefaultPing/8, // after a zone's own, which saves the member's
		PingTimeout:     15 * time.Second,
		Idle:            5 * time.Minute,
		Stop:            2500 * time.Millisecond,
	}
}

// WithDefaults returns l with every zero field filled in.
func (l Limits) WithDefaults() Limits {
	d := DefaultLimits()
	fill(&l.Streams, d.Streams)
	fill(&l.Handshake, d.Handshake)
	fill(&l.FirstRequest, d.FirstRequest)
	fill(&l.Headers, d.Headers)
	fill(&l.Message, d.Message)
	fill(&l.Types, d.Types)
	fill(&l.Names, d.Names)
	fill(&l.TypeLen, d.TypeLen)
	fill(&l.NameLen, d.NameLen)
	fill(&l.Unasked, d.Unasked)
	fill(&l.SessionsPerZone, d.SessionsPerZone)
	fill(&l.RelayMessage, d.RelayMessage)
	fill(&l.RelaysPerZone, d.RelaysPerZone)
	fill(&l.Relay, d.Relay)
	fill(&l.InFlight, d.InFlight)
	fill(&l.Send, d.Send)
	fill(&l.Ack, d.Ack)
	fill(&l.Linger, d.Linger)
	fill(&l.Authenticate, d.Authenticate)
	fill(&l.CacheBytes, d.CacheBytes)
	fill(&l.CacheBatches, d.CacheBatches)
	fill(&l.FullLag, d.FullLag)
	fill(&l.ClosedSessions, d.ClosedSessions)
	fill(&l.ClosedBytes, d.ClosedBytes)
	fill(&l.RefusalLines, d.RefusalLines)
	fill(&l.PingMin, d.PingMin)
	fill(&l.PingEvery, d.PingEvery)
	fill(&l.PingTimeout, d.PingTimeout)
	fill(&l.Idle, d.Idle)
	fill(&l.Stop, d.Stop)
	return l
}

func fill[T comparable](field *T, def T) {
	var zero T
	if *field == zero {
		*field = def
	}
}

// MaxKumaAnswer bounds what a zone takes from a global of Kuma's in one message. It
// sends lists whole.
const MaxKumaAnswer = 16 << 20
