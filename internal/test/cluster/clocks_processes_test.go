package cluster

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// clockVariable says by how much a program of skewed is off.
const clockVariable = "MERIDIAN_TEST_CLOCK"

// skewed are programs whose clocks can be wrong. Ours take no such wish: one line of each
// node is another one in this build, and nothing of it is in the tree.
func skewed(t *testing.T) programs {
	t.Helper()
	replace := map[string]string{}
	dir := TempDir(t)
	for _, name := range []string{"global", "zone"} {
		path, err := filepath.Abs(filepath.Join("..", "..", name, "node", "node.go"))
		if err != nil {
			t.Fatal(err)
		}
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for from, to := range map[string]string{
			"\t\tcfg.Now = time.Now\n": "\t\toff, err := time.ParseDuration(clock.Getenv(\"" + clockVariable + "\"))\n" +
				"\t\tif err != nil {\n\t\t\tpanic(err)\n\t\t}\n\t\tcfg.Now = func() time.Time { return time.Now().Add(off) }\n",
			"import (\n": "import (\n\tclock \"os\"\n",
		} {
			if bytes.Count(source, []byte(from)) != 1 {
				t.Fatalf("%s does not have %q once: find where the clock comes from now", path, from)
			}
			source = bytes.Replace(source, []byte(from), []byte(to), 1)
		}
		replace[path] = filepath.Join(dir, name+".go")
		if err := os.WriteFile(replace[path], source, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	return compiled(t, "skewed", "-overlay", file)
}

// TestClocksApartOfProcesses: the programs of one member and of one zone run with clocks
// that are an hour off, either way. See TestClocksApart.
func TestClocksApartOfProcesses(t *testing.T) {
	t.Parallel()
	bin := skewed(t)
	for name, off := range map[string]string{"ahead": "1h", "behind": "-1h"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wrong := []string{"env", clockVariable + "=" + off}
			c := newNodes(t, 3)
			right, other := c.all[0], c.all[1]
			other.bin, other.wrap = bin, wrong
			for _, m := range c.all {
				m.start()
			}
			c.awaitVoters(3)
			west, east := c.startZone("west"), c.startZone("east")
			east.kill()
			east.bin, east.wrap = bin, wrong
			east.start()

			good, lost, lostEast := west.token(right, "good"), west.token(right, "lost"), east.token(right, "lost-east")
			west.await(good, "accepted")
			west.await(lost, "accepted")
			id := other.id()
			Eventually(t, "the member with the wrong clock to lead", func() bool {
				if c.leader() == other {
					return true
				}
				_, _, _ = right.cli("cluster", "transfer-leader", id) // looked at above
				return false
			})
			other.completes("revoke", "--token-file", lost)
			other.completes("revoke", "--token-file", lostEast)
			west.await(lost, "revoked")
			west.expect(good, "accepted")
			Eventually(t, "east to be where west is", func() bool { return east.revision().Covers(west.revision()) })
			if said := east.verify(lostEast); said == "accepted" {
				t.Errorf("a zone whose clock is %s off accepts a revoked token", off)
			}
			right.completes("keys", "rotate", "zone-token", "--wait", "20s", "--yes")
			west.await(west.token(right, "fresh"), "accepted")
			west.expect(good, "accepted")

			other.kill()
			Eventually(t, "a write under the next leader", func() bool { return right.revoke() })
			west.await(lost, "revoked")
			west.expect(good, "accepted")
			if right.revoked(tokenID(t, lost)) != 1 {
				t.Error("the next leader does not know of the revocation")
			}
		})
	}
}
