package httpserver

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/internal/test/selfsigned"
)

// live is what the process occupies, what it could free apart.
func live() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools keep what they have over one
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// lines are header lines, as short as they can be, each with a name of its own.
func lines(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	var b strings.Builder
	for i := range n {
		b.Write([]byte{letters[i/36/36%36], letters[i/36%36], letters[i%36], ':', '\n'})
	}
	return b.String()
}

// frames are the begin of a connection of HTTP/2, with one complete request where asked
// for, and a block of headers that does not end.
func frames(t *testing.T, request bool, fields []byte) string {
	t.Helper()
	var out bytes.Buffer
	out.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&out, nil)
	post := []byte{0x83, 0x84, 0x86, 0x41, 1, 'x'} // :method POST, :path /, :scheme http, :authority x
	err := f.WriteSettings()
	stream := uint32(1)
	if request {
		err = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: post, EndHeaders: true})
		stream += 2
	}
	if err == nil {
		err = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: append(post, fields...)})
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// request is the begin of a connection of HTTP/2, with a request that lacks its body.
func request(t *testing.T, fields []byte) string {
	t.Helper()
	var out bytes.Buffer
	out.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&out, nil)
	post := append([]byte{0x83, 0x84, 0x86, 0x41, 1, 'x'}, fields...)
	if err := errors.Join(f.WriteSettings(), f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: post, EndHeaders: true})); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// streams are the begin of a connection of HTTP/2 whose caller asks as much as it may at a
// time, and takes nothing of any answer.
func streams(t *testing.T, fields ...string) string {
	t.Helper()
	var out, head bytes.Buffer
	out.WriteString(http2.ClientPreface)
	f, encoder := http2.NewFramer(&out, nil), hpack.NewEncoder(&head)
	err := f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	fields = append([]string{":method", "GET", ":path", "/", ":scheme", "https", ":authority", "x"}, fields...)
	for stream := range (Server{}).http2Bounds().MaxConcurrentStreams {
		head.Reset()
		for field := range slices.Chunk(fields, 2) {
			_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}) // of a buffer
		}
		err = errors.Join(err, f.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*stream + 1), BlockFragment: head.Bytes(), EndHeaders: true, EndStream: true}))
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// unheard is a connection on which a caller speaks and hears nothing.
type unheard struct {
	net.Conn
	said bytes.Buffer
}

func (u *unheard) Write(p []byte) (int, error) { return u.said.Write(p) }
func (u *unheard) Read([]byte) (int, error)    { return 0, io.EOF }
func (u *unheard) Close() error                { return nil }

// hello is what a caller says first over TLS that speaks n protocols besides ours.
func hello(t *testing.T, n int) string {
	t.Helper()
	var u unheard
	if tls.Client(&u, selfsigned.Caller(append(slices.Repeat([]string{"a"}, n), "h2")...)).HandshakeContext(t.Context()) == nil {
		t.Fatal("a handshake with nobody")
	}
	return u.said.String()
}

