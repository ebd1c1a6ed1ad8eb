package server

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/meridiankds/meridian/kds/wire"
)

// Stats counts what a [Server] did since it was made.
type Stats struct {
	Connections   int64             // Open now
	Authenticated uint64            // calls that were let in
	Refused       map[string]uint64 // calls that were not, by reason
	Ended         map[string]uint64 // connections cut because their admission held no longer, by reason
	Displaced     uint64            // sessions that gave way to a newer one of their instance
	Slow          uint64            // zones disconnected because they did not drain or acknowledge
	Acks, Nacks   uint64
	// Relayed counts tokens that zones asked for in a user's name and got,
	// RelayRefused those that they did not get.
	Relayed, RelayRefused uint64
	Batches               uint64 // Sets marshalled
	BatchBytes            uint64
	Sent                  uint64 // responses of meridian.v1.Changes
	SentBytes             uint64
	KumaSent              uint64 // answers with resources of Kuma's types
	KumaSentBytes         uint64
	// KumaOmitted is how many revoked ids zones of Kuma's are not sent, because a
	// list has no room for them, by the list's name. Only while such zones are here.
	KumaOmitted map[string]uint64
	// Unasked counts what zones sent that nobody had asked for.
	Unasked uint64
}

// counters is the live form of Stats.
type counters struct {
	connections               atomic.Int64
	authenticated             atomic.Uint64
	displaced, slow           atomic.Uint64
	acks, nacks               atomic.Uint64
	relayed, relayRefused     atomic.Uint64
	batches, batchBytes       atomic.Uint64
	sentMessages, sentPayload atomic.Uint64
	kumaSent, kumaSentBytes   atomic.Uint64
	unasked                   atomic.Uint64

	mu             sync.Mutex
	refused, ended map[string]uint64
}

// maxReasons bounds the reasons that are counted apart: they come from an
// Authenticator, not from this package.
const maxReasons = 64

func (c *counters) refuse(reason string) { c.tally(&c.refused, reason) }

func (c *counters) end(reason string) { c.tally(&c.ended, reason) }

func (c *counters) tally(by *map[string]uint64, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *by == nil {
		*by = map[string]uint64{}
	}
	if _, known := (*by)[reason]; !known && len(*by) >= maxReasons {
		reason = "other"
	}
	(*by)[reason]++
}

func (c *counters) encoded(b *wire.Batch) {
	c.batches.Add(1)
	c.batchBytes.Add(uint64(b.Size))
}

func (c *counters) sent(m wire.Encoded) {
	c.sentMessages.Add(1)
	c.sentPayload.Add(uint64(len(m)))
}

func (c *counters) snapshot() Stats {
	c.mu.Lock()
	refused, ended := maps.Clone(c.refused), maps.Clone(c.ended)
	c.mu.Unlock()
	return Stats{
		Connections:   c.connections.Load(),
		Authenticated: c.authenticated.Load(),
		Refused:       refused,
		Ended:         ended,
		Displaced:     c.displaced.Load(),
		Slow:          c.slow.Load(),
		Relayed:       c.relayed.Load(),
		RelayRefused:  c.relayRefused.Load(),
		Acks:          c.acks.Load(),
		Nacks:         c.nacks.Load(),
		Batches:       c.batches.Load(),
		BatchBytes:    c.batchBytes.Load(),
		Sent:          c.sentMessages.Load(),
		SentBytes:     c.sentPayload.Load(),
		KumaSent:      c.kumaSent.Load(),
		KumaSentBytes: c.kumaSentBytes.Load(),
		Unasked:       c.unasked.Load(),
	}
}
