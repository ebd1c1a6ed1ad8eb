package preauth

import (
	"crypto/tls"
	"time"
)

// phase is how far a handshake is. While the server works on one, it has a place; while
// it waits for the caller, it has none.
type phase uint8

const (
	phaseOver    phase = iota // or there is none
	phaseHello                // nothing was answered yet
	phaseFlights              // the caller may send more that costs the processor
	phaseEnding               // the caller is verified, or has nothing to be verified
)

// TLS returns cfg for a listener of the budget: handshakes take the processor in turn,
// each time that the caller has sent what the server works on. That is a second hello
// where the server asked for one, and certificates, too. A nil configuration stays nil.
func (b *Budget) TLS(cfg *tls.Config) *tls.Config {
	if cfg == nil {
		return nil
	}
	out, inner := cfg.Clone(), cfg.GetConfigForClient
	out.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c := Of(hello.Conn)
		if c != nil {
			if err := c.shake(); err != nil {
				return nil, err
			}
		}
		var own *tls.Config
		if inner != nil {
			var err error
			if own, err = inner(hello); err != nil {
				return nil, err
			}
		}
		if c == nil {
			return own, nil
		}
		if own == nil {
			own = cfg
		}
		own = own.Clone()
		if len(own.NextProtos) == 0 { // what a server adds to its configuration is not seen here
			own.NextProtos = []string{"h2", "http/1.1"}
		}
		verify := own.VerifyConnection
		own.VerifyConnection = func(state tls.ConnectionState) error {
			c.verified(state.Version)
			if verify == nil {
				return nil
			}
			return verify(state)
		}
		return own, nil
	}
	return out
}

// verified notes that what the caller has shown was looked at.
func (c *Conn) verified(version uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phase, c.version = phaseEnding, version
}

// reads is called before the server waits for the caller. With TLS 1.3 nothing that costs
// anything comes once the caller is verified.
func (c *Conn) reads() {
	c.mu.Lock()
	if c.phase == phaseEnding && c.version >= tls.VersionTLS13 {
		c.phase = phaseOver
	}
	c.mu.Unlock()
	c.rest()
}

// came is called with what the caller sent. Once the hello was answered, the server is
// to work on each record that is complete; after the handshake, on all that comes.
func (c *Conn) came(p []byte) error {
	c.mu.Lock()
	at := c.phase
	complete := at != phaseOver && c.records.complete(p)
	c.mu.Unlock()
	switch {
	case at == phaseOver:
		return c.turn()
	case complete && at > phaseHello:
		return c.shake()
	}
	return nil
}

// writes is called before the server writes. The first time it answers the hello; until
// TLS 1.2 what it writes once the caller is verified ends the handshake. After that it is
// an answer, and what came is worked on.
func (c *Conn) writes() {
	c.mu.Lock()
	first, ends := c.phase == phaseHello, c.phase == phaseEnding && c.version < tls.VersionTLS13
	switch {
	case ends:
		c.phase = phaseOver
	case c.phase == phaseOver:
		ends = true
	case first:
		c.phase = phaseFlights
	}
	answers := c.shaking
	c.shaking = false
	c.mu.Unlock()
	if answers {
		c.mark(func(l *ledger, e *entry, now time.Time) { l.advance(e, stageHandshake, now) })
	}
	if ends {
		c.rest()
	}
}

// records finds where the records of TLS end.
type records struct {
	header [5]byte
	have   int // of the header
	need   int // of the payload
}

// complete takes in what came, and reports whether it has the end of a record.
func (r *records) complete(p []byte) (found bool) {
	for len(p) > 0 {
		if r.have < len(r.header) {
			n := copy(r.header[r.have:], p)
			r.have += n
			p = p[n:]
			if r.have == len(r.header) {
				r.need = int(r.header[3])<<8 | int(r.header[4])
			}
		}
		n := min(r.need, len(p))
		r.need -= n
		p = p[n:]
		if r.have == len(r.header) && r.need == 0 {
			found, r.have = true, 0
		}
	}
	return found
}
