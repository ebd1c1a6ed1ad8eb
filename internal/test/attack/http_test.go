package attack

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// raw sends bytes to an address and returns all that comes back until it closes, or
// until nothing has come for a while.
func (f *federation) raw(address string, overTLS bool, request string) string {
	f.t.Helper()
	var conn net.Conn
	var err error
	if overTLS {
		conn, err = tls.Dial("tcp", address, &tls.Config{RootCAs: f.roots, ServerName: "localhost", MinVersion: tls.VersionTLS12})
	} else {
		conn, err = net.Dial("tcp", address)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		f.t.Fatal(err)
	}
	// The server may answer and close before it has read all of it.
	_, _ = io.WriteString(conn, request)
	all, _ := io.ReadAll(conn)
	return string(all)
}

// answers are the status codes of the answers in what came back.
func answers(t *testing.T, text string) (codes []int) {
	t.Helper()
	r := bufio.NewReader(strings.NewReader(text))
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return codes
		}
		codes = append(codes, resp.StatusCode)
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}

// TestNoRequestHidesInAnother sends what a proxy in front and the server behind it
// could read as different numbers of requests. The server answers it once with a
// refusal and closes, or reads exactly what RFC 9112 says; the hidden request, a
// deletion in an administrator's name, is never made.
func TestNoRequestHidesInAnother(t *testing.T) {
	f := start(t)
	admin := f.ports()[0].token
	hidden := "DELETE /zones/west HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + admin + "\r\nContent-Length: 0\r\n\r\n"
	head := "POST /v1/revocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer " + admin + "\r\n"
	chunked := "0\r\n\r\n" + hidden
	shapes := map[string]string{
		"both lengths":                head + fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n", len(chunked)) + chunked,
		"two lengths":                 head + fmt.Sprintf("Content-Length: 0\r\nContent-Length: %d\r\n\r\n", len(hidden)) + hidden,
		"a list of lengths":           head + fmt.Sprintf("Content-Length: 0, %d\r\n\r\n", len(hidden)) + hidden,
		"a signed length":             head + "Content-Length: +0\r\n\r\n" + hidden,
		"a negative length":           head + "Content-Length: -1\r\n\r\n" + hidden,
		"a length in hexadecimal":     head + "Content-Length: 0x0\r\n\r\n" + hidden,
		"an encoding nobody knows":    head + "Transfer-Encoding: xchunked\r\n\r\n" + chunked,
		"two encodings":               head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + chunked,
		"an encoding with a tab":      head + "Transfer-Encoding:\tchunked, identity\r\n\r\n" + chunked,
		"a blank before the colon":    head + fmt.Sprintf("Content-Length : %d\r\n\r\n", len(hidden)) + hidden,
		"a header that is folded":     head + "X-Long: a\r\n b\r\nTransfer-Encoding : chunked\r\n\r\n" + chunked,
		"a chunk of a huge size":      head + "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n" + hidden,
		"a chunk of a negative size":  head + "Transfer-Encoding: chunked\r\n\r\n-1\r\n" + hidden,
		"a chunk size that is a word": head + "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + hidden,
		"two hosts":                   "GET / HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n" + hidden,
		"no host":                     "GET / HTTP/1.1\r\n\r\n" + hidden,
		"a control character":         "GET / HTTP/1.1\r\nHost: localhost\r\nX-A: a\x00b\r\n\r\n" + hidden,
		"a method that is no word":    "GET\x01 / HTTP/1.1\r\nHost: localhost\r\n\r\n" + hidden,
		"HTTP/1.2 of nobody":          "GET / HTTP/9.9\r\nHost: localhost\r\n\r\n" + hidden,
		"HTTP/2 in the clear":         "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hidden,
	}
	g := f.global.Node.Endpoints()
	for name, shape := range shapes {
		for _, overTLS := range []bool{false, true} {
			address := g.API
			if overTLS {
				address = g.APITLS
			}
			codes := answers(t, f.raw(address, overTLS, shape))
			if len(codes) > 1 || len(codes) == 1 && codes[0] < 400 {
				t.Errorf("%s (TLS %t): answered %v", name, overTLS, codes)
			}
		}
	}
	for _, z := range f.global.Node.Store().Zones() {
		if z.Name == "west" {
			return
		}
	}
	t.Error("zone west was deleted by a request that hid in another")
}

// TestAForeignHostOnLoopback sends what a browser sends that was tricked into asking
// this machine: another site's name for it, or another site's page. Where loopback is
// an administrator, neither may count as one.
func TestAForeignHostOnLoopback(t *testing.T) {
	f := start(t)
	g, z := f.global.Node.Endpoints(), f.west.Node.Endpoints()
	for _, address := range []string{g.API, z.API} {
		for name, headers := range map[string]string{
			"a foreign host":            "Host: evil.example\r\n",
			"a foreign host and port":   "Host: evil.example:5681\r\n",
			"a name that begins right":  "Host: localhost.evil.example\r\n",
			"a name that ends right":    "Host: evil-localhost\r\n",
			"an address elsewhere":      "Host: 192.0.2.1\r\n",
			"a foreign page":            "Host: localhost\r\nOrigin: http://evil.example\r\n",
			"a page without an address": "Host: localhost\r\nOrigin: null\r\n",
			"a request that was passed": "Host: localhost\r\nX-Forwarded-For: 192.0.2.1\r\n",
		} {
			got := answers(t, f.raw(address, false, "GET /v1/status HTTP/1.1\r\n"+headers+"Connection: close\r\n\r\n"))
			if len(got) != 1 || got[0] != 401 && got[0] != 403 {
				t.Errorf("%s at %s: answered %v", name, address, got)
			}
		}
		// A full address as the target names the host too.
		got := answers(t, f.raw(address, false, "GET http://evil.example/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
		if len(got) != 1 || got[0] < 400 {
			t.Errorf("a foreign target at %s: answered %v", address, got)
		}
	}
}

// TestPathsThatClimb asks for names that would be other files or other routes, were
// they taken for paths. None leads to anything but a refusal, and the diagnostics port
// serves no files.
func TestPathsThatClimb(t *testing.T) {
	f := start(t)
	admin := f.ports()[0].token
	g, z := f.global.Node.Endpoints(), f.west.Node.Endpoints()
	names := []string{
		"..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "..%5c..%5c", "west%00", "west%2f", ".", "..%00/",
		"%c0%ae%c0%ae/", "west%0d%0aX-A:%20b", strings.Repeat("a", 4096),
	}
	for _, name := range names {
		for _, path := range []string{"/zones/", "/meshes/", "/global-secrets/", "/v1/zones/", "/v1/requests/", "/meshes/default/secrets/", "/v1/public-keys/zone/"} {
			if got := f.http("GET", "http://"+g.API+path+name, admin, ""); got.ok || strings.Contains(got.text, "root:") {
				t.Errorf("GET %s%.60s: %.100s", path, name, got.text)
			}
			if got := f.http("PUT", "http://"+g.API+path+name, admin, `{"type":"Zone","name":"x"}`); got.ok {
				t.Errorf("PUT %s%.60s: %.100s", path, name, got.text)
			}
		}
		for _, address := range []string{g.Diagnostics, z.Diagnostics, z.API} {
			if got := f.http("GET", "http://"+address+"/"+name, admin, ""); got.ok {
				t.Errorf("GET /%.60s at %s: %.100s", name, address, got.text)
			}
		}
	}
}
