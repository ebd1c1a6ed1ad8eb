package raftstore

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
)

const (
	identityFile = "node.json"
	logFile      = "raft.db"
	snapshotsDir = "snapshots"

	identityFormat = 1
	maxIdentity    = 64 << 10
)

// identity is the content of node.json: who this node is, of which cluster, and a known
// text under its seal key, by which a wrong key is found before anything is opened.
type identity struct {
	Format    int       `json:"format"`
	ID        string    `json:"id"`
	SealCheck sealCheck `json:"sealCheck"`
	// Cluster is the cluster that this node was part of when it was last ready,
	// absent before. With it, a log that is gone is a loss and no new node.
	Cluster string `json:"cluster,omitempty"`
	// Checksum is the CRC-32C of the compact JSON of all before, in hexadecimal.
	Checksum string `json:"checksum"`
}

type sealCheck struct {
	SealKeyID  string `json:"sealKeyId"`
	Nonce      []byte `json:"nonce"`
	Ciphertext []byte `json:"ciphertext"`
}

func (n identity) checksum() string {
	n.Checksum = ""
	data, err := json.Marshal(n)
	if err != nil {
		return "" // cannot happen: the struct has strings and bytes only
	}
	return fmt.Sprintf("%08x", checksum(data))
}

// loadIdentity reads node.json. isNew is set where the folder holds nothing of a node.
func loadIdentity(dir string) (n identity, isNew bool, err error) {
	path := filepath.Join(dir, identityFile)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return identity{}, true, nil
	case err != nil:
		return identity{}, false, unreadable(dir, err)
	case !info.IsDir():
		return identity{}, false, federation.Errorf(federation.Invalid, "%s is not a folder", dir).
			WithHint("name a folder with --data-dir")
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return identity{}, true, missingIdentity(dir)
	}
	if err != nil {
		return identity{}, false, unreadable(path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxIdentity))
	if err != nil {
		return identity{}, false, unreadable(path, err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&n); err != nil {
		return identity{}, false, damaged(path, fmt.Errorf("not the JSON of a node: %w", err))
	}
	if _, err := dec.Token(); err != io.EOF {
		return identity{}, false, damaged(path, errors.New("data behind its end"))
	}
	if n.Format > identityFormat {
		return identity{}, false, newer(path)
	}
	if n.Format != identityFormat || n.ID == "" || n.Checksum != n.checksum() {
		return identity{}, false, damaged(path, errors.New("checksum does not match"))
	}
	return n, false, nil
}

// missingIdentity refuses a folder that has a node's data but not its name: under a
// new name it would be a stranger to the others with somebody's vote.
func missingIdentity(dir string) error {
	for _, name := range []string{logFile, snapshotsDir} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return federation.Errorf(federation.Internal, "%s is missing, but %s is there",
				filepath.Join(dir, identityFile), name).
				WithHint("put %s back from a backup, or move the folder away and let this node join as a new one", identityFile)
		}
	}
	return nil
}

// newIdentity makes the folder and writes a new identity. It is the first write to a
// data folder, after everything was checked.
func newIdentity(dir string, seal *issue.SealKeys, random io.Reader) (identity, error) {
	id, err := uuid.NewRandomFromReader(random)
	if err != nil {
		return identity{}, federation.Errorf(federation.Internal, "no randomness for a node id: %w", err)
	}
	check, err := seal.NewCheck()
	if err != nil {
		return identity{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return identity{}, unwritable(dir, err)
	}
	n := identity{Format: identityFormat, ID: id.String(), SealCheck: sealCheck(check)}
	return n, n.write(dir)
}

// write replaces node.json as a whole.
func (n *identity) write(dir string) error {
	n.Checksum = n.checksum()
	data, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return federation.Errorf(federation.Internal, "encode %s: %w", identityFile, err)
	}
	path := filepath.Join(dir, identityFile)
	if err := replaceFile(path, append(data, '\n')); err != nil {
		return unwritable(path, err)
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

// verifySeal refuses a seal key that is not the one of this node's cluster.
func (n *identity) verifySeal(dir string, seal *issue.SealKeys) error {
	if err := seal.VerifyCheck(issue.Sealed(n.SealCheck)); err != nil {
		return wrongSeal(filepath.Join(dir, identityFile), n.SealCheck.SealKeyID, seal, err)
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

func damaged(path string, err error) *federation.Error {
	return federation.Errorf(federation.Internal, "%s is damaged: %w", path, err).
		WithReason("damaged").
		WithHint("nothing was changed; put the file back from a backup, or, where other members run, move the data folder away and let this node join again")
}

func newer(path string) *federation.Error {
	return federation.Errorf(federation.Internal, "%s was written by a newer version of this program", path).
		WithReason("newer").WithHint("start the newer version; nothing was changed")
}

func unreadable(path string, err error) *federation.Error {
	return federation.Errorf(federation.Internal, "%s cannot be read: %w", path, err).
		WithHint("check the owner and mode of the data folder")
}

func unwritable(path string, err error) *federation.Error {
	return federation.Errorf(federation.Internal, "%s cannot be written: %w", path, err).
		WithHint("check the owner and mode of the data folder, and that its disk is not full")
}
