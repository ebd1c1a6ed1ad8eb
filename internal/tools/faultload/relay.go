package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// chunk is what a relay passes on at once; with a delay of d a direction carries no
// more than chunk/d bytes a second.
const chunk = 16 << 10

// link is the state of all connections of a relay.
type link struct {
	mu      sync.Mutex
	changed *sync.Cond
	delay   time.Duration
	stalled map[string]bool // by direction: "up" to the global, "down" to the zone
	closed  bool
}

func newLink() *link {
	l := &link{stalled: map[string]bool{}}
	l.changed = sync.NewCond(&l.mu)
	return l
}

func (l *link) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	l.changed.Broadcast()
}

// flow waits until bytes may pass in a direction, and returns how late they are to
// be; false where the relay ends.
func (l *link) flow(direction string) (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.stalled[direction] && !l.closed {
		l.changed.Wait()
	}
	return l.delay, !l.closed
}

// runRelay forwards each listener to its target. ctl tells it "delay 200ms", "stall
// up", "stall down" and "flow", which undoes all of them.
func runRelay(ctx context.Context, forward string) error {
	l := newLink()
	group, ctx := errgroup.WithContext(ctx)
	for _, pair := range strings.Split(forward, ",") {
		listen, target, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("--forward: %q is not LISTEN=TARGET", pair)
		}
		listener, err := net.Listen("tcp", listen)
		if err != nil {
			return err
		}
		group.Go(func() error { return l.serve(ctx, listener, target) })
	}
	group.Go(func() error { return control(ctx, l) })
	group.Go(func() error {
		<-ctx.Done()
		l.set(func() { l.closed = true })
		return nil
	})
	return group.Wait()
}

// ServeHTTP takes what ctl says.
func (l *link) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	arg := argument(r)
	switch strings.TrimPrefix(r.URL.Path, "/") {
	case "delay":
		d, err := time.ParseDuration(arg)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		l.set(func() { l.delay = d })
	case "stall":
		l.set(func() { l.stalled[arg] = true })
	case "flow":
		l.set(func() { l.delay = 0; clear(l.stalled) })
	default:
		http.NotFound(w, r)
	}
}

func (l *link) serve(ctx context.Context, listener net.Listener, target string) error {
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	var wait sync.WaitGroup
	defer wait.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		wait.Go(func() { l.carry(ctx, conn, target) })
	}
}

// carry passes one connection on until one of its ends closes.
func (l *link) carry(ctx context.Context, zone net.Conn, target string) {
	defer zone.Close()
	dialer := net.Dialer{Timeout: 5 * time.Second}
	global, err := dialer.DialContext(ctx, "tcp", target)
	if err != nil {
		return
	}
	both := func() { zone.Close(); global.Close() }
	stop := context.AfterFunc(ctx, both)
	defer stop()
	var wait sync.WaitGroup
	wait.Go(func() { defer both(); l.pump("up", zone, global) })
	wait.Go(func() { defer both(); l.pump("down", global, zone) })
	wait.Wait()
}

func (l *link) pump(direction string, from io.Reader, to io.Writer) {
	buffer := make([]byte, chunk)
	for {
		n, err := from.Read(buffer)
		delay, ok := l.flow(direction)
		if !ok {
			return
		}
		time.Sleep(delay) // the slow link itself
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
