package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/internal/clock"
)

// busyAfter is how long a command may say nothing before a terminal shows that it works.
const busyAfter = time.Second

// busy shows on a terminal, in one line that changes in place, that a command is at work and
// for how long, whenever it has said nothing for a second. The line goes before anything else
// is written. Each command has it, so that none that takes long looks as if it hung.
type busy struct {
	terminal io.Writer
	program  string

	mu     sync.Mutex
	doing  string
	began  time.Time
	last   time.Time // when something was written that is not this line
	shown  bool
	paused int // how many wait for somebody to type
}

// busyKey is where an app keeps it.
const busyKey = "busy"

// Doing says in a few words what a command is at, for who watches it on a terminal.
func Doing(c *cli.Context, format string, args ...any) {
	if b, ok := c.App.Metadata[busyKey].(*busy); ok {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.doing = fmt.Sprintf(format, args...)
	}
}

// showProgress has a command show on a terminal that it is at work, unless it runs until it is
// stopped or is told to be quiet.
func showProgress(c *cli.Command) {
	act := c.Action
	if act == nil || lookup(c.Flags, "log-level") != nil {
		return
	}
	c.Action = func(c *cli.Context) error {
		if !IsTerminal(c.App.ErrWriter) || c.Bool("quiet") || c.Bool("watch") {
			return act(c)
		}
		defer startBusy(c)()
		return act(c)
	}
}

// startBusy shows progress until what it returns is called.
func startBusy(c *cli.Context) (stop func()) {
	app, now := c.App, time.Now()
	b := &busy{terminal: app.ErrWriter, program: app.Name, began: now, last: now,
		doing: strings.TrimPrefix(c.Command.HelpName, app.Name+" ") + " is at work"}
	in, out, err := app.Reader, app.Writer, app.ErrWriter
	app.Reader, app.Writer, app.ErrWriter = reading{in, b}, writing{out, b}, writing{err, b}
	app.Metadata[busyKey] = b
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(busyAfter / 4)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case now := <-tick.C:
				b.show(now)
			}
		}
	}()
	return func() {
		close(over)
		<-done
		b.mu.Lock()
		b.clear()
		b.mu.Unlock()
		app.Reader, app.Writer, app.ErrWriter = in, out, err
		delete(app.Metadata, busyKey)
	}
}

// show draws the line, unless something was written a moment ago or somebody types.
func (b *busy) show(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.paused == 0 && clock.Elapsed(b.last, now) >= busyAfter {
		fmt.Fprintf(b.terminal, "\r\x1b[K%s: %s (%s)", b.program, Line(b.doing), Span(clock.Elapsed(b.began, now)))
		b.shown = true
	}
}

// clear takes the line away. The lock is held.
func (b *busy) clear() {
	if b.shown {
		fmt.Fprint(b.terminal, "\r\x1b[K")
		b.shown = false
	}
}

// pause keeps the line away while somebody types, until what it returns is called.
func (b *busy) pause() (resume func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clear()
	b.paused++
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.paused--
		b.last = time.Now()
	}
}

// writing writes in place of the line.
type writing struct {
	to io.Writer
	b  *busy
}

// Write implements [io.Writer].
func (w writing) Write(p []byte) (int, error) {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	w.b.clear()
	w.b.last = time.Now()
	return w.to.Write(p)
}

func (w writing) stream() any { return w.to }

// reading keeps the line away while it reads.
type reading struct {
	from io.Reader
	b    *busy
}

// Read implements [io.Reader].
func (r reading) Read(p []byte) (int, error) {
	defer r.b.pause()()
	return r.from.Read(p)
}

func (r reading) stream() any { return r.from }
