package xds

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apierr/grpcerr"
)

// statusOf turns an error into the status that a proxy is told. Where the error
// has a reason, the status has it too, and its hint.
func statusOf(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	e := federation.AsError(err)
	text := e.Error()
	if e.Reason != "" {
		text = e.Reason + ": " + text
	}
	return grpcerr.New(grpcerr.Code(e.Code), text, e.Reason, e.Hint).Err()
}

// refuse logs why a caller is refused, and returns the status that says so.
func (s *Server) refuse(ctx context.Context, msg, remote, node string, err error) error {
	e := federation.AsError(orEnded(err))
	level := slog.LevelInfo
	if e.Code == federation.Internal {
		level = slog.LevelError
	}
	s.lines.Log(ctx, s.cfg.Logger, level, msg, slog.String("remote", remote), slog.String("node", clip(node)),
		slog.String("reason", e.Reason), slog.String("detail", clipTo(e.Error(), maxDetail)), slog.String("hint", e.Hint))
	return statusOf(err)
}

// What a stranger can write into a log line.
const (
	maxShown  = 80
	maxDetail = 400
)

func clip(s string) string { return clipTo(s, maxShown) }

func clipTo(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
