package proxyport

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/lobby"
)

// maxBodies is how many requests at the port for proxies may be sending their body
// at once. A proxy's comes with its headers and takes no time; a stranger may open
// hundreds of requests on a connection and leave each a byte short of its end.
const maxBodies = 256

// bodies bounds what is held of bodies that have not come to their end. One more
// ends the oldest of the address that has the most.
type bodies struct{ lobby *lobby.Lobby }

func newBodies(most int) bodies { return bodies{lobby.New(most)} }

// guard stands before a handler that reads bodies.
func (b bodies) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		body := &body{ReadCloser: r.Body, control: http.NewResponseController(w)}
		body.leave, _ = b.lobby.Enter(r.RemoteAddr, body.cutOff)
		defer body.end()
		r.Body = body
		next.ServeHTTP(w, r)
	})
}

// body is that of a request that has a place.
type body struct {
	io.ReadCloser
	leave func()

	mu      sync.Mutex
	control *http.ResponseController // nil: the body has come to its end
	lost    bool                     // the place
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && b.end() && !errors.Is(err, io.EOF) {
		e := federation.Errorf(federation.Unavailable, "many requests are sending their body, this one was ended before its own had come").
			WithReason("too_many_bodies").WithHint("try again, and send the body at once")
		e.RetryAfter = time.Second
		return n, e
	}
	return n, err
}

// cutOff ends a Read that waits, and those to come.
func (b *body) cutOff() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost = true; b.control != nil {
		_ = b.control.SetReadDeadline(time.Now()) // not supported in a test that calls the handler itself
	}
}

// end gives the place back and lets go of the response, which may be over soon. It
// reports whether the place was lost.
func (b *body) end() (lost bool) {
	b.leave()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.control = nil
	return b.lost
}
