package agent

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
)

// workDirs is the pattern of the names of agents' folders.
const workDirs = "meridian-proxy-*"

// workDir is a folder of one agent's own, for no other user. It is locked while the agent
// runs: what cleans folders of temporary files (systemd-tmpfiles) passes over a locked one, and
// an agent removes those that nobody has locked. A token lies in them, and an agent that was
// killed removes nothing.
type workDir struct {
	path string
	lock *os.File
}

// makeWorkDir makes a folder, and removes those that others left behind.
func (a *Agent) makeWorkDir() (*workDir, error) {
	a.sweep()
	for {
		path, err := os.MkdirTemp("", workDirs)
		if err != nil {
			return nil, federation.Errorf(federation.Internal, "making a folder for Envoy: %w", err).
				WithHint("TMPDIR must be a folder that this user may write to")
		}
		d, err := lockDir(path)
		switch {
		case err == nil:
			return d, nil
		case errors.Is(err, disk.ErrLocked): // by one that removes it: it was not locked yet
			continue
		}
		return nil, errors.Join(federation.Errorf(federation.Internal, "locking the folder %s: %w", path, err), os.RemoveAll(path))
	}
}

// lockDir locks a folder that is there still. [disk.ErrLocked] is also the error where it is
// not any more.
func lockDir(path string) (*workDir, error) {
	f, err := disk.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, disk.ErrLocked
	}
	if err != nil {
		return nil, err
	}
	err = disk.Lock(f)
	if _, gone := os.Stat(path); err == nil && errors.Is(gone, os.ErrNotExist) {
		err = disk.ErrLocked
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &workDir{path, f}, nil
}

// remove removes the folder while it is still locked.
func (d *workDir) remove() error {
	defer d.lock.Close()
	return os.RemoveAll(d.path)
}

// sweep removes what agents of this user that were killed have left behind.
func (a *Agent) sweep() {
	left, err := filepath.Glob(filepath.Join(os.TempDir(), workDirs))
	if err != nil {
		return // the pattern is good
	}
	for _, path := range left {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() || disk.RightsOf(info).Enter {
			continue // gone by now, or not one of ours
		}
		d, err := lockDir(path)
		if err != nil {
			continue // in use, or another user's
		}
		if err := d.remove(); err != nil {
			a.cfg.Logger.Warn("what an agent that was killed left behind cannot be removed", "folder", path, "error", plain(err))
			continue
		}
		a.cfg.Logger.Info("removed what an agent that was killed left behind", "folder", path)
	}
}
