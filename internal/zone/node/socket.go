package node

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
	"github.com/meridiankds/meridian/internal/endpoints"
)

// socketName is the zone's HTTP API in its data folder, for whoever may open it:
// operators on this host need no token, and none can be sent to a stranger who
// took the port of a zone that was killed.
const socketName = "api.sock"

// dialSocket bounds the question whether somebody serves the socket; the answer
// comes from the kernel.
const dialSocket = time.Second

// alone refuses a folder in which another zone runs. Its lock would tell as well,
// but only after the time that a predecessor has for shutting down; such a one
// serves its socket no more.
func (c *Config) alone() error {
	path, err := filepath.Abs(filepath.Join(c.DataDir, socketName))
	if err != nil || len(path) > endpoints.MaxSocketPath {
		return nil
	}
	conn, err := net.DialTimeout("unix", path, dialSocket)
	if err != nil {
		return nil // nobody is there: the ordinary case
	}
	conn.Close()
	return federation.Errorf(federation.Conflict, "another zone runs in %s", c.DataDir).
		WithHint("stop it, or name a folder of this zone's own with --data-dir")
}

// listenSocket makes the socket. It is called with the zone's file open, whose
// lock keeps two zones out of one folder.
func (c *Config) listenSocket() (net.Listener, error) {
	path, err := filepath.Abs(filepath.Join(c.DataDir, socketName))
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "finding the data folder: %w", err)
	}
	if len(path) > endpoints.MaxSocketPath {
		c.Logger.Warn("the data folder's path is too long for a socket: `zone status` needs --address and a token",
			"path", path, "longest", endpoints.MaxSocketPath)
		return nil, nil
	}
	// A socket left by a killed process refuses to be bound again.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, federation.Errorf(federation.Internal, "removing an old socket: %w", err).
			WithHint("the data folder must belong to the user that the zone runs as")
	}
	var listener net.Listener
	disk.Private(func() { listener, err = net.Listen("unix", path) })
	if err == nil {
		if err = os.Chmod(path, 0o600); err != nil { // nobody executes it
			listener.Close()
		}
	}
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "making the socket %s: %w", path, err).
			WithHint("the data folder must be on a file system that can hold sockets")
	}
	return listener, nil
}
