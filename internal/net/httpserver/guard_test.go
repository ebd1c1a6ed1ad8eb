package httpserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/net/loglimit"
	"github.com/meridiankds/meridian/internal/test/testlog"
)

// logBook is a log that a test may read while the server runs.
type logBook = testlog.Log

// startServer runs a server until the test ends.
func startServer(t *testing.T, s Server) (address string, log *logBook) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log = &logBook{}
	s.Name, s.Listener, s.Logger = "test", l, slog.New(slog.NewTextHandler(log, nil))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String(), log
}

// patience is for machines that pause anything for seconds.
const patience = time.Minute

// dial opens a connection that fails rather than hangs.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// ask sends a request and returns all that comes back until the server closes.
func ask(t *testing.T, address, request string) string {
	t.Helper()
	conn := dial(t, address)
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("the connection stays open: %v after %q", err, answer)
	}
	return string(answer)
}

// TestAnswersNameTheirService: a global and a zone have the same default ports, and a client
// tells by this who answered, also where it was refused.
func TestAnswersNameTheirService(t *testing.T) {
	address, _ := startServer(t, Server{Service: "zone", Handler: http.NotFoundHandler()})
	resp, err := http.Get("http://" + address + "/nowhere")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := resp.Header.Get(apitypes.HeaderService); got != "zone" || resp.StatusCode != http.StatusNotFound {
		t.Errorf("status %d, the service %q", resp.StatusCode, got)
	}
}

func TestADefectIsSeenAndAnswered(t *testing.T) {
	address, log := startServer(t, Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			_, _ = io.WriteString(w, "half")
		}
		panic("the defect")
	})})
	answer := ask(t, address, "POST /early/"+strings.Repeat("p", 200)+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret-token\r\nConnection: close\r\n\r\n")
	head, body, _ := strings.Cut(answer, "\r\n\r\n")
	var e struct {
		Type   string
		Status int
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil || !strings.HasPrefix(head, "HTTP/1.1 500") || e.Type != "/std-errors" || e.Status != 500 {
		t.Errorf("answered %q", answer)
	}
	if strings.Contains(answer, "the defect") {
		t.Errorf("the defect is told to the caller: %q", answer)
	}
	got := log.String()
	if !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "the defect") || !strings.Contains(got, "guard_test.go") {
		t.Errorf("logged %q", got)
	}
	if strings.Contains(got, "secret-token") || strings.Contains(got, strings.Repeat("p", 60)) {
		t.Errorf("logged too much of the request: %q", got)
	}
	// Half an answer is cut off, not ended.
	resp, err := http.Get("http://" + address + "/late")
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("half an answer passed for a whole one")
	}
}

func TestConnectionsThatEnd(t *testing.T) {
	address, _ := startServer(t, Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, r.Method+" "+r.URL.Path)
	})})
	for name, tc := range map[string]struct{ request, want string }{
		"a stranger":            {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 401"},
		"two lengths of a body": {"POST /a HTTP/1.1\r\nHost: x\r\nAuthorization: y\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 200"},
		"a PROXY header":        {"PROXY TCP4 192.0.2.1 127.0.0.1 4711 5681\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400"},
		"options of a stranger": {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 401"},
		"options for the whole": {"OPTIONS * HTTP/1.1\r\nHost: x\r\nAuthorization: y\r\nConnection: close\r\n\r\n", "OPTIONS *"},
	} {
		if got := ask(t, address, tc.request); !strings.Contains(got, tc.want) {
			t.Errorf("%s: answered %q, want %q", name, got, tc.want)
		}
	}
}

// A 401 about somebody else's token says nothing about the caller: on HTTP/2 the end
// of the connection would take other callers' requests with it.
func TestAnswersAboutATokenUnderTestCloseNothing(t *testing.T) {
	address, _ := startServer(t, Server{
		Handler:     http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }),
		TestsTokens: func(r *http.Request) bool { return r.URL.Path == "/test" },
	})
	conn := dial(t, address)
	in := bufio.NewReader(conn)
	for path, closes := range map[string]bool{"/test": false, "/own": true} {
		if !closes {
			if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(in, nil)
			if err != nil || resp.StatusCode != http.StatusUnauthorized || resp.Close {
				t.Errorf("%s: %v, %v", path, resp, err)
			}
			continue
		}
		if got := ask(t, address, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.Contains(got, "Connection: close") {
			t.Errorf("%s: %q", path, got)
		}
	}
}

func TestNetHTTPIsHeard(t *testing.T) {
	address, log := startServer(t, Server{Handler: http.NotFoundHandler(), TLS: &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, io.ErrUnexpectedEOF },
	}})
	for range 3 {
		conn := dial(t, address)
		_, _ = io.WriteString(conn, "this is not TLS at all, it is only text\r\n")
		_, _ = io.ReadAll(conn)
	}
	if !strings.Contains(log.String(), "no TLS with a caller") {
		t.Errorf("logged %q", log.String())
	}

	now := time.Now()
	var quiet logBook
	out := errorLog{name: "test", log: slog.New(slog.NewTextHandler(&quiet, nil)), lines: loglimit.New(2, func() time.Time { return now })}
	for range 100 {
		_, _ = io.WriteString(out, "http: Accept error: too many open files\n")
	}
	if got := quiet.String(); strings.Count(got, "level=WARN") != 2 {
		t.Errorf("logged %q", got)
	}
}
