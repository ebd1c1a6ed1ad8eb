package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"github.com/urfave/cli/v2"

	console "github.com/meridiankds/meridian/internal/cli"
)

// terminal is a pseudo terminal that remembers what was written on it.
type terminal struct {
	tty  *os.File // what a program has as its standard error
	mu   sync.Mutex
	text bytes.Buffer
	show chan struct{} // closed once a line was drawn in place
}

func openTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("skipped: this machine gives no pseudo terminal to look at progress on: %v", err)
	}
	number, unlock := uint32(0), int32(0)
	ioctl := func(request uintptr, p unsafe.Pointer) {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(p)); errno != 0 {
			t.Fatal(errno)
		}
	}
	ioctl(syscall.TIOCSPTLCK, unsafe.Pointer(&unlock))
	ioctl(syscall.TIOCGPTN, unsafe.Pointer(&number))
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("skipped: this machine gives no pseudo terminal to look at progress on: %v", err)
	}
	term := &terminal{tty: tty, show: make(chan struct{})}
	over := make(chan struct{})
	go func() {
		defer close(over)
		var once sync.Once
		for buf := make([]byte, 4096); ; {
			n, err := master.Read(buf)
			term.mu.Lock()
			term.text.Write(buf[:n])
			drawn := strings.Contains(term.text.String(), "s)")
			term.mu.Unlock()
			if drawn {
				once.Do(func() { close(term.show) })
			}
			if err != nil { // the other end is closed
				return
			}
		}
	}()
	t.Cleanup(func() {
		tty.Close()
		<-over
		master.Close()
	})
	return term
}

func (term *terminal) String() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.text.String()
}

// TestProgressIsForTerminals: where standard error is no terminal, and told to be quiet or to
// watch, or where a program runs until it is stopped, nothing is drawn.
func TestProgressIsForTerminals(t *testing.T) {
	t.Setenv("TERM", "xterm")
	term := openTerminal(t)
	for _, test := range []struct {
		name    string
		errs    io.Writer
		flags   []cli.Flag
		args    []string
		watched bool
	}{
		{"a terminal", term.tty, nil, nil, true},
		{"a file", &output{}, nil, nil, false},
		{"quiet", term.tty, []cli.Flag{&cli.BoolFlag{Name: "quiet"}}, []string{"--quiet"}, false},
		{"watch", term.tty, []cli.Flag{&cli.BoolFlag{Name: "watch"}}, []string{"--watch"}, false},
		{"a server", term.tty, []cli.Flag{&cli.StringFlag{Name: "log-level"}}, nil, false},
	} {
		app := console.New("prog", "a program", "v1", console.IO{In: strings.NewReader(""), Out: io.Discard, Err: test.errs})
		watched := false
		app.Commands = []*cli.Command{{Name: "act", Flags: test.flags, Action: func(c *cli.Context) error {
			watched = c.App.ErrWriter != test.errs
			return nil
		}}}
		console.Run(t.Context(), app, append([]string{"prog", "act"}, test.args...))
		if watched != test.watched || app.ErrWriter != test.errs {
			t.Errorf("%s: progress is shown: %v, want %v", test.name, watched, test.watched)
		}
	}
}

// TestEveryCommandShowsThatItWorks has each command that asks a global wait for an answer until
// its terminal shows that it is at work.
func TestEveryCommandShowsThatItWorks(t *testing.T) {
	t.Setenv("TERM", "xterm")
	var wait sync.WaitGroup
	for _, line := range slices.Concat(changing, reading) {
		if strings.HasPrefix(line, "admin-token") || line == "version" { // through a socket; no longer than 2 seconds
			continue
		}
		term, e := openTerminal(t), newElection(t, 0)
		slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-term.show:
			case <-r.Context().Done():
			}
			e.handler.ServeHTTP(w, r)
		}))
		t.Cleanup(slow.Close)
		wait.Go(func() {
			var out output
			args := strings.Fields(strings.ReplaceAll(line, "$DIR", e.dir))
			app := newApp(console.IO{In: strings.NewReader("id-1\n"), Out: &out, Err: term.tty})
			code := console.Run(context.Background(), app, append(append([]string{"global"}, args...), "--address", slow.URL))
			if code != console.ExitOK && code != console.ExitPending {
				t.Errorf("global %s: exit code %d\n%s%s", line, code, out.String(), term)
			}
			select {
			case <-term.show:
			default:
				t.Errorf("global %s asked nobody, or showed nothing:\n%s", line, term)
			}
		})
	}
	wait.Wait()
}
