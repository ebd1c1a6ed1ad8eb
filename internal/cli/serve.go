package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/runlog"
)

// Node is a server of either program.
type Node interface {
	// Run serves until ctx ends.
	Run(ctx context.Context) error
	// Ready is closed once every port serves.
	Ready() <-chan struct{}
	// Reload has the node look at the files that it follows now.
	Reload()
}

// Hangup is how a server hears of SIGHUP; nil where it was started to ignore it, as by nohup.
type Hangup <-chan os.Signal

// Server returns the action of a command that runs a server. From its first moment on
// SIGHUP ends nothing: one that comes while the server starts is heard once it serves.
func Server(run func(c *cli.Context, hangup Hangup) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if signal.Ignored(syscall.SIGHUP) {
			return run(c, nil)
		}
		hangup := make(chan os.Signal, 1)
		signal.Notify(hangup, syscall.SIGHUP)
		defer signal.Stop(hangup)
		return run(c, hangup)
	}
}

// Serving is a node and what it runs with.
type Serving struct {
	Node Node
	Log  *runlog.Log
	// Ready is called once the node serves; nil: nothing is.
	Ready func() error

	Hangup Hangup
	// Settings reads the settings anew, and returns the level of the log and what else
	// changed; nil: they stand in no file.
	Settings func() (level string, changed []string, err error)
	// Terminal ends the node with the terminal that it was started in: SIGHUP is how a
	// process learns of that, too.
	Terminal bool
}

// Run runs the node until ctx ends, or a signal comes, and says so.
func (s Serving) Run(ctx context.Context) error {
	// A second signal is not to end the process while the node stops.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, func() { s.Log.Info("stopping") })()
	s.Terminal = s.Terminal && hasTerminal()
	group, groupCtx := errgroup.WithContext(ctx)
	ended := make(chan struct{})
	group.Go(func() error {
		defer close(ended)
		return s.Node.Run(groupCtx)
	})
	group.Go(func() error {
		select {
		case <-ended:
			return nil
		case <-s.Node.Ready():
		}
		if s.Ready != nil {
			if err := s.Ready(); err != nil {
				return err
			}
		}
		s.hear(ended, stop)
		return nil
	})
	if err := group.Wait(); err != nil {
		return err
	}
	s.Log.Info("stopped")
	return nil
}

// hear reloads at each SIGHUP until the node has ended.
func (s Serving) hear(ended <-chan struct{}, stop func()) {
	for {
		select {
		case <-ended:
			return
		case <-s.Hangup:
			if s.Terminal && !hasTerminal() {
				s.Log.Info("the terminal was closed")
				stop()
				return
			}
			s.reload()
		}
	}
}

// reload takes over what can change while a server runs, and names what cannot.
func (s Serving) reload() {
	if s.Settings != nil {
		text, changed, err := s.Settings()
		if err == nil {
			err = s.configure(text)
		}
		if err != nil {
			s.Log.Error("the settings cannot be read again, the former stay in force", "error", err, "hint", federation.AsError(err).Hint)
		}
		if len(changed) > 0 {
			s.Log.Warn("settings were changed that take a restart", "settings", changed)
		}
	}
	s.Node.Reload()
	level, _, _ := s.Log.Level.State()
	s.Log.Info("reloaded", "logLevel", runlog.Name(level))
}

func (s Serving) configure(text string) error {
	level, err := runlog.ParseLevel("log-level", text)
	if err == nil {
		s.Log.Level.Configure(level)
	}
	return err
}

// hasTerminal reports whether this process has a terminal that it would get signals of.
func hasTerminal() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	tty.Close()
	return true
}

// NoArguments refuses words behind a command that takes flags only.
func NoArguments(c *cli.Context) error {
	if c.Args().Present() {
		return Usagef("see `"+c.App.Name+" "+c.Command.Name+" --help`", "%s takes no argument, got %.60q", c.Command.Name, c.Args().First())
	}
	return nil
}

// FlagNames lists the names of flags, but for those left out.
func FlagNames(flags []cli.Flag, without ...string) []string {
	var names []string
	for _, f := range flags {
		if name := f.Names()[0]; !slices.Contains(without, name) {
			names = append(names, name)
		}
	}
	return names
}

// Effective are the values of a server's flags, for a maintainer to see.
func Effective(c *cli.Context, flags []cli.Flag) map[string]string {
	values := map[string]string{}
	for _, name := range FlagNames(flags) {
		values[name] = fmt.Sprint(c.Value(name))
		if list, ok := c.Value(name).(cli.StringSlice); ok {
			values[name] = strings.Join(list.Value(), ",")
		}
	}
	return values
}

// ServerLog returns the log that --log-format and --log-level ask for. Where that writes
// JSON, what the program says from now on is a line of it too, the last one as well.
func ServerLog(c *cli.Context) (*runlog.Log, error) {
	format := c.String("log-format")
	log, err := runlog.New(c.App.ErrWriter, format, c.String("log-level"))
	if err != nil {
		return nil, Usage(err)
	}
	if format == "json" {
		c.App.Metadata[loggerKey] = log.Logger
	}
	return log, nil
}

// loggerKey is where an app keeps the logger in whose format it speaks.
const loggerKey = "logger"
