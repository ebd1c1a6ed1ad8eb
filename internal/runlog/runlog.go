// Package runlog is the log of a server: lines of text or JSON, at a level that can be
// changed while the server runs, and the last of them in memory, so that a maintainer can
// be given them wherever the lines themselves went.
package runlog

import (
	"io"
	"log/slog"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// Log is the log of one server. A nil Log has no level that could be set, and keeps
// nothing.
type Log struct {
	*slog.Logger
	Level  *Level
	Recent *Recent
}

// New returns a log that writes to w: format is "text" or "json", level "debug", "info",
// "warn" or "error".
func New(w io.Writer, format, level string) (*Log, error) {
	parsed, err := ParseLevel("--log-level", level)
	if err != nil {
		return nil, err
	}
	l := &Log{Level: &Level{now: time.Now}, Recent: &Recent{}}
	l.Level.Configure(parsed)
	options := &slog.HandlerOptions{Level: l.Level}
	var out slog.Handler
	switch format {
	case "text":
		out = slog.NewTextHandler(w, options)
	case "json":
		out = slog.NewJSONHandler(w, options)
	default:
		return nil, federation.Errorf(federation.Invalid, "--log-format %.20q is not a format", format).WithHint("use text or json")
	}
	kept := slog.NewJSONHandler(l.Recent, options)
	l.Logger = slog.New(once{next: slog.NewMultiHandler(out, kept)})
	return l, nil
}
