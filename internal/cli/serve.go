package cli

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"
)

// Node is a server of either program.
type Node interface {
	// Run serves until ctx ends.
	Run(ctx context.Context) error
	// Ready is closed once every port serves.
	Ready() <-chan struct{}
}

// Serve runs a node until ctx ends, or a signal comes, and says so. ready is called once
// the node serves; nil: nothing is.
func Serve(ctx context.Context, logger *slog.Logger, node Node, ready func() error) error {
	// A second signal is not to end the process while the node stops.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, func() { logger.Info("stopping") })()
	group, groupCtx := errgroup.WithContext(ctx)
	ended := make(chan struct{})
	group.Go(func() error {
		defer close(ended)
		return node.Run(groupCtx)
	})
	group.Go(func() error {
		select {
		case <-ended:
		case <-node.Ready():
			if ready != nil {
				return ready()
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return err
	}
	logger.Info("stopped")
	return nil
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

// ServerLogger returns the logger that --log-format and --log-level ask for. Where that
// writes JSON, what the program says from now on is a line of it too, the last one as well.
func ServerLogger(c *cli.Context) (*slog.Logger, error) {
	format := c.String("log-format")
	logger, err := NewLogger(c.App.ErrWriter, format, c.String("log-level"))
	if err == nil && format == "json" {
		c.App.Metadata[loggerKey] = logger
	}
	return logger, err
}

// loggerKey is where an app keeps the logger in whose format it speaks.
const loggerKey = "logger"

// NewLogger returns the logger of a server: format is "text" or "json", level
// "debug", "info", "warn" or "error".
func NewLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, Usagef("use debug, info, warn or error", "--log-level %.20q is not a level", level)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(once{next: slog.NewTextHandler(w, options)}), nil
	case "json":
		return slog.New(once{next: slog.NewJSONHandler(w, options)}), nil
	}
	return nil, Usagef("use text or json", "--log-format %.20q is not a format", format)
}
