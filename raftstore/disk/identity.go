package disk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/state"
)

const (
	IdentityFile = "node.json"
	LogFile      = "raft.db"
	SnapshotsDir = "snapshots"

	identityFormat = 1
	maxIdentity    = 64 << 10
)

// Identity is the content of node.json: who this node is, of which cluster, and a known
// text under its seal key, by which a wrong key is found before anything is opened.
type Identity struct {
	Format    int       `json:"format"`
	ID        string    `json:"id"`
	SealCheck SealCheck `json:"sealCheck"`
	// Cluster is the cluster that this node was part of when it was last ready,
	// absent before. With it, a log that is gone is a loss and no new node.
	Cluster string `json:"cluster,omitempty"`
	// Checksum is the CRC-32C of the compact JSON of all before, in hexadecimal.
	Checksum string `json:"checksum"`
}

// SealCheck is a known text under a seal key, as issue.Sealed.
type SealCheck struct {
	SealKeyID  string `json:"sealKeyId"`
	Nonce      []byte `json:"nonce"`
	Ciphertext []byte `json:"ciphertext"`
}

func (n Identity) checksum() string {
	n.Checksum = ""
	data, err := json.Marshal(n)
	if err != nil {
		return "" // cannot happen: the struct has strings and bytes only
	}
	return fmt.Sprintf("%08x", state.Checksum(data))
}

// LoadIdentity reads node.json. isNew is set where the folder holds nothing of a node.
func LoadIdentity(dir string) (n Identity, isNew bool, err error) {
	path := filepath.Join(dir, IdentityFile)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Identity{}, true, nil
	case err != nil:
		return Identity{}, false, Unreadable(dir, err)
	case !info.IsDir():
		return Identity{}, false, federation.Errorf(federation.Invalid, "%s is not a folder", dir).
			WithHint("name a folder with --data-dir")
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, true, missingIdentity(dir)
	}
	if err != nil {
		return Identity{}, false, Unreadable(path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxIdentity))
	if err != nil {
		return Identity{}, false, Unreadable(path, err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&n); err != nil {
		return Identity{}, false, Damaged(path, fmt.Errorf("not the JSON of a node: %w", err))
	}
	if _, err := dec.Token(); err != io.EOF {
		return Identity{}, false, Damaged(path, errors.New("data behind its end"))
	}
	if n.Format > identityFormat {
		return Identity{}, false, newer(path)
	}
	if n.Format != identityFormat || n.ID == "" || n.Checksum != n.checksum() {
		return Identity{}, false, Damaged(path, errors.New("checksum does not match"))
	}
	return n, false, nil
}

// missingIdentity refuses a folder that has a node's data but not its name: under a
// new name it would be a stranger to the others with somebody's vote.
func missingIdentity(dir string) error {
	for _, name := range []string{LogFile, SnapshotsDir} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return federation.Errorf(federation.Internal, "%s is missing, but %s is there",
				filepath.Join(dir, IdentityFile), name).
				WithHint("put %s back from a backup, or move the folder away and let this node join as a new one", IdentityFile)
		}
	}
	return nil
}

// NewIdentity makes the folder and writes a new identity. It is the first write to a
// data folder, after everything was checked.
func NewIdentity(dir string, seal *issue.SealKeys, random io.Reader) (Identity, error) {
	id, err := uuid.NewRandomFromReader(random)
	if err != nil {
		return Identity{}, federation.Errorf(federation.Internal, "no randomness for a node id: %w", err)
	}
	check, err := seal.NewCheck()
	if err != nil {
		return Identity{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Identity{}, Unwritable(dir, err)
	}
	n := Identity{Format: identityFormat, ID: id.String(), SealCheck: SealCheck(check)}
	return n, n.Write(dir)
}

// Write replaces node.json as a whole.
func (n *Identity) Write(dir string) error {
	n.Checksum = n.checksum()
	data, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return federation.Errorf(federation.Internal, "encode %s: %w", IdentityFile, err)
	}
	path := filepath.Join(dir, IdentityFile)
	if err := replaceFile(path, append(data, '\n')); err != nil {
		return Unwritable(path, err)
	}
	return nil
}

// replaceFile writes a file so that after a crash there is the old or the new one.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// VerifySeal refuses a seal key that is not the one of this node's cluster.
func (n *Identity) VerifySeal(dir string, seal *issue.SealKeys) error {
	if err := seal.VerifyCheck(issue.Sealed(n.SealCheck)); err != nil {
		return wrongSeal(filepath.Join(dir, IdentityFile), n.SealCheck.SealKeyID, seal, err)
	}
	return nil
}

func wrongSeal(where, wanted string, seal *issue.SealKeys, err error) error {
	return federation.Errorf(federation.Invalid,
		"wrong seal key: %s was sealed under seal key %.16s, and the seal key file has %s: %w",
		where, wanted, seal, err).
		WithReason("wrong_seal_key").
		WithHint("start with the --seal-key-file that this cluster was founded with; nothing was changed")
}

// Damaged says that a file holds something else than was written.
func Damaged(path string, err error) *federation.Error {
	return federation.Errorf(federation.Internal, "%s is damaged: %w", path, err).
		WithReason("damaged").
		WithHint("nothing was changed; put the file back from a backup, or, where other members run, move the data folder away and let this node join again")
}

func newer(path string) *federation.Error {
	return federation.Errorf(federation.Internal, "%s was written by a newer version of this program", path).
		WithReason("newer").WithHint("start the newer version; nothing was changed")
}

// Unreadable says that the system refused to read a file.
func Unreadable(path string, err error) *federation.Error {
	return federation.Errorf(federation.Internal, "%s cannot be read: %w", path, err).
		WithHint("check the owner and mode of the data folder")
}

// Unwritable says that the system refused to write a file.
func Unwritable(path string, err error) *federation.Error {
	return federation.Errorf(federation.Internal, "%s cannot be written: %w", path, err).
		WithHint("check the owner and mode of the data folder, and that its disk is not full")
}
