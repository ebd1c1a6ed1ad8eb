// Package snapshot has the commands over backups of a cluster.
package snapshot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/global/adminapi"
	"github.com/meridiankds/meridian/raftstore/state"
)

// Command returns the commands `global snapshot`.
func Command() *cli.Command {
	return &cli.Command{
		Name:  "snapshot",
		Usage: "save, look into and restore backups of the cluster's state",
		Description: `A backup holds keys (sealed), revocations, zones and meshes. It is of use with the
seal key alone, which is not in it: keep a copy of that elsewhere.`,
		Subcommands: []*cli.Command{snapshotSave(), snapshotInspect(), snapshotRestore()},
	}
}

func snapshotSave() *cli.Command {
	return &cli.Command{
		Name:      "save",
		Usage:     "save a backup to a file, or - for standard output",
		ArgsUsage: "FILE",
		Description: `The file is written in full and checked before it takes its name. It comes from the
leader and holds every change that was acknowledged before. A file that is there is
replaced with --force only, or by who says yes on a terminal.

Examples:
  global snapshot save meridian.snapshot
  global snapshot save - | age -r age1… > meridian.snapshot.age`,
		Flags: client.Flags(
			&cli.BoolFlag{Name: "stale", Usage: "take the state of any member, also without a leader"},
			&cli.BoolFlag{Name: "force", Usage: "replace FILE where it is there"},
			console.OutputFlag()),
		Action: saveSnapshot,
	}
}

func saveSnapshot(c *cli.Context) error {
	format, err := console.FormatOf(c)
	if err != nil {
		return err
	}
	if err := console.Arguments(c, 1, 1, "global snapshot save FILE"); err != nil {
		return err
	}
	if err := agreeToReplace(c, c.Args().First()); err != nil {
		return err
	}
	g, err := client.Connect(c)
	if err != nil {
		return err
	}
	if name := c.Args().First(); name != "-" {
		b, err := saveTo(c.Context, g, c.Bool("stale"), name)
		if err != nil {
			return err
		}
		return console.Print(c.App.Writer, format, b, func() io.WriterTo { return backupFields(b) })
	}
	b, err := copyBackup(c.Context, g, c.Bool("stale"), c.App.Writer)
	if err == nil {
		console.VoiceOf(c.App).Say("saved %d bytes, revision %s, sha256 %s", b.Bytes, b.Revision, b.SHA256)
	}
	return err
}

// agreeToReplace refuses a name under which something is that is no file, and asks before a
// file is replaced.
func agreeToReplace(c *cli.Context, name string) error {
	info, err := os.Stat(name)
	switch {
	case name == "-" || errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return cannotWrite(name, err)
	case info.IsDir():
		return federation.Errorf(federation.Invalid, "%s is a directory", name).
			WithHint("name a file in it, for example %s", filepath.Join(name, "meridian.snapshot"))
	case !info.Mode().IsRegular():
		return federation.Errorf(federation.Invalid, "%s is no regular file", name).WithHint("write to it with: global snapshot save - > %s", name)
	case c.Bool("force"):
		return nil
	}
	voice := console.VoiceOf(c.App)
	if voice.Interactive() {
		yes, err := voice.Confirm("replace " + name)
		if yes || err != nil {
			return err
		}
	}
	return federation.Errorf(federation.Conflict, "%s is there already: nothing was saved", name).
		WithHint("name another file, or replace it with --force")
}

