package raftfake

import (
	"errors"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// What an RPC asks for.
const (
	RPCAppend     = "append" // entries, or none: a heartbeat
	RPCVote       = "vote"
	RPCPreVote    = "pre-vote"
	RPCSnapshot   = "snapshot"
	RPCTimeoutNow = "timeout-now"
)

// RPC is one request of Raft's to another member.
type RPC struct {
	From, To string // ids of nodes
	Kind     string
}

// Intercept stands between Raft and the network and decides what becomes of a single
// request, which a connection cannot lose, double or overtake: for tests. send sends one
// copy and returns when it was answered. Raft gets the error that Intercept returns, or
// the answer to the copy that was answered last until then. Copies of all but a snapshot
// may also be sent later: they arrive late, and nobody gets the answer.
type Intercept func(rpc RPC, send func() error) error

// errUnanswered is what Raft gets where nothing was sent.
var errUnanswered = errors.New("the request was not answered")

// errOnce is what sending the second copy of what has none ends with.
var errOnce = errors.New("this request cannot be sent again")

// Wrap returns what raftstore.Config.WrapTransport wants: each request passes intercept.
func Wrap(intercept Intercept) func(self string, t raft.Transport) raft.Transport {
	return func(self string, t raft.Transport) raft.Transport {
		return intercepted{t.(inner), self, intercept}
	}
}

// inner is what Raft uses of a transport over a network.
type inner interface {
	raft.Transport
	raft.WithPreVote
	raft.WithClose
}

// intercepted is a transport whose requests pass an Intercept.
type intercepted struct {
	inner
	self      string
	intercept Intercept
}

func (t intercepted) rpc(to raft.ServerID, kind string) RPC {
	return RPC{From: t.self, To: string(to), Kind: kind}
}

// exchange sends copies of args and keeps the last answer: Raft may go on using its own
// while a late copy is under way.
func exchange[Q, R any](t intercepted, rpc RPC, args *Q, resp *R, call func(*Q, *R) error) error {
	request := *args
	var mu sync.Mutex
	var last *R
	err := t.intercept(rpc, func() error {
		q, r := request, new(R)
		if err := call(&q, r); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		last = r
		return nil
	})
	if err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	if last == nil {
		return errUnanswered
	}
	*resp = *last
	return nil
}

// once lets the Intercept send what has no copies.
func (t intercepted) once(rpc RPC, call func() error) error {
	var mu sync.Mutex
	var sent bool
	use := func() bool {
		mu.Lock()
		defer mu.Unlock()
		was := sent
		sent = true
		return was
	}
	err := t.intercept(rpc, func() error {
		if use() {
			return errOnce
		}
		return call()
	})
	if !use() && err == nil {
		return errUnanswered
	}
	return err
}

// AppendEntries implements raft.Transport.
func (t intercepted) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	return exchange(t, t.rpc(id, RPCAppend), args, resp, func(q *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse) error {
		return t.inner.AppendEntries(id, target, q, r)
	})
}

// RequestVote implements raft.Transport.
func (t intercepted) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return exchange(t, t.rpc(id, RPCVote), args, resp, func(q *raft.RequestVoteRequest, r *raft.RequestVoteResponse) error {
		return t.inner.RequestVote(id, target, q, r)
	})
}

// RequestPreVote implements raft.WithPreVote.
func (t intercepted) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return exchange(t, t.rpc(id, RPCPreVote), args, resp, func(q *raft.RequestPreVoteRequest, r *raft.RequestPreVoteResponse) error {
		return t.inner.RequestPreVote(id, target, q, r)
	})
}

// InstallSnapshot implements raft.Transport.
func (t intercepted) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	return t.once(t.rpc(id, RPCSnapshot), func() error {
		return t.inner.InstallSnapshot(id, target, args, resp, data)
	})
}

// TimeoutNow implements raft.Transport.
func (t intercepted) TimeoutNow(id raft.ServerID, target raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return exchange(t, t.rpc(id, RPCTimeoutNow), args, resp, func(q *raft.TimeoutNowRequest, r *raft.TimeoutNowResponse) error {
		return t.inner.TimeoutNow(id, target, q, r)
	})
}
