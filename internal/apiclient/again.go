package apiclient

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
)

const (
	// patience is how long a change is sent again to a cluster without a leader. An
	// election takes a second or two; a majority that is gone does not come back in ten.
	patience = 10 * time.Second
	// againEvery is the pause between two attempts where the node names none.
	againEvery = 250 * time.Millisecond
)

// Leaderless reports whether a node says with this reason that it found no leader for a
// change, and that nothing was changed.
func Leaderless(reason string) bool {
	return slices.Contains([]string{"no_leader", "not_leader", "peer_unreachable", "leader_lost"}, reason)
}

// again makes attempts at a call for as long as the only obstacle is an election. All
// of them carry one request id, so that a change is made once whatever is lost on
// the way.
func (c *client) again(ctx context.Context, q call, attempt func(call) error) error {
	q.id = uuid.NewString()
	for deadline := time.Now().Add(c.patience); ; {
		err := attempt(q)
		e := federation.AsError(err)
		if e == nil || e.Code != federation.Unavailable || !Leaderless(e.Reason) || q.method == http.MethodGet || !q.upload.repeatable() {
			return err
		}
		pause := max(e.RetryAfter, againEvery)
		if clock.Ended(deadline, time.Now().Add(pause)) {
			return err
		}
		if c.waits != nil {
			c.waits(err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// Upload is a long body. It can be sent again where From is an [io.ReaderAt] of a
// known size.
type Upload struct {
	From io.Reader
	Size int64 // -1: unknown
	Sent atomic.Int64
}

// repeatable reports whether another attempt can send the same body. No body can.
func (u *Upload) repeatable() bool {
	if u == nil {
		return true
	}
	_, ok := u.From.(io.ReaderAt)
	return ok && u.Size >= 0
}

// reader returns the body for one attempt. An attempt that was answered early may
// still be reading its own.
func (u *Upload) reader() io.Reader {
	u.Sent.Store(0)
	if at, ok := u.From.(io.ReaderAt); ok && u.Size >= 0 {
		return &counting{io.NewSectionReader(at, 0, u.Size), &u.Sent}
	}
	return &counting{u.From, &u.Sent}
}

// counting counts what is read.
type counting struct {
	in   io.Reader
	read *atomic.Int64
}

// Read implements io.Reader.
func (r *counting) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	r.read.Add(int64(n))
	return n, err
}
