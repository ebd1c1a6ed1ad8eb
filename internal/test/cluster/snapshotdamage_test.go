package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// TestDamagedSnapshots: a member whose snapshot is damaged does not start, says which file
// it is and what to do, and changes nothing, while the others go on; emptied, it joins anew.
// The snapshot is the golden folder's: making one takes thousands of writes.
func TestDamagedSnapshots(t *testing.T) {
	t.Parallel()
	c := goldenNodes(t)
	m := c.all[0]
	m.start()
	m.awaitReady()
	for range 2 {
		c.add().start()
	}
	c.awaitVoters(3)
	west, good, id := c.startInUse(m)
	snapshots := func(name string) []string {
		files, err := filepath.Glob(filepath.Join(m.dir, "snapshots", "*", name))
		if err != nil || len(files) == 0 {
			t.Fatalf("no snapshot: %v", err)
		}
		return files
	}
	m.term()
	for _, name := range []string{"state.bin", "meta.json"} {
		files := snapshots(name)
		path := files[len(files)-1] // the newest
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		flipped := bytes.Clone(whole)
		flipped[len(flipped)/2] ^= 4
		for what, data := range map[string][]byte{"a bit": flipped, "the end": whole[:len(whole)/2], "all": {}} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			said := m.refuses()
			if !strings.Contains(said, filepath.Dir(path)) || !strings.Contains(m.log.String(), "global: hint: nothing was changed; ") {
				t.Errorf("%s of %s: %s", what, name, m.log.String())
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, data) {
				t.Errorf("%s of %s: the file was changed: %v", what, name, err)
			}
			west.expect(good, "accepted")
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	second := uuid.NewString()
	c.leader().completes("revoke", "--kind", "zone-token", second)
	// Its address was another one when the golden cluster was founded: nobody takes what
	// comes now for it.
	c.leader().completes("cluster", "remove", m.id())
	c.expect = 3 // so that its line names the others
	if err := os.RemoveAll(m.dir); err != nil {
		t.Fatal(err)
	}
	m.start()
	m.awaitReady()
	c.awaitVoters(3)
	c.hold([]string{goldenRevoked, id, second})
}
