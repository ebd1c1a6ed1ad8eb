package httpserver

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/net/loglimit"
)

// guard stands before every handler: it keeps a defect in one request from being
// silent, and strangers from keeping connections.
type guard struct {
	name string
	// service is what every answer is said to come from.
	service string
	next    http.Handler
	tests   func(*http.Request) bool // nil: none
	log     *slog.Logger
	lines   *loglimit.Limiter
}

// ServeHTTP implements http.Handler.
func (g guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(apitypes.HeaderService, g.service)
	out := &answer{ResponseWriter: w, keep: g.tests != nil && g.tests(r)}
	if len(r.TransferEncoding) > 0 {
		// A request that had a Content-Length too may mean something else to a proxy
		// in between; net/http does not tell, so none of these shares a connection
		// with what follows (RFC 9112, section 6.1).
		w.Header().Set("Connection", "close")
	}
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(cause) // how a handler cuts an answer off on purpose
		}
		g.lines.Log(r.Context(), g.log, slog.LevelError, "a request ran into a defect", slog.String("server", g.name),
			slog.String("remote", r.RemoteAddr), slog.String("method", clip(r.Method)), slog.String("path", clip(r.URL.Path)),
			slog.Any("panic", cause), slog.String("stack", string(debug.Stack())))
		if out.begun {
			panic(http.ErrAbortHandler) // the caller must not take half an answer for a whole one
		}
		apierr.WriteError(out, federation.Errorf(federation.Internal, "internal error, see the log of this node"))
	}()
	g.next.ServeHTTP(out, r)
}

// clip bounds what a caller can write into the log, to less than a token.
func clip(s string) string { return s[:min(40, len(s))] }

// answer notes whether an answer has begun. It closes the connection of who has
// not proved who they are: a place for one that has. On HTTP/2 that ends what others
// ask over the same connection, so it is left open where the answer is about a token
// that is not the caller's own.
type answer struct {
	http.ResponseWriter
	keep  bool
	begun bool
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	a.begun = a.begun || status >= 200
	if status == http.StatusUnauthorized && !a.keep {
		a.Header().Set("Connection", "close")
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.begun = true
	return a.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// errorLog takes what net/http has to say. A caller who does not speak TLS is
// worth a line, anything else a warning.
type errorLog struct {
	name  string
	log   *slog.Logger
	lines *loglimit.Limiter
}

// maxErrorLine bounds what a line repeats.
const maxErrorLine = 500

// Write implements io.Writer for a log.Logger.
func (l errorLog) Write(p []byte) (int, error) {
	line := bytes.TrimSpace(p)
	level, msg := slog.LevelWarn, "http server"
	if bytes.HasPrefix(line, []byte("http: TLS handshake error")) {
		level, msg = slog.LevelInfo, "no TLS with a caller"
	}
	l.lines.Log(context.Background(), l.log, level, msg,
		slog.String("server", l.name), slog.String("detail", string(line[:min(maxErrorLine, len(line))])))
	return len(p), nil
}
