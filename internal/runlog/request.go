package runlog

import (
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// configured is the word for the level of the settings.
const configured = "configured"

// Change does what a request to a server's API asks for.
func (l *Log) Change(r apitypes.LogLevelRequest) error {
	if l == nil {
		return federation.Errorf(federation.Invalid, "the log of this process has no level that could be set")
	}
	var d time.Duration
	if r.For != "" {
		var err error
		if d, err = time.ParseDuration(r.For); err != nil || d < time.Second || d > MaxFor {
			return federation.InvalidField("for", "%.40q is not a length of time from 1s to %s", r.For, MaxFor)
		}
	}
	if r.Level == configured {
		if d != 0 {
			return federation.InvalidField("for", "goes with a level, not with %s", configured)
		}
		l.Level.Reset()
		return nil
	}
	level, err := ParseLevel("level", r.Level)
	if err != nil {
		return federation.AsError(err).WithHint("use debug, info, warn or error, or %s to go back to the settings", configured)
	}
	l.Level.Set(level, d)
	return nil
}

// Answer tells which level is in force, at the server that is named.
func (l *Log) Answer(node string) apitypes.LogLevel {
	if l == nil {
		return apitypes.LogLevel{Node: node}
	}
	level, configured, until := l.Level.State()
	a := apitypes.LogLevel{Node: node, Level: Name(level), Configured: Name(configured)}
	if !until.IsZero() {
		until = until.UTC().Round(0)
		a.Until = &until
	}
	return a
}
