package testcluster

import (
	"bytes"
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
)

// secretsOnDisk are bytes that must be in no file of any node: parts of private keys, and
// the forms in which they could be written down.
type secretsOnDisk struct{ forms map[string][]byte }

// newSecretsOnDisk takes them from a member that signs.
func newSecretsOnDisk(t testing.TB, g *Global) *secretsOnDisk {
	t.Helper()
	s := &secretsOnDisk{forms: map[string][]byte{}}
	for kind, mesh := range map[cptoken.Kind]string{cptoken.Zone: "", cptoken.Dataplane: "default", cptoken.User: "", cptoken.ControlPlane: ""} {
		signer, err := g.Node.Store().Signer(kind, mesh)
		if err != nil {
			t.Fatal(err)
		}
		s.add(string(kind), signer.Material())
	}
	return s
}

// add looks for a piece from the middle, where no private key has anything public.
func (s *secretsOnDisk) add(what string, secret []byte) {
	middle := secret[len(secret)/2:]
	piece := middle[:min(48, len(middle))/3*3]
	s.forms[what+", raw"] = piece
	for offset := range 3 { // wherever it stands in what was encoded
		text := base64.StdEncoding.EncodeToString(middle[offset:][:len(piece)-3])
		s.forms[what+", base64, "+string(rune('0'+offset))] = []byte(text)
	}
}

// absent reads every file of the members and zones.
func (s *secretsOnDisk) absent(t testing.TB, c *Globals, zones []*Zone) {
	t.Helper()
	for _, g := range c.Members {
		s.absentBelow(t, g.Dir)
	}
	for _, z := range zones {
		s.absentBelow(t, z.Dir)
	}
}

// absentBelow reads every file below a folder.
func (s *secretsOnDisk) absentBelow(t testing.TB, dir string) {
	t.Helper()
	read := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) || err == nil && !d.Type().IsRegular() {
			return nil // of a snapshot that was replaced meanwhile
		}
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		read += len(data)
		s.absentFrom(t, path, data)
		return err
	})
	if err != nil || read == 0 {
		t.Errorf("looking for private keys in %s: %d bytes read, %v", dir, read, err)
	}
}

func (s *secretsOnDisk) absentFrom(t testing.TB, where string, data []byte) {
	t.Helper()
	for what, piece := range s.forms {
		if bytes.Contains(data, piece) {
			t.Errorf("%s has the private key of %s", where, what)
		}
	}
}
