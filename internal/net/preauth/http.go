package preauth

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/meridiankds/meridian/federation"
)

type connKey struct{}

type requestKey struct{}

// ConnContext is for http.Server: it lets handlers find the connection.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if conn := Of(c); conn != nil {
		return context.WithValue(ctx, connKey{}, conn)
	}
	return ctx
}

// With returns a context in which the connection is found, for servers that are not
// net/http's.
func With(ctx context.Context, c *Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }

// From returns the connection of a request; nil: it is not of a budget's listener.
func From(ctx context.Context) *Conn {
	c, _ := ctx.Value(connKey{}).(*Conn)
	return c
}

// Proved tells, with the context of a request, that its caller has proved who they are.
// See [Conn.Proved]. Anywhere else it does nothing.
func Proved(ctx context.Context, id Identity) error {
	if c := From(ctx); c != nil {
		return c.Proved(id)
	}
	return nil
}

// KeyFrom is whom a request's places are counted against.
func KeyFrom(ctx context.Context) Key {
	if c := From(ctx); c != nil {
		return c.Key()
	}
	return Key{}
}

// Balanced reports whether a request came through a balancer that tells with PROXY protocol
// whose connection it passes on: its address is what the balancer says, or the
// balancer's own.
func Balanced(ctx context.Context) bool {
	c := From(ctx)
	return c != nil && c.header.reader != nil
}

// Handler charges requests to whose connection they are on: what unauthenticated ones
// cost to the budget, what others cost to their identity. refuse answers one that is over
// the quota of its identity.
func (b *Budget) Handler(next http.Handler, refuse func(http.ResponseWriter, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := From(r.Context())
		if c == nil {
			next.ServeHTTP(w, r)
			return
		}
		c.rest() // its headers are read
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		req := &Request{conn: c, cancel: cancel, control: http.NewResponseController(w), cost: costRequest + int64(len(r.RequestURI)) + headerCost(r.Header) + trailerCost(r.Trailer)}
		defer func() {
			req.ends()
			if idle := req.end(); idle {
				c.renew()
			}
		}()
		length := r.ContentLength
		if r.Body == nil || r.Body == http.NoBody {
			length = 0
		}
		err := req.begins(r.ProtoMajor, length)
		if err == nil {
			err = req.begin(r.ProtoMajor > 1)
		}
		if err != nil {
			refuse(w, err)
			return
		}
		if length != 0 {
			r.Body = &body{r.Body, req}
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, requestKey{}, req)))
	})
}

// Call charges a call of a server that is not net/http's while its caller is not known.
// end gives it back. Where the call has to give way, its connection is closed.
func (c *Conn) Call(headers map[string][]string) (end func()) {
	if c == nil || c.proved.Load() {
		return func() {}
	}
	r := &Request{conn: c, cancel: func(error) { _ = c.Close() }, cost: costRequest + headerCost(headers)}
	_ = r.begin(true) // over the quota of who has just proved who they are: the connection is told so
	return func() { r.end() }
}

// Public is Call for a call that anybody may make. Once it is over, a caller who has proved
// nothing and has nothing else under way has the time of a new one.
func (c *Conn) Public(headers map[string][]string) (end func()) {
	if c == nil || c.proved.Load() {
		return func() {}
	}
	r := &Request{conn: c, cancel: func(error) { _ = c.Close() }, cost: costRequest + headerCost(headers)}
	_ = r.begin(true) // as in Call
	return func() {
		if r.end() {
			c.renew()
		}
	}
}

// headerCost is what headers occupy: names and values, and what maps and slices add.
func headerCost(headers map[string][]string) (n int64) {
	for name, values := range headers {
		n += int64(len(name)) + 80
		for _, v := range values {
			n += int64(len(v)) + 16
		}
	}
	return n
}

// trailerCost is what the names occupy that a request says it will send trailers of: they
// come in one header, which may have thousands of them and is in no map of headers itself.
func trailerCost(trailers map[string][]string) int64 { return 160 * int64(len(trailers)) }

// Request is a request that is being answered.
type Request struct {
	conn   *Conn
	cancel context.CancelCauseFunc
	cost   int64 // without its body

	// Of the budget's lock: entry is nil where the caller had proved who they are,
	// holder is to whom cost is charged, nil for nobody.
	entry  *entry
	holder *holder

	mu      sync.Mutex
	by      *holder                  // of what is held; nil: nobody
	held    int64                    // of the body
	streams bool                     // nothing of the body is kept
	control *http.ResponseController // nil: it is answered
	lost    error

	store unread // of its body, of the lock of what is pending; nothing: it is over
}

