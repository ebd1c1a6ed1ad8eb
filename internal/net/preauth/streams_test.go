package preauth

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/meridiankds/meridian/internal/test/selfsigned"
)

// TestFewRequestsAreOnTheirWay: whoever opens streams and ends them at once is read from no
// faster than handlers have them. All that is ended is charged no more.
func TestFewRequestsAreOnTheirWay(t *testing.T) {
	server, client := net.Pipe()
	c := New(Config{}).newConn(server, &port{}, false, false)
	defer c.Close()
	const opened = 5*mostQueued + 3
	sent := make(chan error, 1)
	go func() {
		caller := tls.Client(client, selfsigned.Caller("h2"))
		_, err := io.WriteString(caller, http2.ClientPreface)
		f := http2.NewFramer(caller, nil)
		for i := range uint32(opened) {
			err = errors.Join(err, f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: []byte{0x82}, EndHeaders: true}))
			if i > 2 {
				err = errors.Join(err, f.WriteRSTStream(2*i+1, http2.ErrCodeCancel))
			}
		}
		sent <- errors.Join(err, caller.Close())
	}()
	w := Watch(tls.Server(c, selfsigned.Server(t)))
	preface := make([]byte, len(clientPreface))
	if _, err := io.ReadFull(w, preface); err != nil {
		t.Fatal(err)
	}
	most, s := 0, &c.pending.streams
	for f := http2.NewFramer(nil, w); ; most = max(most, s.queued) {
		if _, err := f.ReadFrame(); err != nil {
			break // nothing more comes
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if most < mostQueued-1 || most > mostQueued {
		t.Errorf("%d requests were on their way, at most %d may be", most, mostQueued)
	}
	if s.open != 3 || s.unseen != 3 {
		t.Errorf("%d streams are open, %d without a handler; three are", s.open, s.unseen)
	}
}

// TestALargeHelloIsRefused before anybody tries to understand it.
func TestALargeHelloIsRefused(t *testing.T) {
	for protocols, refused := range map[int]bool{1000: false, maxHello: true} {
		address := serve(t, New(Config{Deadline: patience}), selfsigned.Server(t))
		names := append(slices.Repeat([]string{"a"}, protocols), "http/1.1")
		conn, err := tls.Dial("tcp", address, selfsigned.Caller(names...))
		if (err != nil) != refused || err != nil && strings.Contains(err.Error(), "tls: ") {
			t.Errorf("%d protocols: %v", protocols, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}
