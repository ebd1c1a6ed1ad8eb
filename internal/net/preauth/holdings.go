package preauth

import (
	"net/netip"
	"sync"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// Kind is what an authenticated caller is.
type Kind string

// The kinds of authenticated callers.
const (
	Zone  Kind = "zone"
	Proxy Kind = "proxy"
	User  Kind = "user"
	Node  Kind = "node" // another member of the cluster
	// Token is all who share a token that names none of them.
	Token Kind = "token"
)

// Identity names an authenticated caller. Shared names the token where it is not the
// caller's alone: it has a quota too, so that nobody gets more by saying many names.
// Unproven is who was admitted by a policy of none: all of a name share one quota,
// divided fairly by address.
type Identity struct {
	Kind     Kind
	Name     string
	Shared   string
	Unproven bool
}

// quota is what one identity may hold at a time.
type quota struct {
	connections int
	bytes       int64 // of requests, and of messages and bodies that are not yet dealt with
}

// quotas are by kind. A zone has one connection for each control plane, a proxy one for
// its agent and for each process that follows it, or that asks about the tokens of others
// with its own; a user as many as a pipeline of
// theirs runs at once. A user's bytes have room for one list of the largest size.
var quotas = map[Kind]quota{
	Zone:  {connections: 128, bytes: 16 << 20},
	Proxy: {connections: 256, bytes: 16 << 20},
	User:  {connections: 256, bytes: 96 << 20},
	Node:  {connections: 1024, bytes: 256 << 20},
	Token: {connections: 16384, bytes: 64 << 20},
}

// holdings count what authenticated callers hold.
type holdings struct {
	most int // connections of all of them

	mu      sync.Mutex
	total   int
	holders map[Identity]*holder
	refused uint64
}

// holder is one identity and what it holds.
type holder struct {
	id     Identity
	shared *holder // of the token that others present too; nil: none
	conns  map[*Conn]struct{}
	byUnit map[netip.Prefix]int // connections, where addresses share the quota
	bytes  int64
}

func newHoldings(most int) *holdings { return &holdings{most: most, holders: map[Identity]*holder{}} }

// join counts a connection as that of an identity. evicted is a connection that gave way
// to it: of a shared quota, one of the address that holds most.
func (h *holdings) join(id Identity, c *Conn, from Source) (_ *holder, evicted *Conn, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.total >= h.most && id.Kind != Node {
		h.refused++
		return nil, nil, tooMany("this process holds %d connections, as many as its descriptors allow", h.total)
	}
	o := h.holder(id)
	if o.shared != nil && len(o.shared.conns) >= min(quotas[Token].connections, h.most-h.most/4) {
		h.refused++
		return nil, nil, tooMany("the callers with the same token as %s %.80q hold %d connections, as many as they may", id.Kind, id.Name, len(o.shared.conns))
	}
	if len(o.conns) >= quotas[id.Kind].connections {
		if evicted = o.giveWay(from.Unit); evicted == nil {
			h.refused++
			return nil, nil, tooMany("%s %.80q holds %d connections, as many as it may", id.Kind, id.Name, len(o.conns))
		}
		h.drop(o, evicted)
	}
	for by := o; by != nil; by = by.shared {
		h.holders[by.id] = by
		by.conns[c] = struct{}{}
		by.byUnit[from.Unit]++
	}
	h.total++
	return o, evicted, nil
}

// holder finds or makes the holder of an identity.
func (h *holdings) holder(id Identity) *holder {
	if o := h.holders[id]; o != nil {
		return o
	}
	o := &holder{id: id, conns: map[*Conn]struct{}{}, byUnit: map[netip.Prefix]int{}}
	if id.Shared != "" {
		o.shared = h.holder(Identity{Kind: Token, Name: id.Shared})
	}
	return o
}

func tooMany(format string, args ...any) error {
	e := federation.Errorf(federation.Unavailable, format, args...).WithReason("too_many_connections")
	e.RetryAfter = time.Second
	return e.WithHint("close connections that are not used; one connection carries many requests")
}

// giveWay picks the connection that gives way to one from a unit: one of the unit that
// has most, if that is more than the newcomer's would have.
func (o *holder) giveWay(from netip.Prefix) *Conn {
	if !o.id.Unproven {
		return nil
	}
	most, at := 0, netip.Prefix{}
	for unit, n := range o.byUnit {
		if n > most {
			most, at = n, unit
		}
	}
	if at == from || o.byUnit[from]+1 >= most {
		return nil
	}
	for c := range o.conns {
		if c.source.Unit == at {
			return c
		}
	}
	return nil
}

// leave gives a connection's place back.
func (h *holdings) leave(o *holder, c *Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(o, c)
}

func (h *holdings) drop(o *holder, c *Conn) {
	if _, ok := o.conns[c]; !ok {
		return
	}
	h.total--
	for ; o != nil; o = o.shared {
		delete(o.conns, c)
		if o.byUnit[c.source.Unit]--; o.byUnit[c.source.Unit] == 0 {
			delete(o.byUnit, c.source.Unit)
		}
		h.forget(o)
	}
}

func (h *holdings) forget(o *holder) {
	if len(o.conns) == 0 && o.bytes == 0 && h.holders[o.id] == o {
		delete(h.holders, o.id)
	}
}

// grow charges bytes to an identity, and reports whether it may hold them.
func (h *holdings) grow(o *holder, n int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for by := o; by != nil && n > 0; by = by.shared {
		if by.bytes+n <= quotas[by.id.Kind].bytes {
			continue
		}
		h.refused++
		e := federation.Errorf(federation.Unavailable, "%s %.80q has %d MiB of requests under way, as much as it may",
			by.id.Kind, by.id.Name, quotas[by.id.Kind].bytes>>20).WithReason("too_many_bytes")
		e.RetryAfter = time.Second
		return e.WithHint("send less at once")
	}
	for ; o != nil; o = o.shared {
		o.bytes += n
		h.forget(o)
	}
	return nil
}
