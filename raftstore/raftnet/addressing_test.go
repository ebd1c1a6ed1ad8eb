package raftnet

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestAddresses(t *testing.T) {
	for text, want := range map[string][2]string{
		"n1@host:1": {"n1", "host:1"}, "n1@a@b:1": {"n1", "a@b:1"}, "host:1": {}, "@host:1": {},
		strings.Repeat("x", 256) + "@host:1": {},
	} {
		id, at, ok := splitAddress(raft.ServerAddress(text))
		if ok != (want[0] != "") || ok && (id != want[0] || string(at) != want[1]) {
			t.Errorf("%.20s: %q %q %v", text, id, at, ok)
		}
	}
}

// A connection that is meant for another node carries nothing.
func TestConnectionsAreMeantForOneNode(t *testing.T) {
	for id, good := range map[string]bool{"me": true, "the-one-before-me": false, "m": false} {
		near, far := net.Pipe()
		go func() {
			if name(near, id, time.Minute) == nil {
				_, _ = near.Write([]byte("x"))
			}
			near.Close()
		}()
		n, err := (&meantFor{Conn: far, self: "me"}).Read(make([]byte, 8))
		if good != (err == nil && n == 1) {
			t.Errorf("meant for %s: %d %v", id, n, err)
		}
		far.Close()
	}
}
