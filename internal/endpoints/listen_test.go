package endpoints

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
)

func TestListen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	address := taken.Addr().String()

	_, err = Addr{HostPort: address}.Listen("--x-addr", logger)
	if e := federation.AsError(err); e == nil || e.Code != federation.Conflict || !strings.Contains(e.Detail, "--x-addr "+address) || e.Hint == "" {
		t.Errorf("a port that is taken: %+v", e)
	}
	moved, err := Addr{HostPort: address, MayMove: true}.Listen("--x-addr", logger)
	if err != nil {
		t.Fatal(err)
	}
	defer moved.Close()
	if got := moved.Addr().String(); got == address || !strings.HasPrefix(got, "127.0.0.1:") || !strings.Contains(log.String(), "address="+got) {
		t.Errorf("it moved to %s and says:\n%s", got, log.String())
	}
	if _, err := (Addr{HostPort: "192.0.2.1:0", MayMove: true}).Listen("--x-addr", logger); federation.CodeOf(err) != federation.Invalid {
		t.Errorf("an address of another machine: %v", err)
	}
}
