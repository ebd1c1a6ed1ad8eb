package raftstore

import (
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/federation"
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
			return joinAddress(string(id), at), nil
		}
	}
	if r := a.store.raft.Load(); r != nil {
		for _, server := range members(r) {
			if server.ID == id {
				return joinAddress(string(id), string(server.Address)), nil
			}
		}
	}
	return "", federation.Errorf(federation.NotFound, "node %.64s is no member", id)
}

func joinAddress(id, at string) raft.ServerAddress { return raft.ServerAddress(id + "@" + at) }

func splitAddress(addr raft.ServerAddress) (id string, at raft.ServerAddress, ok bool) {
	id, rest, ok := strings.Cut(string(addr), "@")
	return id, raft.ServerAddress(rest), ok && id != "" && len(id) <= maxNodeID
}

// maxNodeID bounds a node's id on the wire, whose length is one byte.
const maxNodeID = 255

// name tells the other end whom this connection is meant for.
func name(conn net.Conn, id string, timeout time.Duration) error {
	if err := conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := conn.Write(append([]byte{byte(len(id))}, id...)); err != nil {
		return err
	}
	return conn.SetWriteDeadline(time.Time{})
}

// meantFor is an accepted connection. Its first read takes the id that it is meant
// for, in the goroutine that Raft has for each connection: a peer that stays silent
// holds up nobody else.
type meantFor struct {
	net.Conn
	self string
	seen bool
}

// Read implements net.Conn. Raft reads a connection from one goroutine.
func (c *meantFor) Read(p []byte) (int, error) {
	if !c.seen {
		if err := c.check(); err != nil {
			return 0, err
		}
		c.seen = true
	}
	return c.Conn.Read(p)
}

func (c *meantFor) check() error {
	if err := c.SetReadDeadline(time.Now().Add(peerTimeout)); err != nil {
		return err
	}
	var size [1]byte
	if _, err := io.ReadFull(c.Conn, size[:]); err != nil {
		return err
	}
	id := make([]byte, size[0])
	if _, err := io.ReadFull(c.Conn, id); err != nil {
		return err
	}
	if string(id) != c.self {
		return fmt.Errorf("a peer at %s looks for node %q here, this is node %s", c.RemoteAddr(), id, c.self)
	}
	return c.SetReadDeadline(time.Time{})
}

// plainNames is the transport under which members tell each other their addresses
// as they are: who they are is said apart.
type plainNames struct{ *transport }

// EncodePeer implements raft.Transport.
func (plainNames) EncodePeer(_ raft.ServerID, at raft.ServerAddress) []byte { return []byte(at) }
