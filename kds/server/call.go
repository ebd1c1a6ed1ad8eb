package server

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
)

// call is one admitted RPC of a zone.
type call struct {
	creds     kds.Credentials
	admission kds.Admission
	conn      *connection
	method    string

	kicked chan struct{} // closed when the call must end

	mu    sync.Mutex
	cause error // why; set before kicked is closed
	force *time.Timer
	left  bool
}

// kick ends the call from outside: its handler returns err. Where the handler
// does not get to it, because it is sending to a zone that does not read, the
// connection is closed after patience.
func (c *call) kick(err error, patience time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil || c.left {
		return
	}
	c.cause = err
	c.force = time.AfterFunc(patience, c.hangUp)
	close(c.kicked)
}

// leave notes that the handler is done.
func (c *call) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = true
	if c.force != nil {
		c.force.Stop()
	}
}

// remote is the caller's address for people.
func (c *call) remote() string {
	if c.creds.Remote == nil {
		return ""
	}
	return c.creds.Remote.String()
}

// hangUp closes the connection below the call, and with it every call on it: the
// only way to end one whose peer does not read.
func (c *call) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

type callKey struct{}

func withCall(ctx context.Context, c *call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// callOf returns the call that the interceptor admitted. A handler without one
// is a defect, and answers as such.
func callOf(ctx context.Context) (*call, error) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return nil, federation.Errorf(federation.Internal, "a call that nobody authenticated")
	}
	return c, nil
}

// callStream is the stream of an admitted call.
type callStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s *callStream) Context() context.Context { return s.ctx }
