package raftnet

import (
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// JoinAddress is the address under which Raft dials a member: its id, @, host:port.
func JoinAddress(id, at string) raft.ServerAddress { return raft.ServerAddress(id + "@" + at) }

// HostPort is the host:port that the cluster's configuration has for a member: where it was when it joined.
func HostPort(s raft.Server) string { return strings.TrimPrefix(string(s.Address), string(s.ID)+"@") }

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
