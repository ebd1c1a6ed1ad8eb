package raftfake

import (
	"context"

	"github.com/hashicorp/raft"
)

// Alter returns what raftstore.Config.WrapTransport wants: each command that a member is
// sent passes change, which gets the member's id and may return other data for it. The
// member then applies something else than the others. It works until ctx ends.
func Alter(ctx context.Context, change func(self string, command []byte) []byte) func(self string, t raft.Transport) raft.Transport {
	return func(self string, t raft.Transport) raft.Transport {
		a := altered{t.(inner), make(chan raft.RPC)}
		go func() {
			for {
				select {
				case rpc := <-a.inner.Consumer():
					if q, ok := rpc.Command.(*raft.AppendEntriesRequest); ok {
						for _, l := range q.Entries {
							if l.Type == raft.LogCommand {
								l.Data = change(self, l.Data)
							}
						}
					}
					select {
					case a.rpcs <- rpc:
					case <-ctx.Done():
						return
					}
				case <-ctx.Done():
					return
				}
			}
		}()
		return a
	}
}

// altered is a transport whose requests come changed.
type altered struct {
	inner
	rpcs chan raft.RPC
}

// Consumer implements raft.Transport.
func (a altered) Consumer() <-chan raft.RPC { return a.rpcs }
