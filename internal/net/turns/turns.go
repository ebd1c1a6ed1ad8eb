// Package turns gives authenticated callers the place for what costs much memory, each in
// turn: who asks a thousand times waits for a thousand turns, and others for one. A body
// that arrives slowly gives way to who waits.
package turns

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/net/preauth"
)

// Turns are some places. The fields may be changed before they are used.
type Turns struct {
	Queue *preauth.Queue
	// Wait is how long a caller waits for a turn, Hold how long a body may keep others
	// waiting while it arrives.
	Wait, Hold time.Duration
}

const (
	defaultWait = time.Minute
	defaultHold = 20 * time.Second
	// stall is how long a body that has a turn may make no progress.
	stall = 10 * time.Second
	// maxWaiting is how many wait.
	maxWaiting = 256
)

// New returns so many places.
func New(places int) *Turns {
	return &Turns{Queue: preauth.NewQueue(places, maxWaiting), Wait: defaultWait, Hold: defaultHold}
}

// Enter waits for a turn of a caller. done gives it back. The error is Unavailable.
func (t *Turns) Enter(ctx context.Context, caller string) (done func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, t.Wait, busy("others keep what this request needs"))
	defer cancel()
	done, err = t.Queue.Enter(ctx, preauth.Named(caller))
	if err != nil && federation.CodeOf(err) != federation.Unavailable {
		err = busy("the request ended while it waited for its turn")
	}
	return done, err
}

func busy(format string, args ...any) error {
	e := federation.Errorf(federation.Unavailable, format, args...).WithReason("busy")
	e.RetryAfter = 5 * time.Second
	return e.WithHint("nothing was changed: try again in a few seconds")
}

// Body waits for a turn and replaces r.Body by one that may take as long as within to
// arrive, if nobody else waits. done gives the turn back, and may always be called.
func (t *Turns) Body(w http.ResponseWriter, r *http.Request, caller string, within time.Duration) (done func(), err error) {
	control := http.NewResponseController(w)
	// Where a connection has no deadlines, as in tests, there is none to move.
	waited := time.Now().Add(t.Wait + within)
	_, _ = control.SetReadDeadline(waited), control.SetWriteDeadline(waited)
	if done, err = t.Enter(r.Context(), caller); err != nil {
		return func() {}, err
	}
	preauth.RequestFrom(r.Context()).Stream() // no more at a time than there are places
	now := time.Now()
	_ = control.SetWriteDeadline(now.Add(within))
	r.Body = &body{ReadCloser: r.Body, turns: t, key: preauth.Named(caller), control: control, begun: now, until: now.Add(within)}
	return done, nil
}

// body arrives in its caller's turn.
type body struct {
	io.ReadCloser
	turns        *Turns
	key          preauth.Key
	control      *http.ResponseController
	begun, until time.Time
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	now := time.Now()
	if clock.Elapsed(b.begun, now) > b.turns.Hold && b.turns.Queue.WaitingBesides(b.key) {
		return 0, busy("the body took longer than %s to arrive, and another caller waits", b.turns.Hold)
	}
	_ = b.control.SetReadDeadline(clock.First(b.until, now.Add(stall)))
	return b.ReadCloser.Read(p)
}