// RequestFrom returns the request of a context; nil: there is none.
func RequestFrom(ctx context.Context) *Request {
	r, _ := ctx.Value(requestKey{}).(*Request)
	return r
}

// begin charges a request whose headers are complete.
func (r *Request) begin(http2 bool) (err error) {
	c := r.conn
	c.budget.update(func(l *ledger, now time.Time) (evicted []*entry) {
		switch {
		case c.holder != nil:
			if err = c.budget.held.grow(c.holder, r.cost); err == nil {
				r.holder = c.holder
			}
		case c.entry != nil && !c.entry.gone:
			alone := c.entry.open == 0
			r.entry = l.request(c.entry, now, r.evicted)
			r.entry.request = r
			if http2 && alone {
				evicted = l.grow(c.entry, costHTTP2, now)
			}
			evicted = append(evicted, l.grow(r.entry, r.cost, now)...)
		}
		return evicted
	})
	return err
}

// evicted ends a request that had to give way.
func (r *Request) evicted() {
	e := federation.Errorf(federation.Unavailable, "too many requests are under way whose callers have not proved who they are, this one was ended").
		WithReason("too_many_unauthenticated")
	e.RetryAfter = time.Second
	r.cut(e.WithHint("try again, and send the request at once"))
}

// cut ends the request, whose body can be read no further.
func (r *Request) cut(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost == nil {
		r.lost = cause
	}
	if r.control != nil {
		_ = r.control.SetReadDeadline(time.Now()) // not supported in a test that calls the handler itself
	}
	r.cancel(cause)
}

// read charges n bytes of the body.
func (r *Request) read(n int64) {
	c := r.conn
	if c.proved.Load() {
		r.hold(n)
		return
	}
	c.budget.update(func(l *ledger, now time.Time) []*entry {
		if r.entry == nil || r.entry.gone {
			return nil
		}
		l.shift(r.entry, n)
		l.advance(r.entry, stageBody, now)
		return nil
	})
}

// hold charges n bytes to the identity of the connection.
func (r *Request) hold(n int64) {
	c := r.conn
	c.budget.mu.Lock()
	holder := c.holder
	c.budget.mu.Unlock()
	r.mu.Lock()
	streams := r.streams
	r.mu.Unlock()
	if holder == nil || streams {
		return
	}
	if err := c.budget.held.grow(holder, n); err != nil {
		r.cut(err)
		return
	}
	r.mu.Lock()
	r.by, r.held = holder, r.held+n
	r.mu.Unlock()
}

// Stream tells that whoever reads the body, which may be of any size, bounds itself what
// is kept of it: it counts against nobody's quota.
func (r *Request) Stream() {
	if r == nil {
		return
	}
	r.Settle()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.streams = true
}

// Settle tells that what was read of the body is dealt with, and kept no longer.
func (r *Request) Settle() {
	if r == nil {
		return
	}
	r.mu.Lock()
	holder, held := r.by, r.held
	r.held = 0
	r.mu.Unlock()
	if holder != nil {
		_ = r.conn.budget.held.grow(holder, -held) // giving back never fails
	}
}

// end gives everything back. idle is a connection whose caller has proved nothing and is
// done with what it asked: after a public request it has the time of a new one.
func (r *Request) end() (idle bool) {
	r.Settle()
	r.mu.Lock()
	r.control = nil
	r.mu.Unlock()
	c := r.conn
	c.budget.update(func(l *ledger, now time.Time) []*entry {
		if r.holder != nil {
			_ = c.budget.held.grow(r.holder, -r.cost) // giving back never fails
		}
		if r.entry != nil {
			c.budget.left(l.leave(r.entry))
		}
		if idle = c.entry != nil && !c.entry.gone && c.entry.open == 0; idle {
			l.settle(c.entry, now)
		}
		return nil
	})
	return idle
}

// body charges what is read of it.
type body struct {
	io.ReadCloser
	request *Request
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.request.reads(b.ReadCloser.Read, p)
	b.request.conn.rest()
	if n > 0 {
		b.request.read(int64(n))
	}
	if err != nil && !errors.Is(err, io.EOF) || n > 0 {
		b.request.mu.Lock()
		defer b.request.mu.Unlock()
		if b.request.lost != nil {
			return n, b.request.lost
		}
	}
	return n, err
}

// Parsing waits for the turn of a request whose content is to be parsed before its
// caller is known, or at great cost: a few are at a time. leave may be called again.
func Parsing(ctx context.Context) (leave func(), err error) {
	c := From(ctx)
	if c == nil {
		return func() {}, nil
	}
	place, err := c.budget.parsing.Enter(ctx, c.Key())
	if err != nil {
		return nil, err
	}
	return sync.OnceFunc(place), nil
}
