package disk

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/meridiankds/meridian/federation"
)

// Mark says whose a data directory is. Neither program opens the other's: a zone that
// is started on a global's directory would take its files for its own.
type Mark struct {
	Format  int    `json:"format"`
	Program string `json:"program"`
	Role    string `json:"role"`
}

// The marks of this version.
var (
	GlobalMark = Mark{1, "global", "member of a global control plane"}
	ZoneMark   = Mark{1, "zone", "zone control plane"}
)

// markFile is the file in a data directory that holds its mark.
const markFile = "meridian.json"

// foreign are files that only the other program writes: a directory without a mark that
// has one is the other's.
var foreign = map[string][]string{
	"global": {"zone.db"},
	"zone":   {"node.json", "raft.db", "node.lock"},
}

// OpenDataDir makes a program's data directory where it is not there, marks it, and
// refuses one that is the other program's or that others may write, also in part. A
// directory that others may enter is worth the warning that it returns.
func OpenDataDir(dir string, mark Mark) (warning string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", federation.Errorf(federation.Invalid, "making the data directory: %w", err).
			WithHint("name a directory that you may write to with --data-dir")
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", federation.Errorf(federation.Invalid, "looking at the data directory: %w", err).
			WithHint("name a directory that this program may use with --data-dir")
	}
	r := RightsOf(info)
	if r.Write {
		return "", writable("data directory", dir, r)
	}
	if r.Enter {
		warning = "others may enter the data directory " + dir + ": chmod 700 " + dir
		if err := checkEntries(dir); err != nil {
			return "", err
		}
	}
	return warning, claim(dir, mark)
}

// checkEntries refuses files and directories in a directory that others may write: those
// who may enter it can use them. Sockets are made anew, with rights of their own.
func checkEntries(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return federation.Errorf(federation.Invalid, "looking into the data directory: %w", err).
			WithHint("name a directory that this program may use with --data-dir")
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path) // of a link, what it leads to
		if err != nil || !info.Mode().IsRegular() && !info.IsDir() {
			continue
		}
		if r := RightsOf(info); r.Write {
			return writable("data directory's", path, r)
		}
	}
	return nil
}

// claim marks a directory, or checks the mark that it has. Of two programs that claim an
// empty directory at once one finds the other's mark.
func claim(dir string, mark Mark) error {
	path := filepath.Join(dir, markFile)
	found, err := readMark(path)
	switch {
	case err == nil:
		return found.check(dir, mark)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	for _, name := range foreign[mark.Program] {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return otherProgram(dir, "it has a "+name)
		}
	}
	if err := writeMark(dir, path, mark); errors.Is(err, fs.ErrExist) {
		if found, err = readMark(path); err != nil {
			return err
		}
		return found.check(dir, mark)
	} else if err != nil {
		return federation.Errorf(federation.Invalid, "the data directory %s cannot be marked: %w", dir, err).
			WithHint("name a directory that you may write to with --data-dir, and check that its disk is not full")
	}
	return nil
}

// writeMark makes the file, whole, unless it is there.
func writeMark(dir, path string, mark Mark) error {
	data, err := json.Marshal(mark)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, markFile+".tmp*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path)
}

func readMark(path string) (m Mark, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, federation.Errorf(federation.Invalid, "%s is damaged: %w", path, err).
			WithHint("it says whose the directory is; remove it if you know that")
	}
	return m, nil
}

func (m Mark) check(dir string, want Mark) error {
	switch {
	case m.Program != want.Program || m.Role != want.Role:
		return otherProgram(dir, "it is marked as a "+m.Role+"'s")
	case m.Format > want.Format:
		return federation.Errorf(federation.Conflict, "the data directory %s was written by a newer version", dir).
			WithHint("run that version, or name another directory with --data-dir")
	}
	return nil
}

func otherProgram(dir, why string) error {
	return federation.Errorf(federation.Conflict, "the data directory %s is another program's: %s", dir, why).
		WithReason("other_program").WithHint("name a directory of its own with --data-dir")
}
