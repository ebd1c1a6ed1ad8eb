package keysync

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/disk"
)

// file is an open, locked and verified bbolt file.
type file struct {
	db   *bbolt.DB
	fd   *os.File
	path string
	// fault is that of the Store.
	fault func(what string) error
	// wedged: a transaction panicked, and bbolt may hold its locks for good.
	wedged bool
	// failed: a commit did not succeed, so what is in the file is unknown until it
	// is read again.
	failed bool
}

func (f *file) usable() bool { return f != nil && !f.wedged && !f.failed }

// gone is the error for a file that is not at its path any more: what is written to it
// is lost with the process, and nobody else can read it.
func (f *file) gone() error {
	mine, err := f.fd.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(f.path)
	if err == nil && os.SameFile(mine, there) {
		return nil
	}
	what := "was replaced"
	if errors.Is(err, fs.ErrNotExist) {
		what = "was moved or removed"
	} else if err != nil {
		return err
	}
	return federation.Errorf(federation.Internal, "the zone's file of keys %s %s while the zone runs", f.path, what).
		WithReason(ReasonDamaged).
		WithHint("put the file back that was there; or restart the zone, which then begins with what is there and has the rest sent again")
}

// update runs a transaction that is durable, and at its path, when update returns nil.
func (f *file) update(fn func(tx *bbolt.Tx) error) error {
	var inside error
	err := guard(func() error {
		return f.db.Update(func(tx *bbolt.Tx) error {
			inside = fn(tx)
			return inside
		})
	})
	if err == nil {
		err = f.gone()
	}
	if err == nil {
		err = f.fault("committed")
	}
	var p *panicked
	switch {
	case errors.As(err, &p):
		f.wedged = true
	case err != nil && inside == nil:
		f.failed = true
	}
	return err
}

func (f *file) writeHead(h *head) error {
	return f.update(func(tx *bbolt.Tx) error { return txn{tx, h}.writeHead() })
}

// close releases the file and its lock.
func (f *file) close() error {
	if f == nil || f.fd == nil {
		return nil
	}
	if f.wedged {
		// bbolt's own Close would wait for locks that nobody will release. The
		// mapping stays behind, and would keep the lock with it.
		disk.Unlock(f.fd)
		return f.fd.Close()
	}
	return f.db.Close()
}

// openOrBegin opens the file, or a new one in the place of a damaged one.
func (s *Store) openOrBegin() (*file, state, error) {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return nil, state{}, federation.Errorf(federation.Internal, "making the folder of the zone's keys: %w", err).
			WithHint("choose a data folder that this user may write to")
	}
	f, st, err := s.openFile(os.O_CREATE)
	var bad *damage
	if errors.As(err, &bad) {
		aside, moved := s.setAside(f)
		if moved != nil {
			return nil, state{}, moved
		}
		s.log.Error("the zone's file of keys is damaged: it was set aside and begun anew; "+
			"until the global has sent its state, the zone knows nothing and refuses every token",
			"file", s.path, "damage", bad.Error(), "aside", aside)
		f, st, err = s.openFile(os.O_CREATE)
	}
	if err != nil {
		_ = f.close()
		return nil, state{}, s.explain(err)
	}
	return f, st, nil
}

// openFile locks, verifies and opens the file, and begins it where create is
// os.O_CREATE and not 0. With damage it returns the open
// file too, so that it can be renamed while nobody else can have it.
func (s *Store) openFile(create int) (*file, state, error) {
	f := &file{path: s.path, fault: func(what string) error { return s.fault(what) }}
	var st state
	var fresh bool
	err := guard(func() (err error) {
		// bbolt locks the descriptor that the hook returns only after it, so the
		// lock is taken here, where the file can still be looked at before bbolt
		// maps it. Locking it again is no change for the same descriptor.
		f.db, err = bbolt.Open(s.path, 0o600, &bbolt.Options{
			Timeout: s.opts.LockTimeout,
			OpenFile: func(path string, flag int, mode os.FileMode) (*os.File, error) {
				if f.fd, err = os.OpenFile(path, flag&^os.O_CREATE|create, mode); err != nil {
					return nil, err
				}
				if err = lock(f.fd, s.opts.LockTimeout); err != nil {
					return nil, err
				}
				if st, fresh, err = s.verify(f.fd); err != nil {
					return nil, err // without the file, so that it stays open and locked
				}
				return f.fd, nil
			},
		})
		return err
	})
	var p *panicked
	if errors.As(err, &p) {
		// Verified, and bbolt cannot open it: nothing that a retry would mend.
		f.wedged = true
		return f, st, damagef("%w", err)
	}
	if err != nil {
		f.wedged = true // only the descriptor is left to close
		return f, st, err
	}
	if fresh && create == 0 {
		err = damagef("the file is empty")
	} else if fresh {
		err = s.begin(f, &st)
	} else if st.head.zone != s.opts.Zone {
		err = federation.Errorf(federation.Conflict, "the file belongs to zone %.64q, not to zone %.64q", st.head.zone, s.opts.Zone).
			WithReason(ReasonOtherZone).
			WithHint("give each zone a data folder of its own; to rename a zone, move the file away")
	}
	return f, st, err
}

