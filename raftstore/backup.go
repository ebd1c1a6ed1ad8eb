package raftstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/disk"
	"github.com/meridiankds/meridian/raftstore/state"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// A backup is a snapshot as snapshot.go describes it: the same frames, checksums
// and format number as those in the data folder.

// usableWith refuses a backup that these seal keys do not open, that was not written
// under its own cluster secret, or whose keys are not what their records say. It returns
// that secret.
func usableWith(b *state.BackupContents, next *state.State, seal *issue.SealKeys) (*issue.ClusterSecret, error) {
	if err := seal.VerifyCheck(sealedFrom(b.SealCheck.Sealed)); err != nil {
		return nil, wrongSealKeys(b, seal, err)
	}
	for _, id := range b.Info.SealKeys {
		if !slices.Contains(seal.IDs(), id) {
			return nil, wrongSealKeys(b, seal, fmt.Errorf("seal key %.16s is not there", id))
		}
	}
	secret, err := checkMAC(b, seal)
	if err != nil {
		return nil, err
	}
	for _, k := range next.Records() {
		if k.Sealed() == nil {
			continue
		}
		if _, err := unseal(next, k, seal); err != nil {
			return nil, federation.Errorf(federation.Invalid, "the backup holds a key that is not what its record says: %w", err).
				WithReason("damaged").WithHint("use another backup; nothing was changed")
		}
	}
	return secret, nil
}

func wrongSealKeys(b *state.BackupContents, seal *issue.SealKeys, err error) error {
	return federation.Errorf(federation.Invalid, "wrong seal key: the backup needs the seal keys %v, and this node has %v: %w",
		b.Info.SealKeys, seal.IDs(), err).WithReason("wrong_seal_key").
		WithHint("add the backup's seal key as a further line to the seal key file of every node, start them again, and restore then; nothing was changed")
}

// SaveOptions say what backup is wanted.
type SaveOptions struct {
	// Stale takes this node's state as it is, also where it does not lead.
	Stale bool
}

// Save writes a backup of the state. Without Stale it is one of the leader's, and
// holds every change that was acknowledged before the call. It is a capture: changes
// meanwhile wait for nothing and are not in it.
func (s *Store) Save(_ context.Context, opts SaveOptions, out io.Writer) error {
	if !opts.Stale {
		r := s.raft.Load()
		if r == nil || !s.IsLeader() {
			return s.notLeader()
		}
		if err := r.VerifyLeader().Error(); err != nil {
			return s.notLeader().WithCause(err)
		}
	}
	st := s.fsm.current()
	if !st.Founded() {
		return federation.Errorf(federation.Unavailable, "the cluster is not founded yet").WithReason("not_founded")
	}
	if broken := s.brokenIn(st).ids; len(broken) > 0 {
		return federation.Errorf(federation.Conflict, "key %s is broken: no restore would take a backup that has it", state.KeyName(broken[0])).
			WithReason("key_broken").WithHint("remove it first: global keys remove %s", state.KeyName(broken[0]))
	}
	secret, err := openSecret(s.cfg.Seal, st.Cluster(), st.Secrets())
	if err != nil {
		return err
	}
	var failed error
	err = st.WriteBackup(out, func(frames []byte) (mac []byte) {
		mac, failed = secret.BackupMAC(frames)
		return mac
	})
	return errors.Join(failed, err)
}

// RestoreOptions say how far a restore may go.
type RestoreOptions struct {
	// Force replaces a state that holds more than a founding made.
	Force bool
	// Cluster names the backup's cluster where it is another than the one whose state it
	// replaces; Generation that of the cluster secret under which it was written where it is
	// not the cluster's newest. Neither is needed where a founding made all that there is.
	Cluster    string
	Generation uint32
}

// Restore replaces the state of the cluster by a backup, and begins a new history:
// zones take full state and keep what they know to be revoked. The whole backup is
// read and checked first; where an error is returned, other than UnknownOutcome,
// nothing was changed. It goes through Raft in parts and takes effect with one
// command, so that a leader that is lost meanwhile loses nothing.
func (s *Store) Restore(ctx context.Context, o Origin, opts RestoreOptions, in io.Reader) (Backup, Change, error) {
	if !s.IsLeader() {
		return Backup{}, Change{}, s.notLeader()
	}
	spool, sum, err := s.spool(in)
	if err != nil {
		return Backup{}, Change{}, err
	}
	defer os.Remove(spool.Name())
	defer spool.Close()
	b, err := state.ReadBackup(spool)
	if err != nil {
		return Backup{}, Change{}, err
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return Backup{}, Change{}, disk.Unreadable(spool.Name(), err)
	}
	next, err := state.ReadSnapshot(spool)
	if err != nil {
		return Backup{}, Change{}, state.UnusableBackup(err)
	}
	secret, err := usableWith(&b, next, s.cfg.Seal)
	if err != nil {
		return Backup{}, Change{}, err
	}
	commit := &storepb.CommitRestore{Sha256: sum, Force: opts.Force}
	if made, ok := s.made(o, "restore", &storepb.Command{Op: &storepb.Command_CommitRestore{CommitRestore: commit}}); ok {
		return b.Info, changeOf(made), nil // what it replaced is no longer there to judge it by
	}
	may := func() error { return s.mayTakePlace(s.fsm.current(), &b, secret, opts) }
	if err := may(); err != nil {
		return Backup{}, Change{}, err
	}
	st := s.fsm.current()
	if err := st.MayBeReplaced(opts.Force); err != nil {
		return Backup{}, Change{}, err
	}
	commit.History, err = newHistory(s.cfg, st.History(), b.Info.Revision.History)
	if err != nil {
		return Backup{}, Change{}, err
	}
	change, err := s.sendBackup(ctx, o, spool, commit, may)
	if err != nil {
		return Backup{}, Change{}, err
	}
	s.log.Warn("the state was replaced by a backup", "by", o.By, "cluster", b.Info.ClusterID,
		"backup", b.Info.Revision.String(), "revision", change.Revision.String())
	return b.Info, change, nil
}

