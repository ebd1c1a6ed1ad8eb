package xds

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/federation"
)

// errorDomain names the vocabulary of the reasons in a status.
const errorDomain = "meridian"

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
	st := status.New(codeOf(e.Code), text)
	if e.Reason != "" {
		info := &errdetails.ErrorInfo{Reason: strings.ToUpper(e.Reason), Domain: errorDomain}
		if e.Hint != "" {
			info.Metadata = map[string]string{"hint": e.Hint}
		}
		if with, err := st.WithDetails(info); err == nil {
			st = with
		}
	}
	return st.Err()
}

func codeOf(code federation.Code) codes.Code {
	switch code {
	case federation.Invalid:
		return codes.InvalidArgument
	case federation.Unauthenticated:
		return codes.Unauthenticated
	case federation.Forbidden:
		return codes.PermissionDenied
	case federation.NotFound:
		return codes.NotFound
	case federation.Conflict:
		return codes.AlreadyExists
	case federation.TooLarge:
		return codes.ResourceExhausted
	case federation.Unavailable:
		return codes.Unavailable
	}
	return codes.Internal
}

// refuse logs why a caller is refused, and returns the status that says so.
func (s *Server) refuse(ctx context.Context, msg, remote, node string, err error) error {
	e := federation.AsError(err)
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