// saveTo writes a backup beside its place and gives it its name when it is complete
// and on disk, so that an older one is not lost for half of a new one.
func saveTo(ctx context.Context, g *apiclient.Global, stale bool, name string) (_ apitypes.Backup, err error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".tmp*")
	if err != nil {
		return apitypes.Backup{}, cannotWrite(name, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	b, err := copyBackup(ctx, g, stale, f)
	if err != nil {
		return b, err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return b, cannotWrite(name, err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return b, cannotWrite(name, err)
	}
	return b, nil
}

func cannotWrite(name string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err // it names a file that is there for a moment
	}
	return federation.Errorf(federation.Invalid, "%s cannot be written: %w", name, err).
		WithHint("name a file in a directory that you may write to and that has room")
}

// copyBackup copies a backup from the node and checks it on the way.
func copyBackup(ctx context.Context, g *apiclient.Global, stale bool, out io.Writer) (apitypes.Backup, error) {
	in, err := g.SaveSnapshot(ctx, stale)
	if err != nil {
		return apitypes.Backup{}, err
	}
	defer in.Close()
	w := &remembering{w: bufio.NewWriterSize(out, 1<<20)}
	b, err := state.InspectBackup(io.TeeReader(in, w))
	switch {
	case w.err != nil:
		return apitypes.Backup{}, cannotWrite("the backup", w.err)
	case err != nil:
		return apitypes.Backup{}, g.BrokenOff(err)
	}
	if err := w.w.Flush(); err != nil {
		return apitypes.Backup{}, cannotWrite("the backup", err)
	}
	return adminapi.BackupJSON(b), nil
}

// remembering tells an error in writing from one in reading.
type remembering struct {
	w   *bufio.Writer
	err error
}

// Write implements io.Writer.
func (r *remembering) Write(p []byte) (int, error) {
	n, err := r.w.Write(p)
	r.err = err
	return n, err
}

func backupFields(b apitypes.Backup) *console.Fields {
	f := &console.Fields{}
	f.Add("format", strconv.Itoa(b.Format))
	f.AddWide("cluster", b.ClusterID)
	f.Add("revision", b.Revision)
	if b.Time != nil {
		f.Add("last change", b.Time.Format(time.RFC3339))
	}
	f.Add("seal keys", strings.Join(b.SealKeys, ", "))
	if b.ClusterSecret > 0 {
		f.Add("cluster secret", "generation "+strconv.FormatUint(uint64(b.ClusterSecret), 10))
	}
	f.Add("signing keys", strconv.Itoa(b.Keys))
	f.Add("zones", strconv.Itoa(b.Zones))
	f.Add("meshes", strconv.Itoa(b.Meshes))
	f.Add("revocations", strconv.Itoa(b.Revocations))
	f.Add("cut-offs", strconv.Itoa(b.CutOffs))
	f.Add("bytes", strconv.FormatInt(b.Bytes, 10))
	f.Add("sha256", b.SHA256)
	if b.HasMAC {
		f.Add("proof", "it has a MAC, which a restore checks with the seal key; here only its checksums were")
	} else {
		f.Add("proof", "none: it has no MAC, and no restore takes it")
	}
	return f
}

func snapshotInspect() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "check a backup and show what is in it, without a global",
		ArgsUsage: "FILE",
		Description: `Reads the whole file, or standard input where FILE is -, and fails where one byte of
it is changed or missing.

Examples:
  global snapshot inspect meridian.snapshot
  global snapshot inspect meridian.snapshot -o json`,
		Flags: []cli.Flag{console.OutputFlag()},
		Action: func(c *cli.Context) error {
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			if err := console.Arguments(c, 1, 1, "global snapshot inspect FILE"); err != nil {
				return err
			}
			in := c.App.Reader
			if name := c.Args().First(); name != "-" {
				f, _, err := openBackup(name)
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			found, err := state.InspectBackup(in)
			if err != nil {
				return err
			}
			b := adminapi.BackupJSON(found)
			return console.Print(c.App.Writer, format, b, func() io.WriterTo { return backupFields(b) })
		},
	}
}

// openBackup opens a backup that is in a file, and says how long it is.
func openBackup(name string) (*os.File, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, federation.Errorf(federation.Invalid, "the backup cannot be opened: %w", err).WithHint("check the file's name")
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a folder", name)
	}
	if err != nil {
		f.Close()
		return nil, 0, federation.Errorf(federation.Invalid, "the backup cannot be read: %w", err).WithHint("name a file that `global snapshot save` wrote")
	}
	if !info.Mode().IsRegular() {
		defer f.Close()
		return client.Spool(f) // a pipe, which has an end all the same
	}
	return f, info.Size(), nil
}

