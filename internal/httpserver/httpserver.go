// Package httpserver runs an HTTP server for the life of a context, with the
// bounds that every port of Meridian has: how long a client may take to speak,
// how large its headers may be, how long an answer may last.
package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
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
)

// Server is one port.
type Server struct {
	Name     string // for the log: "api", "diagnostics"
	Listener net.Listener
	Handler  http.Handler
	TLS      *tls.Config // nil: plain HTTP
	Logger   *slog.Logger
}

// Run serves until ctx ends, lets requests in flight finish for a short while,
// and closes the listener. It returns nil where ctx ended it.
func (s Server) Run(ctx context.Context) error {
	server := &http.Server{
		Handler:           s.Handler,
		TLSConfig:         s.TLS,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug),
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		var err error
		if s.TLS != nil {
			err = server.ServeTLS(s.Listener, "", "")
		} else {
			err = server.Serve(s.Listener)
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
	return group.Wait()
}