// TestHeadersAreChargedWhatTheyOccupy: many small headers occupy many times their bytes,
// and are charged as much while they, or what follows them, are not complete.
func TestHeadersAreChargedWhatTheyOccupy(t *testing.T) {
	const start = "POST / HTTP/1.1\r\nHost:x\r\nContent-Length:9\r\n"
	indexed := bytes.Repeat([]byte{0x80 | 15}, 2000) // accept-charset, a byte each
	var literal []byte
	for line := range strings.Lines(lines(450)) {
		literal = append(append(append(literal, 0, 3), line[:3]...), 0)
	}
	trailers := func(n int) string { return strings.ReplaceAll(strings.ReplaceAll(lines(n), ":", ""), "\n", ",") + "d" }
	var declared bytes.Buffer
	_ = hpack.NewEncoder(&declared).WriteField(hpack.HeaderField{Name: "trailer", Value: trailers(450)}) // of a buffer
	silent := map[string][2]int64{}                                                                      // by protocol
	for name, shape := range map[string]struct {
		protocol string // "": in the clear
		send     string
		whole    bool // the request begins, and waits for its body
	}{
		"distinct":                          {"", start + lines(3000), false},
		"distinct, over TLS":                {"http/1.1", start + lines(3000), false},
		"one name":                          {"", start + strings.Repeat("a:\n", 5000), false},
		"one long value":                    {"", start + "a:" + strings.Repeat("b", 15_000), false},
		"complete":                          {"", start + lines(3000) + "\r\n", true},
		"names of trailers":                 {"", "POST / HTTP/1.1\r\nHost:x\r\nTransfer-Encoding:chunked\r\nTrailer:" + trailers(3500) + "\r\n\r\n", true},
		"names of trailers, HTTP/2":         {"h2", request(t, declared.Bytes()), true},
		"a hello":                           {"hello", hello(t, 7_000), false},
		"answers not taken":                 {"h2", streams(t), false},
		"refusals not taken":                {"h2", streams(t, "te", "x"), false},
		"refusals for size not taken":       {"h2", streams(t, slices.Repeat([]string{"x", strings.Repeat("x", 3900)}, 5)...), false},
		"HTTP/2, indexed":                   {"h2", frames(t, false, indexed), false},
		"HTTP/2, literal":                   {"h2", frames(t, false, literal), false},
		"HTTP/2, indexed, beside a request": {"h2", frames(t, true, indexed), true},
		"HTTP/2, literal, beside a request": {"h2", frames(t, true, literal), true},
	} {
		t.Run(name, func(t *testing.T) {
			if _, known := silent[shape.protocol]; !known {
				live, charged := occupied(t, shape.protocol, "", false)
				silent[shape.protocol] = [2]int64{live, charged}
			}
			live, charged := occupied(t, shape.protocol, shape.send, shape.whole)
			live, charged = live-silent[shape.protocol][0], charged-silent[shape.protocol][1]
			t.Logf("%d bytes occupy %d, charged are %d", len(shape.send), live, charged)
			if live > charged*5/4+4<<10 { // the race detector needs more
				t.Errorf("%d bytes occupy %d, and only %d are charged", len(shape.send), live, charged)
			}
		})
	}
}

// TestTokensOfTheLargestSizePass, beside headers of a browser's size.
func TestTokensOfTheLargestSizePass(t *testing.T) {
	address, _ := startServer(t, Server{TLS: selfsigned.Server(t), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Length", strconv.Itoa(len(r.Header.Get("Authorization"))))
	})})
	for _, version := range []int{1, 2} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(version == 1)
		protocols.SetHTTP2(version == 2)
		transport := &http.Transport{Protocols: protocols, TLSClientConfig: selfsigned.Caller()}
		defer transport.CloseIdleConnections()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address, nil)
		if err != nil {
			t.Fatal(err)
		}
		token := "Bearer " + strings.Repeat("t", 8<<10)
		r.Header.Set("Authorization", token)
		r.Header.Set("Cookie", strings.Repeat("c", 4<<10))
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.ProtoMajor != version || resp.Header.Get("Length") != strconv.Itoa(len(token)) {
			t.Errorf("HTTP/%d: %s, a token of %s bytes", version, resp.Status, resp.Header.Get("Length"))
		}
	}
}

// occupied is what a connection on which text was sent occupies, and what it is charged.
func occupied(t *testing.T, protocol, text string, whole bool) (bytes, charged int64) {
	t.Helper()
	const connections = 20
	begun := make(chan struct{}, connections)
	server := Server{
		Budget: preauth.New(preauth.Config{Bytes: 1 << 30, Descriptors: 1 << 20, Deadline: time.Hour}),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case begun <- struct{}{}:
			default: // nobody waits for this one
			}
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, "an answer")
		}),
	}
	if protocol != "" {
		server.TLS = selfsigned.Server(t)
	}
	address, _ := startServer(t, server)
	before := live()
	for range connections {
		conn := dial(t, address)
		if protocol != "" && protocol != "hello" {
			secured := tls.Client(conn, selfsigned.Caller(protocol))
			if err := secured.Handshake(); err != nil {
				t.Fatal(err)
			}
			conn = secured
		}
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		if whole {
			<-begun
		}
	}
	held := func() int64 { return server.Budget.Stats()["test"].Bytes / connections }
	// All that was sent has been read once the figure stays.
	for charged = -1; charged != held(); {
		charged = held()
		bytes = (live() - before) / connections
	}
	return bytes, charged
}
