package httpserver

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// A flood of strangers throws out itself: who has proved himself stays, and who
// comes to do so is let in.
func TestStrangersThrowOutEachOther(t *testing.T) {
	address, log := startServer(t, Server{Strangers: 4, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			Trust(r.Context())
		}
	})})
	served := func(conn net.Conn) bool {
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: y\r\n\r\n")
		b := make([]byte, 12)
		if _, err := io.ReadFull(conn, b); err != nil || string(b) != "HTTP/1.1 200" {
			return false
		}
		for rest := ""; !strings.HasSuffix(rest, "\r\n\r\n"); { // the head ends the answer: it has no body
			if _, err := io.ReadFull(conn, b[:1]); err != nil {
				return false
			}
			rest += string(b[:1])
		}
		return true
	}
	trusted := dial(t, address)
	if !served(trusted) {
		t.Fatal("not served")
	}
	var strangers []net.Conn
	for range 40 {
		strangers = append(strangers, dial(t, address))
	}
	// All but the last four lose their places to those that came later.
	for i, conn := range strangers[:36] {
		if _, err := io.ReadAll(conn); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Fatalf("stranger %d keeps his place: %v", i, err)
		}
	}
	if !served(trusted) {
		t.Error("who was trusted was thrown out")
	}
	if !served(dial(t, address)) {
		t.Error("who comes to prove himself is not let in")
	}
	if !strings.Contains(log.String(), "many connections of strangers") {
		t.Error("the log does not tell of the flood")
	}
}
