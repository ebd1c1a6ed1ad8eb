// Package httpserver runs an HTTP server for the life of a context, with the
// bounds that every port of Meridian has: how many connections there may be, how
// long a client may take to speak, how large its headers may be, how long an
// answer may last.
package httpserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meridiankds/meridian/internal/lobby"
	"github.com/meridiankds/meridian/internal/net/loglimit"
)

// The bounds of every port.
const (
	headerTimeout  = 10 * time.Second
	readTimeout    = 30 * time.Second
	writeTimeout   = 2 * time.Minute
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 32 << 10
	// drainTimeout is how long requests in flight may take to end at shutdown.
	drainTimeout = 3 * time.Second
	// maxConnections is what a port may have open. A connection with TLS is some
	// 50 KB.
	maxConnections = 4096
)

// Server is one port.
type Server struct {
	Name     string       // for the log: "api", "diagnostics"
	Listener net.Listener // nil: the port is not wanted, and Run has nothing to do
	Handler  http.Handler
	TLS      *tls.Config // nil: plain HTTP
	Logger   *slog.Logger
	// TestsTokens reports whether a request asks about a token that is not its
	// caller's own: a 401 then says nothing about the caller, and closes nothing. nil:
	// none does.
	TestsTokens func(*http.Request) bool
	// Connections that may be open at once; 0: 4096.
	Connections int
	// Strangers is how many connections there may be whose caller was not trusted
	// yet (see [Trust]); one more costs the place of another, as package lobby says.
	// 0: as many as there are connections.
	Strangers int
}

// http2Bounds bound what one connection can make the server do and keep. A peer
// that went without a word is found dead by the pings.
func http2Bounds() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          100,
		MaxReceiveBufferPerConnection: 1 << 20,
		MaxReceiveBufferPerStream:     256 << 10,
		SendPingTimeout:               15 * time.Second,
		PingTimeout:                   15 * time.Second,
		WriteByteTimeout:              20 * time.Second,
	}
}

// Run serves until ctx ends, lets requests in flight finish for a short while,
// and closes the listener. It returns nil where ctx ended it, and an error that
// names the port where anything else did.
func (s Server) Run(ctx context.Context) error {
	if s.Listener == nil {
		return nil
	}
	lines := loglimit.New(loglimit.PerSecond, nil)
	limited := &listener{Listener: s.Listener, name: s.Name, most: int64(cmp.Or(s.Connections, maxConnections)), log: s.Logger, lines: lines}
	if s.Strangers > 0 {
		limited.lobby = lobby.New(s.Strangers)
	}
	server := &http.Server{
		Handler:           guard{name: s.Name, next: s.Handler, tests: s.TestsTokens, log: s.Logger, lines: lines},
		TLSConfig:         s.TLS,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.New(errorLog{name: s.Name, log: s.Logger, lines: lines}, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, below(c))
		},
		// The time to a first request begins when TLS is done, so that a thousand
		// proxies that come at once do not lose it in the queue. For HTTP/1 the
		// timeout of the headers is the same.
		ConnState: func(c net.Conn, state http.ConnState) {
			if b := below(c); b != nil && state != http.StateNew && state != http.StateClosed {
				b.startGrace(headerTimeout)
			}
		},
		HTTP2: http2Bounds(),
		// Else OPTIONS * would be answered to anybody, and not in our shape.
		DisableGeneralOptionsHandler: true,
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		var err error
		if s.TLS != nil {
			err = server.ServeTLS(limited, "", "")
		} else {
			err = server.Serve(limited)
		}
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
	group.Go(func() error {
		<-groupCtx.Done()
		// The parent is over by now: draining has a time of its own.
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		if err := server.Shutdown(drain); err != nil {
			s.Logger.Debug("requests still in flight were cut off", "server", s.Name)
			return server.Close()
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("serving %s: %w", s.Name, err)
	}
	return nil
}
