package endpoints

import (
	"errors"
	"log/slog"
	"net"
	"syscall"

	"github.com/meridiankds/meridian/federation"
)

// Addr is an address to listen on.
type Addr struct {
	HostPort string
	// MayMove lets the node take a free port where this one is taken.
	MayMove bool
}

// Listen binds the address, or a free port of its host in its place if it may move, which
// the logger is told. flag names the address in errors.
func (a Addr) Listen(flag string, logger *slog.Logger) (net.Listener, error) {
	listener, err := net.Listen("tcp", a.HostPort)
	switch {
	case err == nil:
		return listener, nil
	case !errors.Is(err, syscall.EADDRINUSE):
		return nil, federation.Errorf(federation.Invalid, "%s %s cannot be listened on: %w", flag, a.HostPort, err).
			WithHint("name an address of this machine with %s", flag)
	case !a.MayMove:
		return nil, federation.Errorf(federation.Conflict, "%s %s is taken by another process", flag, a.HostPort).
			WithHint("stop it, or name another address with %s; port 0 takes a free one", flag)
	}
	host, _, err := net.SplitHostPort(a.HostPort)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "%s: %w", flag, err)
	}
	if listener, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
		return nil, federation.Errorf(federation.Unavailable, "%s: %s is taken, and no free port was found: %w", flag, a.HostPort, err)
	}
	logger.Warn("the default port is taken, using a free one", "flag", flag, "default", a.HostPort, "address", listener.Addr().String())
	return listener, nil
}
