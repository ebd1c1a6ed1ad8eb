package preauth

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/meridiankds/meridian/internal/test/selfsigned"
)

// heldBy is what an identity is charged.
func (b *Budget) heldBy(id Identity) int64 {
	b.held.mu.Lock()
	defer b.held.mu.Unlock()
	if o := b.held.holders[id]; o != nil {
		return o.bytes
	}
	return 0
}

// TestHeadersOfAnIdentityAreBounded: headers that are never complete count against whose
// connection they come on, and are forgotten once the request begins.
func TestHeadersOfAnIdentityAreBounded(t *testing.T) {
	b := New(Config{Deadline: patience})
	address := serve(t, b, nil)
	me := Identity{Kind: User, Name: "me"}
	lines := strings.Repeat("a:\n", 15<<10/3)
	var conns []net.Conn
	closed := make(chan struct{}, quotas[User].connections)
	for range quotas[User].connections {
		conn := dial(t, address)
		if status, _, err := ask(conn, "Who: me\r\n"); status != 200 {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	eventually(t, "nothing to be charged between requests", func() bool { return b.heldBy(me) == 0 })
	var most int64
	for _, conn := range conns {
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n"+lines)
		most = max(most, b.heldBy(me))
		go func() {
			_, _ = io.Copy(io.Discard, conn)
			closed <- struct{}{}
		}()
	}
	<-closed // the first that was too much
	if most > quotas[User].bytes {
		t.Errorf("%d bytes are held, the quota is %d", most, quotas[User].bytes)
	}
	eventually(t, "the headers to be charged", func() bool { return b.heldBy(me) > quotas[User].bytes*9/10 })
	if b.Totals().OverQuota == 0 {
		t.Error("nothing was refused")
	}
	if status, _, err := ask(dial(t, address), "Who: another\r\n"); status != 200 {
		t.Errorf("another user: %v", err)
	}
	for _, conn := range conns {
		conn.Close()
	}
	eventually(t, "the quota to be free", func() bool { return b.heldBy(me) == 0 })
}

// TestBodiesThatNobodyReadsAreBounded: what HTTP/2 has taken of bodies while their handlers
// do something else counts against whose connection it is.
func TestBodiesThatNobodyReadsAreBounded(t *testing.T) {
	b := New(Config{Deadline: patience})
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	me := Identity{Kind: Proxy, Name: "me"}
	leave := make(chan struct{})
	server := &http.Server{
		TLSConfig: b.TLS(selfsigned.Server(t)), ConnContext: ConnContext, ErrorLog: log.New(io.Discard, "", 0),
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerConnection: mostPending, MaxReceiveBufferPerStream: mostUnread},
		Handler: b.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := Proved(r.Context(), me); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			<-leave
			_, _ = io.Copy(io.Discard, r.Body)
		}), refuse),
	}
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(b.Listen(raw, "test", true), "", "") }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	proceed := sync.OnceFunc(func() { close(leave) })
	defer proceed()
	open := func() net.Conn {
		conn, err := tls.Dial("tcp", raw.Addr().String(), selfsigned.Caller("h2"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		_, _ = io.WriteString(conn, posts(t, 4, mostUnread)) // until it is cut off
		return conn
	}
	full := int(quotas[Proxy].bytes / mostPending)
	var conns []net.Conn
	for i := range full - 1 {
		conns = append(conns, open())
		eventually(t, "it to be charged", func() bool { return b.heldBy(me) >= int64(i+1)*(mostPending+4*costRequest) })
	}
	conns = append(conns, open()) // requests cost something, too: there is no room for all of this
	eventually(t, "some of it to be refused", func() bool { return b.Totals().OverQuota > 0 })
	if held := b.heldBy(me); held > quotas[Proxy].bytes {
		t.Errorf("%d bytes are held, the quota is %d", held, quotas[Proxy].bytes)
	}
	proceed()
	for _, conn := range conns {
		conn.Close()
	}
	eventually(t, "the quota to be free", func() bool { return b.heldBy(me) == 0 })
}

// posts are the begin of a connection of HTTP/2 with requests that lack a byte.
func posts(t *testing.T, n, length int) string {
	t.Helper()
	var out, head strings.Builder
	out.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&out, nil)
	fields := hpack.NewEncoder(&head)
	for name, value := range map[string]string{":method": "POST", ":path": "/", ":scheme": "https", ":authority": "x"} {
		_ = fields.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: true}) // of a builder
	}
	err := f.WriteSettings()
	for i := range n {
		stream := uint32(2*i + 1)
		err = errors.Join(err, f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte(head.String()), EndHeaders: true}))
		for left := length - 1; left > 0; left -= 16 << 10 {
			err = errors.Join(err, f.WriteData(stream, false, make([]byte, min(left, 16<<10))))
		}
	}
	if err != nil {
		t.Fatal(fmt.Errorf("writing frames: %w", err))
	}
	return out.String()
}

