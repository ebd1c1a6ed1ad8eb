package preauth

import (
	"context"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/meridiankds/meridian/internal/net/loglimit"
)

// The defaults of a [Budget].
const (
	DefaultBytes    = 64 << 20
	DefaultDeadline = 10 * time.Second
)

// What things cost: estimates on the high side. The bench row flood compares what a
// process says with what the kernel counts.
const (
	// costConnection is a connection with the state of TLS, its buffers and goroutines.
	costConnection = 44 << 10
	// costRequest is a request, its goroutine and the state of its stream, without
	// headers and body. The two together with firstRequest are an address's floor.
	costRequest  = 12 << 10
	firstRequest = 64 << 10
	// headerFactor is how many bytes headers occupy for each that came: a line of five
	// bytes is an entry of a map, with a slice and two strings, seventeen times as much,
	// and the collector lets almost as much again be in use.
	headerFactor = 40
	// helloFactor is the same for the hello of a handshake, which is kept as it came and as
	// it was understood until the caller has answered: the name of a protocol is two bytes
	// of it, and occupies 46 with what its list leaves behind as it grows. Of a connection
	// helloRoom is part, which has room for a session and the keys of today.
	helloFactor = 24
	helloRoom   = 2 << 10
	// maxHello is far more than callers need: a larger one closes its connection.
	maxHello = 16 << 10
	// bodyFactor is the same for bodies: the collector lets as much again be in use.
	bodyFactor = 2
	// costHTTP2 is what a connection of HTTP/2 has beyond one of HTTP/1 once a request is
	// open, with a block of headers that is not complete.
	costHTTP2 = 40 << 10
)

// maxQueued bounds the callers that wait for the processor.
const maxQueued = 16384

// Config is what a [Budget] is made from. The zero value is good.
type Config struct {
	// Bytes is what unauthenticated callers may cost together; 0: [DefaultBytes].
	Bytes int64
	// Descriptors is how many files the process may have open; 0: what [Descriptors]
	// finds.
	Descriptors int
	// Deadline is how long a caller has, from when the server begins its handshake, to
	// its first authenticated request; 0: [DefaultDeadline].
	Deadline time.Duration
	// Proxies are balancers that tell with PROXY protocol, version 1 or 2, whose
	// connection they pass on. Theirs must begin with its header.
	Proxies []netip.Prefix
	Logger  *slog.Logger     // nil: no log
	Now     func() time.Time // nil: time.Now
}

// Budget is what the unauthenticated callers of a process may cost, and what each
// authenticated one may hold. It is safe for concurrent use.
type Budget struct {
	cfg     Config
	lines   *loglimit.Limiter
	turns   turns
	parsing *Queue
	held    *holdings

	mu      sync.Mutex
	ledger  *ledger
	ports   map[string]*port
	changed chan struct{} // closed when somebody leaves; nil: nobody waits
	// waiting are the arrivals of all ports, mostWaiting how many there may be.
	waiting, mostWaiting int
}

// port is what is counted of one port.
type port struct {
	name     string
	bytes    int64
	arrivals arrivals
	Counts
}

// Counts are the figures of a port. The first two go up and down.
type Counts struct {
	Connections, Bytes int64
	// Evicted gave their place to others, Refused had to leave at once, Late had not
	// proved who they are in time.
	Evicted, Refused, Late uint64
	// Waits counts connections that had to wait until somebody else left.
	Waits uint64
}

// New returns a budget. It starts nothing.
func New(cfg Config) *Budget {
	if cfg.Bytes <= 0 {
		cfg.Bytes = DefaultBytes
	}
	if cfg.Deadline <= 0 {
		cfg.Deadline = DefaultDeadline
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Descriptors <= 0 {
		cfg.Descriptors = Descriptors()
	}
	fit := fitTo(cfg.Descriptors)
	// One currency for both: where descriptors are scarce, a connection costs more.
	base := max(costConnection, cfg.Bytes/int64(fit.Unauthenticated))
	processors := runtime.GOMAXPROCS(0)
	return &Budget{
		cfg:     cfg,
		lines:   loglimit.New(1, cfg.Now),
		turns:   newTurns(max(2, processors)),
		parsing: NewQueue(max(2, processors), 1024),
		held:    newHoldings(fit.Authenticated),
		ledger:  newLedger(cfg.Bytes, base+costRequest+firstRequest, base),
		ports:   map[string]*port{},

		mostWaiting: fit.Waiting,
	}
}

// Stats returns what is counted, by port.
func (b *Budget) Stats() map[string]Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[string]Counts, len(b.ports))
	for name, p := range b.ports {
		c := p.Counts
		c.Bytes = p.bytes
		out[name] = c
	}
	return out
}

// Totals are figures that belong to no port.
type Totals struct {
	// TurnWaits had to wait for the processor and ParsingWaits to be parsed; OverQuota
	// counts what authenticated callers were refused because they hold as much as they may.
	TurnWaits, ParsingWaits, OverQuota uint64
	Authenticated                      int // connections
}

// Totals returns them.
func (b *Budget) Totals() Totals {
	b.held.mu.Lock()
	defer b.held.mu.Unlock()
	return Totals{TurnWaits: b.turns.Waits(), ParsingWaits: b.parsing.Waits(), OverQuota: b.held.refused, Authenticated: b.held.total}
}

func (b *Budget) port(name string) *port {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.ports[name]
	if p == nil {
		p = &port{name: name}
		b.ports[name] = p
	}
	return p
}

// update runs f on the ledger and evicts whom it returns, outside of the lock.
func (b *Budget) update(f func(l *ledger, now time.Time) (evicted []*entry)) {
	b.mu.Lock()
	evicted := f(b.ledger, b.cfg.Now())
	b.left(evicted)
	b.mu.Unlock()
	b.evict(evicted)
}

// left notes that entries are out: who waits may look again. The lock is held.
func (b *Budget) left(gone []*entry) {
	for _, e := range gone {
		if e.parent == nil {
			e.port.Connections--
		}
	}
	if len(gone) > 0 {
		b.wake()
	}
}

// change is closed when somebody has left. The lock is held.
func (b *Budget) change() <-chan struct{} {
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return b.changed
}

// wake has who waits look again. The lock is held.
func (b *Budget) wake() {
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

// evict ends who had to give way.
func (b *Budget) evict(evicted []*entry) {
	for _, e := range evicted {
		b.mu.Lock()
		e.port.Evicted++
		b.mu.Unlock()
		e.evict()
	}
	if len(evicted) > 0 {
		b.lines.Log(context.Background(), b.cfg.Logger, slog.LevelWarn,
			"unauthenticated callers hold as much as they may, the least advanced of the address that holds most was evicted",
			slog.String("server", evicted[0].port.name), slog.Any("source", evicted[0].unit.source.Unit))
	}
}
