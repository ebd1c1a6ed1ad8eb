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
//
// In the cluster's configuration a member keeps the address at which it joined. Where it
// is now each node learns from the member itself and keeps in standings.json. An address
// that could be changed in the configuration would have to be nobody else's there, so that
// members could not swap theirs; and hashicorp/raft reads the address of a member without
// its lock while it may be changed (v1.7.3, replication.go, updateLastAppended).
type addresses struct{ store *Store }

// ServerAddr implements raft.ServerAddressProvider.
func (a addresses) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if at := a.store.AddressOf(string(id)); at != "" {
		return raftnet.JoinAddress(string(id), at), nil
	}
	return "", federation.Errorf(federation.NotFound, "node %.64s is no member", id)
}

// maxPlaces bounds the nodes whose address is remembered: members, and who may become one.
const maxPlaces = 1024

// AddressOf is the host:port at which a node was last found, or else the one at which it
// joined; empty for a node that was never found and is no member.
func (s *Store) AddressOf(id string) string {
	if at := s.place(id); at != "" {
		return at
	}
	if server := s.configured(id); server != nil {
		return raftnet.HostPort(*server)
	}
	return ""
}

func (s *Store) place(id string) string {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	return s.memory.present.Places[id]
}

// Locate notes that a node is at an address, for as long as it is a member also in standings.json.
func (s *Store) Locate(id, at string) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	places := s.memory.present.Places
	if places[id] == at || id == "" || at == "" || len(places) >= maxPlaces && places[id] == "" {
		return
	}
	next := map[string]string{id: at} // in the place of the former map, which is read without the lock
	for other, there := range places {
		if other != id {
			next[other] = there
		}
	}
	s.memory.present.Places, s.memory.changed = next, true
}

// memberAt is a member of a configuration, at the address where it was last found.
func memberAt(server raft.Server, places map[string]string) Member {
	m := Member{ID: string(server.ID), Address: places[string(server.ID)], Voter: server.Suffrage == raft.Voter}
	if m.Address == "" {
		m.Address = raftnet.HostPort(server)
	}
	return m
}
