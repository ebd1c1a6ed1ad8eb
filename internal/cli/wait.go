package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
)

// Poll is a wait for a condition that is asked again and again.
type Poll struct {
	// Every is the pause between two questions.
	Every time.Duration
	// For is how long to ask in all; what is true by then has been seen.
	For time.Duration
	// Check asks once. It returns whether the condition holds, and in a few
	// words what it still waits for, "" to show nothing yet. An error ends the wait.
	Check func(ctx context.Context) (done bool, state string, err error)
}

// Wait asks until the condition holds, and shows meanwhile what is waited for:
// in place on a terminal, elsewhere a line a second. It returns false where the
// time ran out.
func (v *Voice) Wait(ctx context.Context, p Poll) (bool, error) {
	show := &progress{voice: v, terminal: IsTerminal(v.err), began: time.Now()}
	defer show.clear()
	end := time.NewTimer(p.For)
	defer end.Stop()
	tick := time.NewTicker(p.Every)
	defer tick.Stop()
	for over := false; ; {
		done, state, err := p.Check(ctx)
		if done || err != nil || over {
			return done, err
		}
		if state != "" {
			show.state(state)
		}
		select {
		case <-tick.C:
		case <-end.C:
			over = true // one last question: the answer may have come meanwhile
		case <-ctx.Done():
			return false, federation.Errorf(federation.Unavailable, "interrupted while waiting").WithCause(ctx.Err())
		}
	}
}

// barWidth is the width of a whole bar.
const barWidth = 20

// Bar draws on a terminal how much of a whole is done, "[#####-----] 5/10 ". It is
// "" elsewhere, and where there is no whole.
func (v *Voice) Bar(done, all int) string {
	if !IsTerminal(v.err) {
		return ""
	}
	return bar(done, all)
}

func bar(done, all int) string {
	if all <= 0 {
		return ""
	}
	n := min(max(done*barWidth/all, 0), barWidth)
	return fmt.Sprintf("[%s%s] %d/%d ", strings.Repeat("#", n), strings.Repeat("-", barWidth-n), done, all)
}

// progress shows one changing line.
type progress struct {
	voice    *Voice
	terminal bool
	began    time.Time
	last     time.Time // of the last line, where there is no terminal
	open     bool      // a line stands on the terminal
}

// lineEvery is the pace of progress where lines cannot be overwritten.
const lineEvery = time.Second

func (p *progress) state(text string) {
	now := time.Now()
	text = fmt.Sprintf("%s (%s)", text, Span(clock.Elapsed(p.began, now)))
	if p.terminal {
		fmt.Fprintf(p.voice.err, "\r\x1b[K%s: %s", p.voice.program, Line(p.voice.named.in(text)))
		p.open = true
		return
	}
	if !p.last.IsZero() && clock.Elapsed(p.last, now) < lineEvery {
		return
	}
	p.last = now
	p.voice.Say("%s", text)
}

func (p *progress) clear() {
	if p.open {
		fmt.Fprint(p.voice.err, "\r\x1b[K")
	}
}

// Interactive reports whether somebody sits there who can be asked.
func (v *Voice) Interactive() bool { return IsTerminal(v.in) && IsTerminal(v.err) }

// Confirm asks a question that only "y" or "yes" answers with yes. Where nobody
// sits at the terminal it returns an error that names the flag to give instead.
func (v *Voice) Confirm(question string) (bool, error) {
	if !v.Interactive() {
		return false, federation.Errorf(federation.Conflict, "%s: nobody is here to answer", Line(question)).
			WithHint("give --yes to go on without being asked")
	}
	return v.ask(question)
}

// Agree asks who sits at a terminal, unless --yes is given, and returns an error where
// the answer is no. A script has said what it wants.
func Agree(c *cli.Context, question string) error {
	voice := VoiceOf(c.App)
	if c.Bool("yes") || !voice.Interactive() {
		return nil
	}
	yes, err := voice.Confirm(question)
	if err == nil && !yes {
		err = federation.Errorf(federation.Conflict, "stopped: nothing was changed").WithHint("give --yes to go on without being asked")
	}
	return err
}

// whomKey is where an app keeps who it asks, for questions.
const whomKey = "whom"

// TellWhom has an app say in each question what whom returns of the command's flags, which
// name the cluster that it would change; "" says nothing.
func TellWhom(app *cli.App, whom func(*cli.Context) string) {
	app.Metadata = map[string]any{whomKey: whom}
}

// rememberWhom finds out before a command acts whom it asks.
func rememberWhom(c *cli.Command) {
	act := c.Action
	if act == nil || lookup(c.Flags, "address") == nil {
		return
	}
	c.Action = func(c *cli.Context) error {
		if whom, ok := c.App.Metadata[whomKey].(func(*cli.Context) string); ok {
			namedOf(c.App).whom = whom(c)
		}
		return act(c)
	}
}

// ask is Confirm without the question whether somebody is there.
func (v *Voice) ask(question string) (bool, error) {
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if v.named != nil && v.named.whom != "" {
		question += " (" + v.named.whom + ")"
	}
	fmt.Fprintf(v.err, "%s: %s? [y/N] ", v.program, Line(v.named.in(question)))
	var answer string
	var err error
	answered := make(chan struct{})
	go func() { // ends with its line, or with the process: nothing ends a read of a terminal
		defer close(answered)
		answer, err = bufio.NewReader(io.LimitReader(v.in, 100)).ReadString('\n')
	}()
	select {
	case <-answered:
	case <-interrupted.Done():
		fmt.Fprintln(v.err)
		return false, federation.Errorf(federation.Conflict, "stopped: nothing was changed").WithHint("give --yes to go on without being asked")
	}
	switch {
	case errors.Is(err, io.EOF): // what came before it may be half an answer
		fmt.Fprintln(v.err)
		return false, federation.Errorf(federation.Conflict, "the input ended before the question was answered: nothing was changed").
			WithHint("give --yes to go on without being asked")
	case err != nil:
		return false, federation.Errorf(federation.Internal, "reading the answer: %w", err)
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}
