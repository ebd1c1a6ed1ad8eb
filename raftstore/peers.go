package raftstore

import (
	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/raftnet"
)

// addresses tells Raft where a member is, and whom it means to reach there. Raft
// takes whoever answers at an address for the member that it has there. A node
// whose folder was emptied, which has forgotten what it acknowledged, would then
// vote in the name of the one that it was, and acknowledged writes could be lost.
// So an address has the form id@host:port, and each connection begins with the id.
type addresses struct{ store *Store }

// ServerAddr implements raft.ServerAddressProvider.
func (a addresses) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if a.store.cfg.AddressOf != nil {
		if at := a.store.cfg.AddressOf(string(id)); at != "" {
			return raftnet.JoinAddress(string(id), at), nil
		}
	}
	if r := a.store.raft.Load(); r != nil {
		for _, server := range members(r) {
			if server.ID == id {
				return raftnet.JoinAddress(string(id), string(server.Address)), nil
			}
		}
	}
	return "", federation.Errorf(federation.NotFound, "node %.64s is no member", id)
}
