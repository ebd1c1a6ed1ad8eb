package cluster

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken/issue"
)

// refuses starts a node that must not run, and returns the one line with which it ends.
func (m *node) refuses() string {
	m.of.t.Helper()
	m.start()
	ended := make(chan error, 1)
	go func() { ended <- m.cmd.Wait() }()
	select {
	case err := <-ended:
		if err == nil {
			m.of.t.Errorf("%s ended without an error", m.name)
		}
	case <-time.After(Patience):
		_ = m.cmd.Process.Kill() // the wait above takes note of it
		<-ended
		m.of.t.Errorf("%s runs, and should not", m.name)
	}
	var lines []string
	for line := range strings.Lines(m.log.String()) {
		if strings.HasPrefix(line, "global: error: ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if len(lines) != 1 {
		m.of.t.Errorf("%s said\n%s\nwant one line with its error", m.name, m.log.String())
		return ""
	}
	return lines[0]
}

// TestDamagedFiles: a member with a damaged log or snapshot does not start, says which file
// it is, and changes nothing; emptied, it joins anew. A zone sets its damaged file aside.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3)
	west, good, id := c.startInUse(c.all[0])
	m := c.follower()
	m.term()
	path := filepath.Join(m.dir, "raft.db")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[40] ^= 4 // in the first meta page
	for name, data := range map[string][]byte{
		"a bit of raft.db": flipped, "the end of raft.db": whole[:len(whole)/2], "all of raft.db": {},
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if said := m.refuses(); !strings.Contains(said, "raft.db") {
			t.Errorf("%s: %s", name, said)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, data) {
			t.Errorf("%s: the file was changed: %v", name, err)
		}
	}
	if err := os.RemoveAll(m.dir); err != nil {
		t.Fatal(err)
	}
	m.start()
	m.awaitReady()
	c.awaitVoters(3)
	c.hold([]string{id})

	west.kill()
	zone := filepath.Join(west.dir, "zone.db")
	data, err := os.ReadFile(zone)
	if err != nil {
		t.Fatal(err)
	}
	data[40] ^= 4 // in the first meta page
	if err := os.WriteFile(zone, data, 0o600); err != nil {
		t.Fatal(err)
	}
	west.start()
	west.await(good, "accepted")
	if aside, err := filepath.Glob(zone + ".damaged-*"); err != nil || len(aside) != 1 {
		t.Errorf("set aside: %v %v", aside, err)
	}
}

// TestBadInputOfClusters: what a cluster must not take ends in one clear line, and changes
// nothing.
func TestBadInputOfClusters(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 1)
	m := c.all[0]
	id := uuid.NewString()
	m.completes("revoke", "--kind", "zone-token", id)
	backup := c.path("good.snapshot")
	m.must("snapshot", "save", backup)
	data, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	changed, newer := bytes.Clone(data), bytes.Clone(data)
	changed[len(changed)/2] ^= 1
	newer[11]++
	m.completes("revoke", "--kind", "zone-token", uuid.NewString())
	for name, tc := range map[string]struct {
		args []string
		says string
	}{
		"one byte changed": {[]string{"snapshot", "restore", c.file("changed", changed), "--force"}, "damaged"},
		"a newer format":   {[]string{"snapshot", "restore", c.file("newer", newer), "--force"}, "newer"},
		"no --force":       {[]string{"snapshot", "restore", backup}, "holds state"},
	} {
		before := m.must("cluster", "status", "-o", "json")
		_, said, err := m.cli(tc.args...)
		if err == nil || strings.Count(said, "global: error: ") != 1 || !strings.Contains(said, tc.says) || !strings.Contains(said, "global: hint: ") {
			t.Errorf("%s: %v\n%s", name, err, said)
		}
		if tc.says != "holds state" && m.must("cluster", "status", "-o", "json") != before || m.revoked(id) != 1 {
			t.Errorf("%s: something changed", name)
		}
	}

	// Seal keys: another one, and none.
	seal, err := os.ReadFile(c.path("seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := issue.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	m.term()
	c.file("seal.key", other)
	if said := m.refuses(); !strings.Contains(said, "seal key") {
		t.Errorf("with another seal key: %s", said)
	}
	if err := os.Remove(c.path("seal.key")); err != nil {
		t.Fatal(err)
	}
	if said := m.refuses(); !strings.Contains(said, "seal.key") {
		t.Errorf("without a seal key: %s", said)
	}
	c.file("seal.key", seal)
	m.start()
	m.awaitReady()
	if m.revoked(id) != 1 {
		t.Error("the right seal key does not bring everything back")
	}
}

// TestFullDisk: a member on a small file system that is full acknowledges nothing that it
// does not keep, and works again once there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	c := newNodes(t, 1)
	m := c.all[0]
	image := c.path("image")
	script := fmt.Sprintf("truncate -s 24M %[1]s && mkfs.ext4 -q %[1]s && mkdir -m 700 %[2]s && mount -o loop %[1]s %[2]s", image, m.dir)
	if out, err := exec.Command("bash", "-c", script).CombinedOutput(); err != nil {
		t.Skipf("skipped: no small file system can be mounted here: %v %s", err, out)
	}
	t.Cleanup(func() {
		if m.running() {
			m.kill()
		}
		if out, err := exec.Command("umount", m.dir).CombinedOutput(); err != nil {
			t.Errorf("unmounting: %v %s", err, out)
		}
	})
	m.start()
	m.awaitReady()
	w := c.write(2)
	Eventually(t, "writes", func() bool { return w.count() > 10 })
	ballast := filepath.Join(m.dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 64<<10))
	}
	_ = f.Close() // the disk is full, as it should be
	long := strings.Repeat("x", 400)
	refused := false
	for range 2000 { // until what raft.db had reserved is used up
		if _, _, err := m.cli("revoke", "--kind", "zone-token", "--reason", long, uuid.NewString()); err != nil {
			refused = true
			break
		}
		if !m.running() {
			break
		}
	}
	if !refused {
		t.Log("the log still had room of its own: every write on the full disk was taken")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if m.cmd.ProcessState == nil {
		m.kill()
	}
	m.start()
	m.awaitReady()
	before := w.count()
	Eventually(t, "writes once there is room", func() bool { return w.count() > before })
	c.hold(w.end())
}