// spool copies what comes over the network to a file that the next start removes,
// so that it can be checked as a whole before anything is made of it. It returns the
// SHA-256 of it too.
func (s *Store) spool(in io.Reader) (_ *os.File, sha []byte, err error) {
	f, err := os.CreateTemp(filepath.Join(s.cfg.Dir, disk.SnapshotsDir), "restore-*.tmp")
	if err != nil {
		return nil, nil, disk.Unwritable(s.cfg.Dir, err)
	}
	sum := sha256.New()
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	source := &sourceReader{Reader: io.LimitReader(in, state.MaxBackup+1)}
	switch n, err := io.Copy(io.MultiWriter(f, sum), source); {
	case source.failed != nil:
		return nil, nil, federation.Errorf(federation.Invalid, "the backup did not arrive: %w", source.failed).
			WithHint("send it again; nothing was changed")
	case err != nil:
		return nil, nil, disk.Unwritable(f.Name(), err)
	case n > state.MaxBackup:
		return nil, nil, federation.Errorf(federation.TooLarge, "the backup has more than %d bytes", int64(state.MaxBackup))
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, nil, disk.Unreadable(f.Name(), err)
	}
	return f, sum.Sum(nil), nil
}

// sourceReader keeps an error of a source apart from one of where it is copied to.
type sourceReader struct {
	io.Reader
	failed error
}

// Read implements io.Reader.
func (r *sourceReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		r.failed = err
	}
	return n, err
}

// sendBackup replicates the parts and, if it still may, their commit.
func (s *Store) sendBackup(ctx context.Context, o Origin, spool *os.File, commit *storepb.CommitRestore, may func() error) (Change, error) {
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return Change{}, disk.Unreadable(spool.Name(), err)
	}
	commit.RestoreId = uuid.NewString()
	buf := make([]byte, state.RestorePartBytes)
	for more := true; more; {
		n, err := io.ReadFull(spool, buf)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return Change{}, disk.Unreadable(spool.Name(), err)
		}
		more = err == nil
		if n == 0 {
			break
		}
		part := &storepb.RestorePart{RestoreId: commit.RestoreId, Part: commit.Parts, Data: bytes.Clone(buf[:n])}
		if _, err := s.propose(ctx, Origin{By: o.By}, "", &storepb.Command{Op: &storepb.Command_RestorePart{RestorePart: part}}); err != nil {
			s.forgetRestore(ctx, o, commit.RestoreId)
			return Change{}, notRestored(err)
		}
		commit.Parts++
	}
	if err := may(); err != nil {
		s.forgetRestore(ctx, o, commit.RestoreId)
		return Change{}, err
	}
	out, err := s.propose(ctx, o, "restore", &storepb.Command{Op: &storepb.Command_CommitRestore{CommitRestore: commit}})
	if err != nil {
		if federation.CodeOf(err) != federation.UnknownOutcome {
			s.forgetRestore(ctx, o, commit.RestoreId)
		}
		return Change{}, err
	}
	return changeOf(out), nil
}

// notRestored tells that a part whose fate is unknown changed nothing.
func notRestored(err error) error {
	if federation.CodeOf(err) != federation.UnknownOutcome {
		return err
	}
	return federation.Errorf(federation.Unavailable, "the leadership was lost while the backup was sent, and nothing was restored: %w", err).WithReason("leader_lost").
		WithHint("send the backup again")
}

// forgetRestore frees what was sent in vain; a prune does it later otherwise.
func (s *Store) forgetRestore(ctx context.Context, o Origin, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), enqueueTimeout)
	defer cancel()
	cmd := &storepb.Command{Op: &storepb.Command_DropRestore{DropRestore: &storepb.DropRestore{RestoreId: id}}}
	if _, err := s.propose(ctx, Origin{By: o.By}, "", cmd); err != nil {
		s.log.Info("the parts of a backup stay until they are pruned", "error", err)
	}
}

// newHistory returns a history that is newer than those before.
func newHistory(cfg Config, before ...federation.History) (*storepb.History, error) {
	var id [8]byte
	if _, err := io.ReadFull(cfg.Rand, id[:]); err != nil {
		return nil, federation.Errorf(federation.Internal, "no randomness for a history id: %w", err)
	}
	h := &storepb.History{Id: hex.EncodeToString(id[:]), CreatedMs: cfg.Now().UnixMilli()}
	for _, b := range before {
		h.CreatedMs = max(h.CreatedMs, b.Created+1)
	}
	return h, nil
}
