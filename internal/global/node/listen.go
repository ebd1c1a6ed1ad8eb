package node

import (
	"errors"
	"net"
	"os"
	"path/filepath"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// listeners are the ports of a node; what is not wanted is nil.
type listeners struct {
	api, apiTLS, kds, peer, diagnostics, admin net.Listener
}

// adminSocket is the name of the admin socket in the data folder.
const adminSocket = "admin.sock"

// listen binds every TCP port, or none.
func (c *Config) listen() (*listeners, error) {
	l := &listeners{}
	for _, port := range []struct {
		flag string
		addr endpoints.Addr
		into *net.Listener
	}{
		{"--api-addr", c.API, &l.api},
		{"--api-tls-addr", c.APITLS, &l.apiTLS},
		{"--kds-addr", c.KDS, &l.kds},
		{"--peer-addr", c.Peer, &l.peer},
		{"--diagnostics-addr", c.Diagnostics, &l.diagnostics},
	} {
		if port.addr.HostPort == "" {
			continue
		}
		listener, err := port.addr.Listen(port.flag, c.Logger)
		if err != nil {
			l.close()
			return nil, err
		}
		*port.into = listener
	}
	for _, port := range []*net.Listener{&l.apiTLS, &l.kds} { // they take client certificates
		if *port != nil {
			*port = tlsutil.Follow(*port)
		}
	}
	return l, nil
}

// listenAdmin makes the admin socket, which only this process's user may connect to. It is
// called with the folder locked, so that no other node's socket is taken away.
func (c *Config) listenAdmin() (net.Listener, error) {
	path, err := filepath.Abs(filepath.Join(c.DataDir, adminSocket))
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "finding the data folder: %w", err)
	}
	if len(path) > endpoints.MaxSocketPath {
		c.Logger.Warn("the data folder's path is too long for an admin socket: `global admin-token` will not work",
			"path", path, "longest", endpoints.MaxSocketPath)
		return nil, nil
	}
	// A socket left by a killed process refuses to be bound again.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, federation.Errorf(federation.Internal, "removing an old admin socket: %w", err)
	}
	var listener net.Listener
	disk.Private(func() { listener, err = net.Listen("unix", path) })
	if err == nil {
		if err = os.Chmod(path, 0o600); err != nil { // nobody executes it
			listener.Close()
		}
	}
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "making the admin socket %s: %w", path, err)
	}
	return listener, nil
}

func (l *listeners) all() []net.Listener {
	return []net.Listener{l.api, l.apiTLS, l.kds, l.peer, l.diagnostics, l.admin}
}

func (l *listeners) close() {
	for _, listener := range l.all() {
		if listener != nil {
			listener.Close()
		}
	}
}

// closeServed closes all but the peer port, on which this node is a member for a
// while longer.
func (l *listeners) closeServed() {
	served := *l
	served.peer = nil
	served.close()
}

// endpoints tells where the ports ended up.
func (l *listeners) endpoints() endpoints.Endpoints {
	return endpoints.Endpoints{
		API: endpoints.Dialable(l.api), APITLS: endpoints.Dialable(l.apiTLS), KDS: endpoints.Dialable(l.kds), Peer: endpoints.Dialable(l.peer),
		Diagnostics: endpoints.Dialable(l.diagnostics), AdminSocket: endpoints.Dialable(l.admin),
	}
}
