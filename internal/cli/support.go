package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/federation"
)

// Support is a client of a server that makes archives for maintainers.
type Support interface {
	// SupportDump returns the archive; the caller reads and closes it.
	SupportDump(ctx context.Context, subjects bool) (io.ReadCloser, error)
}

// SupportCommand returns the command `support dump`; flags are those by which connect finds
// the server.
func SupportCommand(flags []cli.Flag, connect func(c *cli.Context) (Support, error)) *cli.Command {
	dump := &cli.Command{
		Name:      "dump",
		Usage:     "save one archive for a maintainer",
		ArgsUsage: "[FILE]",
		Description: `Versions, settings, status, metrics, profiles and the last lines of the log of the
server that is asked, as a .tar.gz that this user alone can read. There is no secret
in it. Names of users and proxies are in it with --with-subjects only. Ask each
member for its own. FILE - is standard output.

Examples:
  {program} support dump
  {program} support dump /tmp/support.tar.gz --with-subjects`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "with-subjects", Usage: "leave the names of users and proxies, ids of tokens and reasons in it"},
			&cli.BoolFlag{Name: "force", Usage: "replace FILE where it is there"}}, flags...),
		Action: func(c *cli.Context) error { return saveDump(c, connect) },
	}
	return &cli.Command{Name: "support", Usage: "help a maintainer to help you",
		Description: "Examples:\n  {program} support dump", Subcommands: []*cli.Command{dump}}
}

func saveDump(c *cli.Context, connect func(c *cli.Context) (Support, error)) (err error) {
	if err := Arguments(c, 0, 1, c.App.Name+" support dump [FILE]"); err != nil {
		return err
	}
	name := c.Args().First()
	if name == "" {
		name = fmt.Sprintf("support-%s-%s.tar.gz", c.App.Name, time.Now().UTC().Format("20060102T150405Z"))
	}
	if info, err := os.Stat(name); err == nil && name != "-" && (!c.Bool("force") || !info.Mode().IsRegular()) {
		return federation.Errorf(federation.Conflict, "%s is there already: nothing was saved", name).
			WithHint("name another file, or replace a file with --force")
	}
	server, err := connect(c)
	if err != nil {
		return err
	}
	archive, err := server.SupportDump(c.Context, c.Bool("with-subjects"))
	if err != nil {
		return err
	}
	defer archive.Close()
	if name == "-" {
		_, err := io.Copy(c.App.Writer, archive)
		return err
	}
	if err := writeWhole(name, archive); err != nil {
		return err
	}
	VoiceOf(c.App).Say("look into it before you give it away: tar -tzf %s", Quoted(name))
	_, err = fmt.Fprintln(c.App.Writer, name)
	return writeFailed(err)
}

// writeWhole gives a file its name once all of it is there. The temporary file, and so the
// file, is this user's alone.
func writeWhole(name string, from io.Reader) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return unwritten(name, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err := io.Copy(f, from); err != nil {
		return federation.Errorf(federation.Unavailable, "the archive did not arrive whole: %w", err).WithHint("try again")
	}
	if err := errors.Join(f.Sync(), f.Close(), os.Rename(f.Name(), name)); err != nil {
		return unwritten(name, err)
	}
	return nil
}

func unwritten(name string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return federation.Errorf(federation.Invalid, "%s cannot be written: %w", name, err).WithHint("name a file in a directory that this user may write")
}
