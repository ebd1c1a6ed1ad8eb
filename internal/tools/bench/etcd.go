package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
)

// The rival of fan-out: etcd, where this machine has one. As many connections as
// there are zones have one watch each on the same key, and a put is measured from
// the moment its answer is here until the watchers have its event. etcd may have
// sent to watchers before it answers, so that this favours etcd.
//
// Its client library is not needed for two calls of three fields. The numbers are
// those of etcd's rpc.proto and kv.proto, of which all of version 3 agree:
//
//	WatchRequest        create_request = 1
//	WatchCreateRequest  key = 1
//	WatchResponse       created = 3, canceled = 4, events = 11
//	Event               type = 1 (0, which is left out: a put), kv = 2
//	KeyValue            key = 1, value = 5
//	PutRequest          key = 1, value = 2
const (
	etcdWatch = "/etcdserverpb.Watch/Watch"
	etcdPut   = "/etcdserverpb.KV/Put"
	etcdKey   = "revoked"
	// etcdValue is how long a value is, in bytes: about what an id is.
	etcdValue = 40
)

// etcd is a server of its own and its watchers, seen from the parent.
type etcd struct {
	server   *process
	watchers *child
	conn     *grpc.ClientConn // for puts
	puts     int              // that watchers must have seen
}

// findEtcd looks for etcd's program. Empty: there is none.
func findEtcd() string {
	path, err := exec.LookPath("etcd")
	if err != nil {
		return ""
	}
	return path
}

// startEtcd starts a lone etcd in the scope's folder, and n watchers.
func (s *scope) startEtcd(ctx context.Context, program string, n int) (*etcd, error) {
	clients, err := freePort()
	if err != nil {
		return nil, err
	}
	peers, err := freePort()
	if err != nil {
		return nil, err
	}
	e := &etcd{}
	e.server, err = s.start("etcd", exec.Command(program, "--name", "bench", "--data-dir", filepath.Join(s.dir, "etcd"),
		"--listen-client-urls", "http://"+clients, "--advertise-client-urls", "http://"+clients,
		"--listen-peer-urls", "http://"+peers, "--initial-advertise-peer-urls", "http://"+peers,
		"--initial-cluster", "bench=http://"+peers))
	if err != nil {
		return nil, err
	}
	if e.conn, err = dialRaw(clients, insecure.NewCredentials()); err != nil {
		return nil, err
	}
	s.onClose(func() { _ = e.conn.Close() })
	err = until(ctx, "etcd to take a write", func() (bool, error) {
		if !e.server.running() {
			return false, fmt.Errorf("it ended")
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, _, err := e.put(ctx, "ready")
		return err == nil, err
	})
	if err != nil {
		return nil, e.server.failure(err)
	}
	if e.watchers, err = s.role("etcdwatchers", "etcd-watchers"); err != nil {
		return nil, err
	}
	_, err = ask[joined](ctx, e.watchers, "join", bareJoin{Address: clients, N: n})
	return e, e.server.failure(err)
}

// put writes the value and returns when it was asked for and when the answer came,
// both wall clock, in nanoseconds.
func (e *etcd) put(ctx context.Context, value string) (asked, answered int64, err error) {
	request := field(field(nil, 1, []byte(etcdKey)), 2, []byte(value))
	var response []byte
	asked = time.Now().UnixNano()
	err = e.conn.Invoke(ctx, etcdPut, &request, &response)
	return asked, time.Now().UnixNano(), err
}

// change puts a new value, and returns how long it took to each watcher: since the
// answer, and since the put was asked for.
func (e *etcd) change(ctx context.Context) (fromAnswer, fromCall []time.Duration, err error) {
	random := make([]byte, etcdValue/2)
	if _, err := rand.Read(random); err != nil {
		return nil, nil, err
	}
	value := hex.EncodeToString(random)
	if _, err := ask[none](ctx, e.watchers, "arm", none{}); err != nil {
		return nil, nil, err
	}
	asked, answered, err := e.put(ctx, value)
	if err != nil {
		return nil, nil, e.server.failure(fmt.Errorf("putting into etcd: %w", err))
	}
	e.puts++
	stamps, err := ask[[]int64](ctx, e.watchers, "collect", watched{e.puts, value})
	if err != nil {
		return nil, nil, err
	}
	if fromCall, err = since(asked, stamps); err != nil {
		return nil, nil, err
	}
	for _, at := range stamps { // a watcher may have it before the answer is here
		fromAnswer = append(fromAnswer, max(0, time.Duration(at-answered)))
	}
	return fromAnswer, fromCall, nil
}

// field appends a field of bytes.
func field(to []byte, number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, number, protowire.BytesType), value)
}

// fields calls f with each field of a message: value is what a field of bytes
// holds, n what one of a number does.
func fields(message []byte, f func(number protowire.Number, value []byte, n uint64) error) error {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return protowire.ParseError(size)
		}
		message = message[size:]
		var value []byte
		var n uint64
		switch kind {
		case protowire.BytesType:
			value, size = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			n, size = protowire.ConsumeVarint(message)
		default:
			size = protowire.ConsumeFieldValue(number, kind, message)
		}
		if size < 0 {
			return protowire.ParseError(size)
		}
		message = message[size:]
		if err := f(number, value, n); err != nil {
			return err
		}
	}
	return nil
}
