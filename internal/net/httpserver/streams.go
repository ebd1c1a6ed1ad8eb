package httpserver

//lint:file-ignore SA1019 net/http's own HTTP/2 takes no connection but *tls.Conn, below which frames cannot be counted

import (
	"context"
	"crypto/tls"
	"net/http"

	"golang.org/x/net/http2"

	"github.com/meridiankds/meridian/internal/net/preauth"
)

// watchStreams has the streams of HTTP/2 counted that no handler has. net/http hands its
// connections to its own HTTP/2 as they are; this is the same, from the module that it is
// copied from.
func watchStreams(server *http.Server) error {
	if server.TLSConfig == nil {
		return nil
	}
	h2 := &http2.Server{}
	if err := http2.ConfigureServer(server, h2); err != nil {
		return err
	}
	server.TLSNextProto[http2.NextProtoTLS] = func(s *http.Server, conn *tls.Conn, h http.Handler) {
		opts := &http2.ServeConnOpts{BaseConfig: s, Handler: h}
		if base, ok := h.(interface{ BaseContext() context.Context }); ok { // how net/http passes its context on
			opts.Context = base.BaseContext()
		}
		h2.ServeConn(preauth.Watch(conn), opts)
	}
	return nil
}