// verify reads the file that was just locked.
func (s *Store) verify(fd *os.File) (state, bool, error) {
	info, err := fd.Stat()
	if err != nil {
		return state{}, false, err
	}
	// Who waited for the lock may have got it on a file that its former holder
	// renamed meanwhile.
	if there, err := os.Stat(s.path); err != nil || !os.SameFile(info, there) {
		return state{}, false, disk.ErrLocked
	}
	if info.Size() == 0 {
		return newState(), true, nil
	}
	return load(fd, info.Size(), s.hash)
}

// begin writes the first head of a new file.
func (s *Store) begin(f *file, st *state) error {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return fmt.Errorf("drawing an instance id: %w", err)
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // RFC 9562: version 4, variant 10
	st.head.instance, st.head.zone = cptoken.UUID(id).String(), s.opts.Zone
	st.head.vocabulary = cptoken.Vocabulary
	if err := f.writeHead(&st.head); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(s.path))
}

// setAside renames a damaged file and closes it.
func (s *Store) setAside(f *file) (aside string, err error) {
	aside = s.path + ".damaged-" + strconv.FormatInt(s.opts.Now().Unix(), 10)
	for i := 1; exists(aside); i++ {
		aside = fmt.Sprintf("%s.damaged-%d.%d", s.path, s.opts.Now().Unix(), i)
	}
	err = os.Rename(s.path, aside)
	_ = f.close()
	if err != nil {
		return "", federation.Errorf(federation.Internal, "the zone's file of keys is damaged and could not be set aside: %w", err).
			WithReason(ReasonDamaged).
			WithHint("move %s away yourself and start again", s.path)
	}
	return aside, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// syncFolder makes a new or renamed file in the folder durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// reopen reads the file again after a commit whose outcome is unknown. It
// fails, and leaves the file alone, where the file is gone or holds less than is
// published. s.disk is held.
func (s *Store) reopen() error {
	if s.file.fd != nil {
		if err := s.file.gone(); err != nil {
			return err // only open can it be told that it was put back
		}
	}
	_ = s.file.close()
	f, st, err := s.openFile(0)
	if err == nil && !s.covers(st.head) {
		err = damagef("the file holds less than this zone has acknowledged")
	}
	if err != nil {
		_ = f.close()
		s.file = &file{failed: true}
		return federation.Errorf(federation.Internal, "the zone's file of keys cannot be used any more: %w", err).
			WithReason(ReasonDamaged).
			WithHint("the zone goes on with what it has in memory and takes nothing new; restart it, and look at the disk of %s", s.path)
	}
	s.file = f
	if err := s.fault("rewrite"); err != nil {
		f.failed = true
		return err
	}
	if err := f.rewrite(); err != nil {
		f.failed = true
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = st
	s.publish()
	return nil
}

// rewrite writes every page that is in use once more, as it is read. A system that could not
// write pages may take them for written from then on, and read from its memory what the
// disk never had: a file that reads well after a failed commit is not durable for that.
// What refers to pages, the first two of bbolt, comes after them.
func (f *file) rewrite() error {
	var size int64
	if err := f.db.View(func(tx *bbolt.Tx) error { size = tx.Size(); return nil }); err != nil {
		return err
	}
	first := 2 * int64(f.db.Info().PageSize)
	for _, part := range [...]struct{ from, to int64 }{{first, size}, {0, first}} {
		for buf := make([]byte, 256<<10); part.from < part.to; {
			n, err := f.fd.ReadAt(buf[:min(int64(len(buf)), part.to-part.from)], part.from)
			if err != nil {
				return err
			}
			if _, err := f.fd.WriteAt(buf[:n], part.from); err != nil {
				return err
			}
			part.from += int64(n)
		}
		if err := f.fd.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// covers reports whether h is of the same file as what is published and holds at
// least as much, or is what a merging set that leads back has made of it.
func (s *Store) covers(h head) bool {
	now := &s.state.head
	return h.instance == now.instance &&
		(h.revision.Covers(now.revision) || h.revision.History.Compare(now.revision.History) > 0 ||
			h.revision == s.tried.revision && h.sums == s.tried.sums)
}

// explain says what to do about an error of opening.
func (s *Store) explain(err error) error {
	var known *federation.Error
	switch {
	case errors.Is(err, disk.ErrLocked) || errors.Is(err, berrors.ErrTimeout):
		return federation.Errorf(federation.Conflict, "the zone's file of keys %s is in use by another process", s.path).
			WithReason(ReasonLocked).
			WithHint("one zone control plane has one data folder: stop the other, or give --data-dir a folder of its own")
	case errors.As(err, &known):
		e := *known
		e.Detail = fmt.Sprintf("the zone's file of keys %s: %s", s.path, known.Detail)
		return &e
	}
	return federation.Errorf(federation.Internal, "opening the zone's file of keys: %w", err).
		WithHint("check that %s is a file that this user may read and write, and that its disk works", s.path)
}

// lockRetry is how often a lock that somebody holds is tried again.
const lockRetry = 50 * time.Millisecond

// lock takes the file for this process, waiting for at most timeout.
func lock(fd *os.File, timeout time.Duration) error {
	for deadline := time.Now().Add(timeout); ; time.Sleep(lockRetry) {
		err := disk.Lock(fd)
		if !errors.Is(err, disk.ErrLocked) || clock.Ended(deadline, time.Now()) {
			return err
		}
	}
}
