package node

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
)

// lockFile is the file in the data folder that a running node holds a lock on. It is
// never removed: another node could be waiting on the file that is taken away.
const lockFile = "node.lock"

// folderLock keeps a second node out of a data folder, from before the first write
// until the node has ended. The system releases it when the process dies.
type folderLock struct {
	mu   sync.Mutex
	file *os.File // nil once it is released
}

// lockFolder takes the data folder, which it makes where it is not there.
func lockFolder(dir string, log *slog.Logger) (*folderLock, error) {
	warning, err := disk.OpenDataDir(dir, disk.GlobalMark)
	if err != nil {
		return nil, err
	}
	if warning != "" {
		log.Warn(warning)
	}
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "the data folder %s cannot be written: %w", dir, err).
			WithHint("name a folder that you may write to with --data-dir, and check that its disk is not full")
	}
	err = disk.Lock(f)
	switch {
	case errors.Is(err, disk.ErrLocked):
		f.Close()
		return nil, federation.Errorf(federation.Conflict, "the data folder %s is in use by another process", dir).
			WithReason("in_use").WithHint("stop the other global that runs on it, or name another folder with --data-dir")
	case err != nil:
		f.Close()
		return nil, federation.Errorf(federation.Internal, "locking %s: %w", path, err).
			WithHint("put the data folder on a file system that can lock files")
	}
	return &folderLock{file: f}, nil
}

// release gives the folder back. It may be called again.
func (l *folderLock) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		// Closing alone would leave it locked for as long as a child that is just being
		// started has the file, too.
		disk.Unlock(l.file)
		l.file.Close()
		l.file = nil
	}
}

func (l *folderLock) held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file != nil
}

// lockDataDir takes the data folder unless c has it already.
func (c *Config) lockDataDir() (err error) {
	if c.lock != nil && c.lock.held() {
		return nil
	}
	c.lock, err = lockFolder(c.DataDir, c.Logger)
	return err
}

// unlockDataDir gives the data folder back, if c has it.
func (c *Config) unlockDataDir() {
	if c.lock != nil {
		c.lock.release()
	}
}
