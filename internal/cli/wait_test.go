package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/federation"
)

func TestWaitSaysOneLineASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var errs bytes.Buffer
		asked := 0
		done, err := NewVoice("prog", nil, &errs).Wait(t.Context(), Poll{
			Every: 250 * time.Millisecond, For: 30 * time.Second,
			Check: func(context.Context) (bool, string, error) {
				asked++
				return asked > 10, "waiting for west", nil
			},
		})
		if !done || err != nil || asked != 11 {
			t.Errorf("done %v, err %v, asked %d times", done, err, asked)
		}
		want := "prog: waiting for west (0s)\nprog: waiting for west (1s)\nprog: waiting for west (2s)\n"
		if errs.String() != want {
			t.Errorf("said\n%s\nwant\n%s", errs.String(), want)
		}
	})
}

func TestWaitEnds(t *testing.T) {
	never := func(context.Context) (bool, string, error) { return false, "x", nil }
	synctest.Test(t, func(t *testing.T) {
		voice := NewVoice("prog", nil, &bytes.Buffer{})
		done, err := voice.Wait(t.Context(), Poll{Every: time.Second, For: 3500 * time.Millisecond, Check: never})
		if done || err != nil {
			t.Errorf("out of time: %v, %v", done, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		// What became true while the time ran out counts.
		began := time.Now()
		late := func(context.Context) (bool, string, error) {
			return time.Since(began) >= 1500*time.Millisecond, "x", nil
		}
		done, err := NewVoice("prog", nil, &bytes.Buffer{}).Wait(t.Context(), Poll{Every: time.Hour, For: 1500 * time.Millisecond, Check: late})
		if !done || err != nil {
			t.Errorf("at the last moment: %v, %v", done, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := NewVoice("prog", nil, &bytes.Buffer{}).Wait(ctx, Poll{Every: time.Minute, For: time.Hour, Check: never})
		if !errors.Is(err, context.Canceled) || federation.CodeOf(err) != federation.Unavailable {
			t.Errorf("interrupted: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		_, err := NewVoice("prog", nil, &bytes.Buffer{}).Wait(t.Context(), Poll{Every: time.Minute, For: time.Hour,
			Check: func(context.Context) (bool, string, error) { return false, "", broken }})
		if !errors.Is(err, broken) {
			t.Errorf("failed: %v", err)
		}
	})
}

func TestProgressOnATerminalStaysOnOneLine(t *testing.T) {
	var errs bytes.Buffer
	p := &progress{voice: NewVoice("prog", nil, &errs), terminal: true, began: time.Now()}
	p.state("waiting for west\nand\x1b[2J east")
	p.state("waiting for east")
	p.clear()
	if got := errs.String(); strings.Contains(got, "\n") || strings.Contains(got, "\x1b[2J") ||
		strings.Count(got, "\r\x1b[K") != 3 || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("wrote %q", got)
	}
}

func TestConfirm(t *testing.T) {
	for answer, want := range map[string]bool{
		"y\n": true, "YES\n": true, " yes \n": true, "n\n": false, "\n": false, "yeah\n": false,
	} {
		var errs bytes.Buffer
		got, err := NewVoice("prog", strings.NewReader(answer), &errs).ask("remove it")
		if got != want || err != nil || errs.String() != "prog: remove it? [y/N] " {
			t.Errorf("%q: %v, %v, asked %q", answer, got, err, errs.String())
		}
	}
	for _, answer := range []string{"", "y", "no"} {
		got, err := NewVoice("prog", strings.NewReader(answer), &bytes.Buffer{}).ask("remove it")
		if e := federation.AsError(err); got || e == nil || !strings.Contains(e.Hint, "--yes") {
			t.Errorf("the end of the input after %q is an answer: %v, %v", answer, got, err)
		}
	}
	yes, err := NewVoice("prog", strings.NewReader("y\n"), &bytes.Buffer{}).Confirm("remove it")
	if e := federation.AsError(err); yes || e == nil || !strings.Contains(e.Hint, "--yes") {
		t.Errorf("with nobody there: %v, %v", yes, err)
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		done, all int
		want      string
	}{
		{0, 0, ""}, {0, 2, "[--------------------] 0/2 "}, {1, 2, "[##########----------] 1/2 "},
		{2, 2, "[####################] 2/2 "}, {3, 2, "[####################] 3/2 "},
	} {
		if got := bar(c.done, c.all); got != c.want {
			t.Errorf("bar(%d, %d) = %q, want %q", c.done, c.all, got, c.want)
		}
	}
	if got := NewVoice("x", nil, new(strings.Builder)).Bar(1, 2); got != "" {
		t.Errorf("a bar where there is no terminal: %q", got)
	}
}

// TestCtrlCAtAQuestion: a read of a terminal does not end by itself.
func TestCtrlCAtAQuestion(t *testing.T) {
	ours := make(chan os.Signal, 8) // so that the signal cannot end the test
	signal.Notify(ours, os.Interrupt)
	defer signal.Stop(ours)
	in, out := io.Pipe()
	defer out.Close()
	var errs bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		yes, err := NewVoice("prog", in, &errs).ask("remove it")
		if yes {
			err = nil
		}
		ended <- err
	}()
	for { // until it listens for it
		if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			if e := federation.AsError(err); e == nil || !strings.Contains(e.Detail, "nothing was changed") || e.Hint == "" {
				t.Errorf("%v", err)
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestAQuestionNamesTheCluster: who keeps profiles of several clusters sees which one a question
// is about.
func TestAQuestionNamesTheCluster(t *testing.T) {
	var errs bytes.Buffer
	app := New("prog", "a program", "v1", IO{In: strings.NewReader("y\n"), Out: io.Discard, Err: &errs})
	TellWhom(app, func(c *cli.Context) string { return "profile prod, " + c.String("address") })
	app.Commands = []*cli.Command{{Name: "drop", Flags: []cli.Flag{&cli.StringFlag{Name: "address"}}, Action: func(c *cli.Context) error {
		_, err := VoiceOf(c.App).ask("drop it")
		return err
	}}}
	if code := Run(t.Context(), app, []string{"prog", "drop", "--address", "https://a:1"}); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got, want := errs.String(), "prog: drop it (profile prod, https://a:1)? [y/N] "; got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
}
