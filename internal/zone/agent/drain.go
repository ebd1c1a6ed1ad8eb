package agent

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/meridiankds/meridian/federation"
)

const (
	// adminCall bounds one call of Envoy's admin interface.
	adminCall = 2 * time.Second
	// unusedFor is how long no connection may have been there for a drain to end early.
	unusedFor = 2 * time.Second
	// maxSocketPath is the longest path of a Unix socket on Linux.
	maxSocketPath = 107
	// maxStats bounds what is read of Envoy's counters.
	maxStats = 4 << 20
)

// adminInterface is where Envoy's admin interface listens: a socket, or an address.
type adminInterface struct{ socket, address string }

func (i adminInterface) String() string {
	if i.socket != "" {
		return "unix:" + i.socket
	}
	return i.address
}

// adminOf decides where it is.
func (a *Agent) adminOf(e Envoy, dir string) (adminInterface, error) {
	port := e.AdminPort
	if a.cfg.Resource != nil && a.cfg.Resource.AdminPort != 0 {
		if port != 0 && port != a.cfg.Resource.AdminPort {
			return adminInterface{}, federation.Errorf(federation.Invalid, "--admin-port says %d and the resource %d", port, a.cfg.Resource.AdminPort).
				WithHint("leave --admin-port out")
		}
		port = a.cfg.Resource.AdminPort
	}
	if port != 0 {
		return adminInterface{address: net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))}, nil
	}
	socket := filepath.Join(dir, "envoy-admin.sock")
	if len(socket) > maxSocketPath {
		return adminInterface{}, federation.Errorf(federation.Invalid, "the path %s is too long for a socket, of which %d characters are the most", socket, maxSocketPath).
			WithHint("set TMPDIR to a shorter path, or give --admin-port")
	}
	return adminInterface{socket: socket}, nil
}

// client calls it, each time over a connection of its own.
func (i adminInterface) client() *http.Client {
	network, address := "unix", i.socket
	if i.socket == "" {
		network, address = "tcp", i.address
	}
	return &http.Client{Timeout: adminCall, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
}

// drain has Envoy tell its callers to go elsewhere, and waits until they have: until none is
// connected for a while, or the time is over.
func (a *Agent) drain(admin adminInterface, e Envoy, over <-chan struct{}) {
	limit := e.DrainTime
	if limit <= 0 {
		return
	}
	client := admin.client()
	for _, path := range []string{"/healthcheck/fail", "/drain_listeners?graceful"} {
		resp, err := client.Post("http://envoy"+path, "", nil)
		if err != nil {
			a.cfg.Logger.Warn("envoy does not answer at its admin interface: it ends without draining", "admin", admin.String(), "error", err)
			return
		}
		resp.Body.Close()
	}
	a.cfg.Logger.Info("envoy drains: it ends once no caller is connected, or the time is over", "atMost", limit.String(),
		"hint", "another signal ends it at once")
	end := time.NewTimer(limit)
	defer end.Stop()
	every := max(a.lookEvery/5, time.Millisecond)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	unused := 0 // looks in a row
	for {
		select {
		case <-over:
			return
		case <-e.Hurry:
			return
		case <-end.C:
			return
		case <-ticker.C:
			n, err := connections(client)
			if unused++; err != nil || n > 0 {
				unused = 0
			}
			if time.Duration(unused)*every >= unusedFor {
				return
			}
		}
	}
}

// connections is how many callers are connected to Envoy's listeners.
func connections(client *http.Client) (n int, err error) {
	resp, err := client.Get(`http://envoy/stats?filter=^listener\..*\.downstream_cx_active$`)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(io.LimitReader(resp.Body, maxStats))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		if strings.HasPrefix(name, "listener.admin.") || strings.Contains(name, ".worker_") {
			continue // ours; and parts of the sums
		}
		one, err := strconv.Atoi(value)
		if err != nil {
			return 0, err
		}
		n += one
	}
	return n, lines.Err()
}