// TestWhatIsPending: the sums are right for bodies that are read in pieces, and nothing
// adds up on a connection that lives long.
func TestWhatIsPending(t *testing.T) {
	raw := &net.TCPConn{}
	c := New(Config{}).newConn(raw, &port{}, false, false)
	come := func(n int64) { _ = c.pends(func(p *pending) { p.came += n }) }
	pends := func(step string, want int64) {
		t.Helper()
		if got := c.pending.bytes(); got != want {
			t.Errorf("%s: %d bytes, want %d", step, got, want)
		}
	}
	read := func(r *Request, n, room int, meanwhile func(), err error) {
		_, _ = r.reads(func([]byte) (int, error) {
			meanwhile()
			return n, err
		}, make([]byte, room))
	}
	nothing := func() {}
	come(100)
	stream := &Request{conn: c}
	stream.begins(2, -1)
	pends("a body may have come with its headers", 100)
	read(stream, 5, 5, func() { pends("it is being read", 0) }, nil)
	pends("there may be more", 100)
	read(stream, 10, 5<<10, nothing, nil)
	pends("there was no more", 0)
	come(1000)
	pends("more has come", 1000)
	read(stream, 5, 5, func() { come(50) }, nil)
	pends("it had to wait for this", 50)

	small := &Request{conn: c}
	small.begins(2, 30)
	pends("a small body beside it", 50+30)
	come(2 * mostUnread)
	pends("as much as a window has room for", mostUnread+30)
	read(small, 0, 100, nothing, io.EOF)
	pends("the small one is over", mostUnread)
	stream.ends()
	small.ends()
	pends("all are over", 0)

	for range 1000 { // a long life
		come(mostPending)
		pends("between requests", 0)
	}
	plain := New(Config{}).newConn(raw, &port{}, false, false)
	c = plain
	one := &Request{conn: c}
	one.begins(1, 10)
	come(10)
	pends("a body of HTTP/1", 0)
	one.ends()
	come(10)
	pends("headers", 10*headerFactor)
	come(mostPending)
	pends("as many as are taken", mostHeaders*headerFactor)
}

// TestWhatCameBeforeTheProofIsPending: a body that has come when its caller is known counts
// against them, though nothing more comes.
func TestWhatCameBeforeTheProofIsPending(t *testing.T) {
	g := newGate(t, Config{})
	g.dial("127.0.0.2")
	conn, err := g.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c, me := Of(conn), Identity{Kind: Proxy, Name: "me"}
	_ = c.pends(func(p *pending) { p.came += 1000 })
	r := &Request{conn: c}
	if err := r.begins(2, -1); err != nil {
		t.Fatal(err)
	}
	if err := c.Proved(me); err != nil {
		t.Fatal(err)
	}
	if held := g.b.heldBy(me); held != 1000 {
		t.Errorf("%d bytes are charged", held)
	}
}
