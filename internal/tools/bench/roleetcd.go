package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
)

// etcdWatchers is many clients of etcd in one child, each with a connection and a
// watch of its own.
type etcdWatchers struct {
	seen     arrivals
	conns    []*grpc.ClientConn
	watchers []*etcdWatcher
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// etcdWatcher is one of them.
type etcdWatcher struct {
	mu     sync.Mutex
	puts   int    // that it was told of
	value  string // of the last
	broken error  // what it was told that it could not read, or how its stream ended
}

// watched is what every watcher must have seen: so many puts, the last of this value.
type watched struct {
	Puts  int    `json:"puts"`
	Value string `json:"value"`
}

func newEtcdWatchersRole() (methods, func()) {
	asMany()
	e := &etcdWatchers{}
	return methods{
		"join": method(e.join),
		"arm": method(func(context.Context, none) (none, error) {
			e.seen.arm(len(e.watchers))
			return none{}, nil
		}),
		"collect": method(e.collect),
	}, e.leave
}

// join connects all at once, and waits until each watches.
func (e *etcdWatchers) join(ctx context.Context, in bareJoin) (joined, error) {
	run, cancel := context.WithCancel(context.Background())
	e.cancel = cancel
	for range in.N {
		conn, err := dialRaw(in.Address, insecure.NewCredentials())
		if err != nil {
			return joined{}, err
		}
		e.conns, e.watchers = append(e.conns, conn), append(e.watchers, &etcdWatcher{})
	}
	e.seen.arm(in.N)
	begun := time.Now().UnixNano()
	for i, conn := range e.conns {
		w := e.watchers[i]
		e.running.Go(func() { w.fail(w.watch(run, conn, func() { e.seen.saw(i) })) })
	}
	stamps, err := e.seen.collect(ctx)
	return joined{begun, stamps}, err
}

func (w *etcdWatcher) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = err
}

// watch watches the key until ctx ends, and says saw at the answer that the watch
// is made, and at each that has events.
func (w *etcdWatcher) watch(ctx context.Context, conn *grpc.ClientConn, saw func()) error {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, etcdWatch, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("watching: %w", err)
	}
	request := field(nil, 1, field(nil, 1, []byte(etcdKey)))
	if err := stream.SendMsg(&request); err != nil {
		return fmt.Errorf("watching: %w", err)
	}
	for {
		var m []byte
		if err := stream.RecvMsg(&m); err != nil {
			return fmt.Errorf("watching: %w", err)
		}
		if err := w.take(m); err != nil {
			return fmt.Errorf("reading what etcd sent: %w", err)
		}
		saw()
	}
}

// take reads a WatchResponse. One that says nothing is an error.
func (w *etcdWatcher) take(m []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	told := false
	err := fields(m, func(number protowire.Number, value []byte, n uint64) error {
		switch {
		case number == 3 && n == 1: // created
			told = true
		case number == 4 && n == 1:
			return fmt.Errorf("the watch was canceled")
		case number == 11:
			told = true
			return w.event(value)
		}
		return nil
	})
	if err == nil && !told {
		err = fmt.Errorf("a response of %d bytes has no event", len(m))
	}
	return err
}

func (w *etcdWatcher) event(m []byte) error {
	return fields(m, func(number protowire.Number, value []byte, n uint64) error {
		switch {
		case number == 1 && n != 0:
			return fmt.Errorf("an event of type %d", n)
		case number == 2:
			w.puts++
			return fields(value, func(number protowire.Number, value []byte, _ uint64) error {
				switch {
				case number == 1 && string(value) != etcdKey:
					return fmt.Errorf("an event of another key")
				case number == 5:
					w.value = string(value)
				}
				return nil
			})
		}
		return nil
	})
}

// collect returns when each watcher saw what came since arm, once each has seen
// every put exactly once, and the last one's value.
func (e *etcdWatchers) collect(ctx context.Context, in watched) ([]int64, error) {
	stamps, err := e.seen.collect(ctx)
	for i, w := range e.watchers {
		w.mu.Lock()
		puts, value, broken := w.puts, w.value, w.broken
		w.mu.Unlock()
		if broken != nil {
			return nil, fmt.Errorf("watcher %d: %w", i, broken)
		}
		if err == nil && (puts != in.Puts || value != in.Value) {
			return nil, fmt.Errorf("watcher %d saw %d puts, want %d, the last one's value is right: %v", i, puts, in.Puts, value == in.Value)
		}
	}
	return stamps, err
}

func (e *etcdWatchers) leave() {
	if e.cancel == nil {
		return
	}
	e.cancel()
	for _, conn := range e.conns {
		_ = conn.Close()
	}
	e.running.Wait()
}
