// Package endpoints is the small file in which a running node leaves word of
// where it listens, so that the command line finds it by its data folder. It
// holds addresses and paths, never a secret.
package endpoints

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// MaxSocketPath is the longest path of a Unix socket on Linux (sun_path). A node whose
// data directory makes a longer one has no socket there.
const MaxSocketPath = 107

// FileName is the file's name in the data folder.
const FileName = "endpoints.json"

// Endpoints are the addresses of a running node, host:port, and the paths of
// what a client needs to talk to it. What a node does not have is empty.
type Endpoints struct {
	API            string `json:"api,omitempty"`            // HTTP API
	APITLS         string `json:"apiTLS,omitempty"`         // the same over TLS
	KDS            string `json:"kds,omitempty"`            // zone control planes
	Peer           string `json:"peer,omitempty"`           // other globals
	DP             string `json:"dp,omitempty"`             // proxies (zone)
	Diagnostics    string `json:"diagnostics,omitempty"`    // health
	CAFile         string `json:"caFile,omitempty"`         // absolute
	AdminTokenFile string `json:"adminTokenFile,omitempty"` // absolute, mode 0600
	AdminSocket    string `json:"adminSocket,omitempty"`    // absolute, mode 0600
}

// Write leaves the endpoints in the data folder.
func (e Endpoints) Write(dir string) error {
	data, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return federation.Errorf(federation.Internal, "encoding %s: %w", FileName, err)
	}
	return tlsutil.WriteFile(filepath.Join(dir, FileName), append(data, '\n'), 0o644)
}

// maxFile bounds what Read takes in.
const maxFile = 64 << 10

// Read returns what the node of the data folder last wrote.
func Read(dir string) (Endpoints, error) {
	path := filepath.Join(dir, FileName)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Endpoints{}, federation.Errorf(federation.NotFound, "no node runs in %s: %s is not there", dir, FileName).
			WithHint("start one there, or name its address with --address")
	case err != nil:
		return Endpoints{}, unreadable(dir, path, err)
	case info.Size() > maxFile:
		return Endpoints{}, federation.Errorf(federation.Invalid, "%s has %d bytes: no node wrote that", path, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Endpoints{}, unreadable(dir, path, err)
	}
	var e Endpoints
	if err := json.Unmarshal(data, &e); err != nil {
		return Endpoints{}, federation.Errorf(federation.Invalid, "%s is damaged: %w", path, err).
			WithHint("restart the node to have it written anew, or name the address with --address")
	}
	return e, nil
}

// unreadable is the error of a file that is there and cannot be read.
func unreadable(dir, path string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return federation.Errorf(federation.Forbidden, "this user may not look into the data directory %s", dir).
			WithHint("run the command as %s, as whom the node runs, or name its address with --address and give a token", disk.Owner(dir))
	}
	return federation.Errorf(federation.Internal, "reading %s: %w", path, err)
}

// Remove takes the file away when the node ends. A file that is not there is as
// good.
func Remove(dir string) error {
	err := os.Remove(filepath.Join(dir, FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Dialable is an address at which a client on this host reaches a listener: one
// that listens everywhere is found on loopback. It is empty for nil.
func Dialable(listener net.Listener) string {
	if listener == nil {
		return ""
	}
	tcp, ok := listener.Addr().(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return listener.Addr().String()
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
}
