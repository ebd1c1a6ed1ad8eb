package cli

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/mattn/go-isatty"
	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/federation"
)

// Voice writes what a program has to say besides its data.
type Voice struct {
	program string
	in      io.Reader
	err     io.Writer
	log     *slog.Logger // nil: it speaks in plain lines
	named   *naming      // nil: it knows no names
}

// NewVoice returns the voice of the named program, which speaks on err and hears
// answers on in.
func NewVoice(program string, in io.Reader, err io.Writer) *Voice {
	return &Voice{program: program, in: in, err: err}
}

// VoiceOf returns the voice of an application.
func VoiceOf(app *cli.App) *Voice {
	v := NewVoice(app.Name, app.Reader, app.ErrWriter)
	v.log, _ = app.Metadata[loggerKey].(*slog.Logger)
	v.named = namedOf(app)
	return v
}

// Error writes the error line and, if the error knows what to do next, the hint.
// A nil error writes nothing.
func (v *Voice) Error(err error) {
	if err == nil {
		return
	}
	var e *federation.Error
	hinted := errors.As(err, &e) && e.Hint != ""
	switch {
	case v.log != nil && hinted:
		v.log.Error(err.Error(), "hint", e.Hint)
	case v.log != nil:
		v.log.Error(err.Error())
	default:
		v.line("error: ", err.Error())
		if hinted {
			v.line("hint: ", e.Hint)
		}
	}
}

// Warn writes a line about something that works but should not be left so.
func (v *Voice) Warn(format string, args ...any) {
	if v.log != nil {
		v.log.Warn(fmt.Sprintf(format, args...))
		return
	}
	v.line("warning: ", fmt.Sprintf(format, args...))
}

// Hint writes a line that says what to do next.
func (v *Voice) Hint(format string, args ...any) { v.line("hint: ", fmt.Sprintf(format, args...)) }

// Say writes a line that is neither: what is going on.
func (v *Voice) Say(format string, args ...any) { v.line("", fmt.Sprintf(format, args...)) }

// line writes one line. Standard error that cannot be written leaves nobody to
// tell, so the failure is dropped.
func (v *Voice) line(label, text string) {
	if v.log != nil {
		v.log.Info(label + text)
		return
	}
	fmt.Fprintf(v.err, "%s: %s%s\n", v.program, label, Line(v.named.in(text)))
}

// IsTerminal reports whether somebody sits at the stream: it is a terminal, and the
// environment does not call it a dumb one.
func IsTerminal(stream any) bool {
	if in, ok := stream.(interface{ stream() any }); ok { // of a command that shows that it works
		stream = in.stream()
	}
	f, ok := stream.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	terminal := false
	err = conn.Control(func(fd uintptr) { terminal = isatty.IsTerminal(fd) })
	return err == nil && terminal
}
