package metrics

import (
	"bytes"
	"net/http"
	"time"
)

const (
	// gatherings is how many may have the metrics gathered at once.
	gatherings = 4
	// readWithin is how long a client may take to read the answer, which is kept in
	// memory until then.
	readWithin = 10 * time.Second
)

// fromMemory serves what a handler makes once it is made: four clients that read nothing
// would otherwise keep the metrics from everybody for as long as an answer may last.
func fromMemory(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		made := &answer{header: w.Header(), code: http.StatusOK}
		next.ServeHTTP(made, r)
		// Where the writer has no deadlines, as in a test, that of the server holds.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(readWithin))
		w.WriteHeader(made.code)
		_, _ = w.Write(made.body.Bytes()) // the client is gone, or too slow
	})
}

// answer is a response that is kept.
type answer struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(code int)        { a.code = code }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }
