package client

import (
	"context"
	"sync"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/meridiankds/meridian/kds"
)

const (
	// ackAfter is how long a zone keeps the acknowledgement of a change to itself. A
	// member that sends a change to a thousand zones would else read the answers of the
	// first before it has written to the last. Nobody is kept waiting but who waits
	// for the acknowledgement: the zone acts on the change at once.
	ackAfter = 50 * time.Millisecond
	// ackSets is how many sets are acknowledged without waiting: half of what a member
	// sends before it waits itself.
	ackSets = 2
)

// acks acknowledges sets on a stream. One acknowledgement stands for all that came
// before it.
type acks struct {
	stream  grpc.ClientStream
	after   time.Duration
	notHeld func() []string // what the zone does not understand of what it took
	due     chan struct{}   // there is one to be sent later; has room for one word

	mu    sync.Mutex // held while something is sent
	nonce string     // of the last set that is not acknowledged, "" if all are
	sets  int
}

func newAcks(stream grpc.ClientStream, after time.Duration, notHeld func() []string) *acks {
	return &acks{stream: stream, after: after, notHeld: notHeld, due: make(chan struct{}, 1)}
}

// add acknowledges a set, later unless it is urgent.
func (a *acks) add(nonce string, urgent bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.nonce = nonce
	a.sets++
	if urgent || a.sets >= ackSets {
		return a.send()
	}
	select {
	case a.due <- struct{}{}:
	default:
	}
	return nil
}

// send is called with the lock held.
func (a *acks) send() error {
	if a.nonce == "" {
		return nil
	}
	ack := &discovery.DeltaDiscoveryRequest{TypeUrl: kds.ChangesType, ResponseNonce: a.nonce, ResourceNamesUnsubscribe: a.notHeld()}
	a.nonce, a.sets = "", 0
	return a.stream.SendMsg(ack)
}

// unwritten tells that a set is in force and not durable, and why.
func (a *acks) unwritten(nonce, why string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stream.SendMsg(&discovery.DeltaDiscoveryRequest{
		TypeUrl: kds.ChangesType, ResponseNonce: nonce,
		ErrorDetail: &rpcstatus.Status{Code: int32(codes.Unavailable), Message: why},
	})
}

// say sends a request that acknowledges nothing.
func (a *acks) say(m *discovery.DeltaDiscoveryRequest) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stream.SendMsg(m)
}

// refuse sends what was taken, a refusal, and nothing more.
func (a *acks) refuse(nack *discovery.DeltaDiscoveryRequest) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.send(); err != nil {
		return err
	}
	if err := a.stream.SendMsg(nack); err != nil {
		return err
	}
	return a.stream.CloseSend()
}

// run sends what add left for later, until ctx ends.
func (a *acks) run(ctx context.Context) {
	wait := time.NewTimer(a.after)
	defer wait.Stop()
	for {
		select {
		case <-a.due:
		case <-ctx.Done():
			return
		}
		wait.Reset(a.after)
		select {
		case <-wait.C:
		case <-ctx.Done():
			return
		}
		a.mu.Lock()
		err := a.send()
		a.mu.Unlock()
		if err != nil {
			return // the stream is over, and says why to who receives
		}
	}
}
