package adminapi

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/internal/access"
)

// TestGrantsOfLoopbackAreLogged: who is an administrator without a token.
func TestGrantsOfLoopbackAreLogged(t *testing.T) {
	e := newEnv(t)
	r := httptest.NewRequest("GET", "/zones", nil)
	r.RemoteAddr, r.Host = "127.0.0.1:7", "localhost"
	w := httptest.NewRecorder()
	if e.api.Handler(Loopback).ServeHTTP(w, r); w.Code != 200 || !strings.Contains(e.log.String(), `"level":"WARN"`) || !strings.Contains(e.log.String(), "forwarder") {
		t.Errorf("%d, logged %s", w.Code, e.log.String())
	}
}

// What each listener takes from whom. The rules are internal/access's; here it is
// held that the API asks it on every request.
func TestWhoMayCall(t *testing.T) {
	network := access.Policy{}
	loopback := access.Policy{LocalhostIsAdmin: true}
	socket := access.Policy{Socket: true}
	tests := []struct {
		name   string
		policy access.Policy
		remote string
		host   string
		header [2]string
		status int
	}{
		{"network: nobody without a token", network, "127.0.0.1:4000", "localhost:5681", [2]string{}, 401},
		{"network: a token", network, "192.0.2.1:4000", "global.example", [2]string{"Authorization", "Bearer admin-token"}, 200},
		{"loopback", loopback, "127.0.0.1:4000", "localhost:5681", [2]string{}, 200},
		{"loopback, IPv6", loopback, "[::1]:4000", "[::1]:5681", [2]string{}, 200},
		{"loopback, by address", loopback, "127.0.0.1:4000", "127.0.0.1:5681", [2]string{}, 200},
		{"loopback, IPv4 inside IPv6", loopback, "[::ffff:127.0.0.1]:4000", "127.0.0.1", [2]string{}, 200},
		{"not from loopback", loopback, "192.0.2.1:4000", "localhost:5681", [2]string{}, 401},
		{"foreign host", loopback, "127.0.0.1:4000", "evil.example:5681", [2]string{}, 403},
		{"host that only begins right", loopback, "127.0.0.1:4000", "localhost.evil.example", [2]string{}, 403},
		{"no host", loopback, "127.0.0.1:4000", "", [2]string{}, 403},
		{"foreign origin", loopback, "127.0.0.1:4000", "localhost:5681", [2]string{"Origin", "https://evil.example"}, 403},
		{"opaque origin", loopback, "127.0.0.1:4000", "localhost:5681", [2]string{"Origin", "null"}, 403},
		{"origin of another port", loopback, "127.0.0.1:4000", "localhost:5681", [2]string{"Origin", "http://localhost:9999"}, 403},
		{"own origin", loopback, "127.0.0.1:4000", "localhost:5681", [2]string{"Origin", "http://localhost:5681"}, 200},
		{"bad token on loopback", loopback, "127.0.0.1:4000", "localhost:5681", [2]string{"Authorization", "Bearer forged"}, 401},
		{"empty authorization on loopback", loopback, "127.0.0.1:4000", "localhost:5681", [2]string{"Authorization", ""}, 401},
		{"reader's token on loopback stays a reader's", loopback, "127.0.0.1:4000", "localhost:5681", [2]string{"Authorization", "Bearer reader-token"}, 403},
		{"admin socket", socket, "@", "meridian", [2]string{}, 200},
		{"bad token on the admin socket", socket, "@", "meridian", [2]string{"Authorization", "Bearer forged"}, 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var j journal
			r := httptest.NewRequest("PUT", "/things/a", nil)
			r.RemoteAddr, r.Host = tt.remote, tt.host
			if tt.header[0] != "" {
				r.Header.Set(tt.header[0], tt.header[1])
			}
			w := httptest.NewRecorder()
			fakeRouter(&j, tt.policy).ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if lines := j.lines(t); len(lines) != 1 || lines[0]["status"] != float64(tt.status) {
				t.Errorf("logged %v, want one line with status %d", lines, tt.status)
			}
		})
	}
}
