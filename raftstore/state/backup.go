package state

import (
	"errors"
	"io"
	"slices"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// Backup is what a backup says about itself.
type Backup struct {
	Format    int
	Level     uint32
	ClusterID string
	Revision  federation.Revision
	Applied   uint64
	// Time is the time of the last change in it.
	Time time.Time
	// SealKeys are the ids of the seal keys that are needed to use it.
	SealKeys []string
	// Secret is the generation of the cluster secret under which it was written, 0 where it
	// has none.
	Secret uint32
	// Counts of what it holds; deleted zones do not count.
	Keys, Zones, Meshes, Revocations, CutOffs int
	// SHA256 is over the content of all its records; Bytes is its size.
	SHA256 []byte
	Bytes  int64
	// HasMAC says that it ends with a MAC. Who may have written it only a restore finds
	// out, which has the seal key.
	HasMAC bool
}

// errNotFounded marks a snapshot of a cluster that was not founded yet.
var errNotFounded = errors.New("it is of a cluster that was never founded")

// UnusableBackup says why a backup cannot be read.
func UnusableBackup(err error) *federation.Error {
	if errors.Is(err, ErrNewer) {
		return federation.Errorf(federation.Invalid, "the backup was written by a newer version of this program: %w", err).
			WithReason("newer").WithHint("use the newer version; nothing was changed")
	}
	return federation.Errorf(federation.Invalid, "the backup is damaged or is none: %w", err).
		WithReason("damaged").WithHint("use another backup; nothing was changed")
}

// BackupContents is what a backup says about itself, and what is sealed in it.
type BackupContents struct {
	Info      Backup
	SealCheck *storepb.SealCheck
	Secrets   []*storepb.ClusterSecret
	// Frames is the digest over which MAC was made; MAC is empty where there is none.
	Frames, MAC []byte
}

// InspectBackup reads a whole backup, whose size it does not bound, and keeps
// nothing of it. It is an Invalid error where a byte is changed or missing, or where
// a newer program wrote it.
func InspectBackup(in io.Reader) (Backup, error) {
	b, err := ReadBackup(in)
	return b.Info, err
}

// ReadBackup is InspectBackup, and returns what is sealed too.
func ReadBackup(in io.Reader) (BackupContents, error) {
	counted := &counter{r: in}
	b := BackupContents{Info: Backup{Format: snapshotFormat}}
	end, frames, err := scanSnapshot(counted, b.add)
	if err == nil && (b.Info.ClusterID == "" || b.SealCheck == nil) {
		err = errNotFounded
	}
	if failed := counted.failed; failed != nil {
		return b, failed // the source failed, the backup did not
	}
	if err != nil {
		return b, UnusableBackup(err)
	}
	b.Info.SHA256, b.Info.Bytes = end.Sha256, counted.n
	b.Frames, b.MAC = frames, end.Mac
	b.Info.HasMAC = len(end.Mac) > 0
	slices.Sort(b.Info.SealKeys)
	b.Info.SealKeys = slices.Compact(b.Info.SealKeys)
	return b, nil
}

// counter counts bytes, and keeps an error of the source apart from one in what it
// gave.
type counter struct {
	r      io.Reader
	n      int64
	failed error
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && err != io.EOF {
		c.failed = err
	}
	return n, err
}

func (b *BackupContents) add(record *storepb.Record, first bool) error {
	info := &b.Info
	if _, ok := record.What.(*storepb.Record_Header); ok != first {
		return errors.New("the header must come first, and once")
	}
	switch r := record.What.(type) {
	case *storepb.Record_Header:
		rs := &restorer{state: &State{}}
		if err := rs.header(r.Header); err != nil {
			return err
		}
		s := rs.state
		info.Level, info.ClusterID, info.Revision = s.level, s.cluster, s.Revision()
		info.Applied, info.Time = s.applied, millis(s.time)
	case *storepb.Record_SealCheck:
		b.SealCheck = r.SealCheck
		info.SealKeys = append(info.SealKeys, r.SealCheck.GetSealed().GetSealKeyId())
	case *storepb.Record_Secret:
		b.Secrets, info.Secret = append(b.Secrets, r.Secret), r.Secret.GetGeneration()
		info.SealKeys = append(info.SealKeys, r.Secret.GetSealed().GetSealKeyId())
	case *storepb.Record_Key:
		info.Keys++
		if r.Key.Sealed != nil {
			info.SealKeys = append(info.SealKeys, r.Key.Sealed.SealKeyId)
		}
	case *storepb.Record_Zone:
		if !r.Zone.Deleted {
			info.Zones++
		}
	case *storepb.Record_Mesh:
		info.Meshes++
	case *storepb.Record_Revocations:
		info.Revocations += len(r.Revocations.Ids)
	case *storepb.Record_CutOff:
		info.CutOffs++
	}
	return nil
}
