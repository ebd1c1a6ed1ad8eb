package runlog

import (
	"context"
	"log/slog"
	"slices"
)

// once is a handler that writes each key of a line once, the last one given: a logger
// that knows its zone is handed to code that names the zone too, and what reads JSON
// keeps one of the two or refuses the line.
type once struct {
	next  slog.Handler
	attrs []slog.Attr // of With, not handed on yet
}

// Enabled implements [slog.Handler].
func (h once) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

// WithAttrs implements [slog.Handler].
func (h once) WithAttrs(attrs []slog.Attr) slog.Handler {
	return once{next: h.next, attrs: append(slices.Clip(h.attrs), attrs...)}
}

// WithGroup implements [slog.Handler].
func (h once) WithGroup(name string) slog.Handler {
	return once{next: h.next.WithAttrs(lastOfEach(h.attrs)).WithGroup(name)}
}

// Handle implements [slog.Handler].
func (h once) Handle(ctx context.Context, r slog.Record) error {
	attrs := slices.Clip(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, a)
		return true
	})
	line := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	line.AddAttrs(lastOfEach(attrs)...)
	return h.next.Handle(ctx, line)
}

// lastOfEach keeps the last attribute of each key, in the place of the first. A key that
// every line has anyway gets another name.
func lastOfEach(attrs []slog.Attr) []slog.Attr {
	var kept []slog.Attr
	for _, a := range attrs {
		switch a.Key {
		case slog.TimeKey, slog.LevelKey, slog.MessageKey:
			a.Key += "_"
		}
		if i := slices.IndexFunc(kept, func(k slog.Attr) bool { return k.Key == a.Key }); i >= 0 {
			kept[i] = a
			continue
		}
		kept = append(kept, a)
	}
	return kept
}
