package proxyport

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/internal/apierr"
)

// Requests that never come to the end of their body throw out each other, and not
// who sends all of it.
func TestUnfinishedBodiesAreBounded(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			guarded := newBodies(2)
			server := httptest.NewUnstartedServer(guarded.guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Proto != proto {
					t.Errorf("came as %s", r.Proto)
				}
				if _, err := apierr.ReadBytes(w, r, 1<<20); err != nil {
					apierr.WriteError(w, err)
				}
			})))
			server.EnableHTTP2 = proto == "HTTP/2.0"
			server.StartTLS()
			defer server.Close()
			answers := make(chan *http.Response, 8)
			post := func(body io.Reader) {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
				if err != nil {
					t.Error(err)
					answers <- nil
					return
				}
				resp, err := server.Client().Do(r)
				if err != nil {
					t.Error(err)
				}
				answers <- resp
			}
			var writers []*io.PipeWriter
			for range 5 {
				unfinished, writer := io.Pipe()
				writers = append(writers, writer)
				go post(unfinished)
				if _, err := io.WriteString(writer, `{"a":`); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				resp := <-answers
				if resp == nil {
					t.Fatal("no answer")
				}
				text, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), "too_many_bodies") {
					t.Errorf("answered %d %s", resp.StatusCode, text)
				}
			}
			for range 3 { // each throws out an unfinished one, or nobody
				r, err := server.Client().Post(server.URL, "", strings.NewReader("{}"))
				if err != nil || r.StatusCode != http.StatusOK {
					t.Fatalf("a whole body is answered with %v, %v", r, err)
				}
				r.Body.Close()
			}
			for _, w := range writers {
				w.Close()
			}
			for range 2 {
				if resp := <-answers; resp != nil {
					resp.Body.Close()
				}
			}
			server.Close() // waits for the handlers
			if n := guarded.lobby.Taken(); n != 0 {
				t.Errorf("%d places are taken", n)
			}
		})
	}
}
