package raftnet

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"

	"github.com/meridiankds/meridian/internal/net/loglimit"
)

// Logger hands Raft's log to slog. What Raft calls information (each election,
// each snapshot, each connection) is of use to who debugs Raft only and becomes
// Debug; warnings and errors keep their level, a few a second of each: other nodes at a
// member's address, which are no members, can have Raft repeat them without end.
func Logger(log *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Off})
	l.RegisterSink(slogSink{log.With("component", "raft"), loglimit.New(raftLines, nil)})
	return l
}

// raftLines is how many lines of each kind a second are kept.
const raftLines = 5

type slogSink struct {
	log   *slog.Logger
	lines *loglimit.Limiter
}

// Accept implements hclog.SinkAdapter.
func (s slogSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	var to slog.Level
	switch level {
	case hclog.Warn:
		to = slog.LevelWarn
	case hclog.Error:
		to = slog.LevelError
	case hclog.Info, hclog.Debug:
		to = slog.LevelDebug
	default:
		return
	}
	ctx := context.Background()
	if !s.log.Enabled(ctx, to) {
		return
	}
	suppressed, ok := s.lines.Allow(msg)
	if !ok {
		return
	}
	if suppressed > 0 {
		args = append(args[:len(args):len(args)], "suppressed", suppressed)
	}
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			args[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
	}
	s.log.Log(ctx, to, msg, args...)
}
