// Package httpserver runs an HTTP server for the life of a context, with the
// bounds that every port of Meridian has: how many connections there may be, how
// long a client may take to speak, how large its headers may be, how long an
// answer may last.
package httpserver

import (
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

	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/net/loglimit"
	"github.com/meridiankds/meridian/internal/net/preauth"
)

// The bounds of every port.
const (
	headerTimeout  = 10 * time.Second
	readTimeout    = 30 * time.Second
	writeTimeout   = 2 * time.Minute
	idleTimeout    = 2 * time.Minute
	pingEvery      = 15 * time.Second
	maxHeaderBytes = 16 << 10
	// drainTimeout is how long requests in flight may take to end at shutdown, which
	// takes three seconds in all.
	drainTimeout = 2500 * time.Millisecond
)

// Server is one port.
type Server struct {
	Name     string       // for the log: "api", "diagnostics"
	Service  string       // what answers, in each answer's header: "global" or "zone"
	Listener net.Listener // nil: the port is not wanted, and Run has nothing to do
	Handler  http.Handler
	TLS      *tls.Config // nil: plain HTTP
	Logger   *slog.Logger
	// TestsTokens reports whether a request asks about a token that is not its
	// caller's own: a 401 then says nothing about the caller, and closes nothing. nil:
	// none does.
	TestsTokens func(*http.Request) bool
	// PingEvery is when a silent HTTP/2 connection is pinged, at the latest after pingEvery;
	// 0: then.
	PingEvery time.Duration
	// Budget bounds what callers of all ports of the process cost; nil: the port has one
	// of its own.
	Budget *preauth.Budget
}

// http2Bounds bound what one connection can make the server do and keep. A peer
// that went without a word is found dead by the pings.
func (s Server) http2Bounds() *http.HTTP2Config {
	ping := pingEvery
	if s.PingEvery > 0 {
		ping = min(ping, s.PingEvery)
	}
	return &http.HTTP2Config{
		MaxConcurrentStreams:          100,
		MaxReceiveBufferPerConnection: 1 << 20,
		MaxReceiveBufferPerStream:     256 << 10,
		SendPingTimeout:               ping,
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
	budget := s.Budget
	if budget == nil {
		budget = preauth.New(preauth.Config{Logger: s.Logger})
	}
	limited := budget.Listen(s.Listener, s.Name, s.TLS != nil)
	server := &http.Server{
		Handler:           guard{name: s.Name, service: s.Service, next: budget.Handler(s.Handler, apierr.WriteError), tests: s.TestsTokens, log: s.Logger, lines: lines},
		TLSConfig:         budget.TLS(s.TLS),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.New(errorLog{name: s.Name, log: s.Logger, lines: lines}, "", 0),
		ConnContext:       preauth.ConnContext,
		ConnState:         preauth.ConnState,
		HTTP2:             s.http2Bounds(),
		// Else OPTIONS * would be answered to anybody, and not in our shape.
		DisableGeneralOptionsHandler: true,
	}
	if err := watchStreams(server); err != nil {
		return fmt.Errorf("serving %s: %w", s.Name, err)
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