func snapshotRestore() *cli.Command {
	return &cli.Command{
		Name:      "restore",
		Usage:     "replace the state of a running cluster by a backup",
		ArgsUsage: "FILE",
		Description: `Start a new cluster with the backup's seal key in its seal key file, then restore
into it. A cluster that holds state is replaced with --force only. Where the backup is of
another cluster, name that with --cluster as well; where it is under a former generation
of the cluster secret, the generation with --secret-generation. snapshot inspect shows both.

A new history begins: zones take the restored state by themselves and keep what they
know to be revoked. Revoke again what was revoked after the backup and concerns
the global itself: user tokens and control plane tokens. In a new cluster expel again
who was expelled after it; over the cluster that expelled them, they stay expelled.

Examples:
  global snapshot restore meridian.snapshot
  global snapshot restore meridian.snapshot --force`,
		Flags: client.Flags(
			&cli.BoolFlag{Name: "force", Usage: "replace the state that the cluster holds"},
			&cli.StringFlag{Name: "cluster", Usage: "with --force, the `ID` of the backup's cluster where that is another one than this"},
			&cli.UintFlag{Name: "secret-generation", Usage: "the generation `N` of the cluster secret that the backup is under, where that is not this cluster's newest: who knew that one could have written the backup"},
			&cli.BoolFlag{Name: "yes", Usage: "do not ask, also on a terminal"},
			console.OutputFlag()),
		Action: restoreSnapshot,
	}
}

func restoreSnapshot(c *cli.Context) error {
	format, err := console.FormatOf(c)
	if err != nil {
		return err
	}
	if err := console.Arguments(c, 1, 1, "global snapshot restore FILE"); err != nil {
		return err
	}
	backup, size, err := checkedBackup(c, c.Args().First())
	if err != nil {
		return err
	}
	defer backup.Close()
	g, err := client.Connect(c)
	if err != nil {
		return err
	}
	if err := agreeToRestore(c); err != nil {
		return err
	}
	how := apitypes.Restore{Force: c.Bool("force"), Cluster: c.String("cluster"), ClusterSecret: c.Uint("secret-generation")}
	done, err := g.RestoreSnapshot(c.Context, &apiclient.Upload{From: backup, Size: size}, how)
	if err != nil {
		return err
	}
	if done.Replaced != "" {
		voice := console.VoiceOf(c.App)
		voice.Warn("the cluster of the backup took the place of another one, with generation %d of the cluster secret", done.Backup.ClusterSecret)
		voice.Hint("who was expelled after the backup was made is trusted again: compare global certs expelled with what you know, and expel them again")
		voice.Hint("make another generation, unless you know that this one was not replaced because somebody had it: global seal rotate --cluster-secret")
	}
	return console.Print(c.App.Writer, format, done, func() io.WriterTo {
		return console.Sentence(fmt.Sprintf("the cluster is restored to %s; its new history begins at %s",
			done.Backup.Revision, done.Revision))
	})
}

// checkedBackup opens a backup, or keeps standard input, and reads it once: what is
// damaged need not travel.
func checkedBackup(c *cli.Context, name string) (*os.File, int64, error) {
	open := func() (*os.File, int64, error) { return openBackup(name) }
	if name == "-" {
		open = func() (*os.File, int64, error) { return client.Spool(c.App.Reader) }
	}
	in, size, err := open()
	if err != nil {
		return nil, 0, err
	}
	_, err = state.InspectBackup(in)
	if err == nil {
		_, err = in.Seek(0, io.SeekStart)
	}
	if err != nil {
		in.Close()
		return nil, 0, err
	}
	return in, size, nil
}

// agreeToRestore asks who sits at a terminal before state is replaced.
func agreeToRestore(c *cli.Context) error {
	voice := console.VoiceOf(c.App)
	if c.Args().First() == "-" || !c.Bool("force") || c.Bool("yes") || !voice.Interactive() {
		return nil
	}
	yes, err := voice.Confirm("replace the state that the cluster holds")
	if err == nil && !yes {
		err = federation.Errorf(federation.Conflict, "stopped: nothing is restored").WithHint("give --yes to go on without being asked")
	}
	return err
}
