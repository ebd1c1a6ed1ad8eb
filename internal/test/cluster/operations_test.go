package cluster

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// TestOperationsAsWritten plays what docs/operations.md, docs/backup.md and
// docs/certificates.md have an operator type, in that order, on one cluster of real
// processes with two zones. Host names and folders are this test's, the rest is theirs.
func TestOperationsAsWritten(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("skipped: no bash on this machine, which plays the documented commands")
	}
	c := newNodes(t, 3)
	install(t, c)
	west, east := c.startZone("west"), c.startZone("east")
	token := west.token(c.all[0], "token")
	west.await(token, "accepted")
	east.await(east.token(c.all[0], "east-token"), "accepted")

	scale(t, c)
	west.expect(token, "accepted")
	replica(t, c, west)
	upgrade(t, c, west, token)
	backupAndRestore(t, c, west, token)
	rotateSeal(t, c)
	west.expect(token, "accepted")
	renewCertificates(t, c)
	west.expect(token, "accepted")
	loseMajority(t, c, west, east, token)
}

// install makes certificates, a seal key and an administrator's token, and starts the
// nodes with one line.
func install(t *testing.T, c *nodes) {
	c.shell(`umask 077
		rm -f seal.key ca.crt ?.crt ?.key
		global certs ca --cluster prod --out ca
		for name in a b c d; do global certs node --name $name --host 127.0.0.1 --ca-dir ca; done
		cp ca/ca.crt ca.crt
		global generate seal-key > seal.key`)
	for _, m := range c.all {
		m.start()
	}
	c.awaitVoters(3)
	address := c.all[0].endpoints(c.all[0].dir).APITLS
	out := c.shell(`(umask 077 && global admin-token --data-dir data-a > admin.token)
		export GLOBAL_ADDRESS=https://` + address + ` GLOBAL_CA_FILE=ca.crt GLOBAL_TOKEN_FILE=admin.token
		global get global-secrets; global cluster status`)
	if !strings.Contains(out, "zone-token-signing-key-1") || strings.Count(out, "yes") < 3 && strings.Count(out, "voter") < 3 {
		t.Errorf("the first commands print\n%s", out)
	}
}

// scale adds a fourth member with the same line and takes it out again.
func scale(t *testing.T, c *nodes) {
	t.Helper()
	fourth := &node{of: c, name: "d", bin: c.all[0].bin, dir: c.path("data-d"), peer: freePort(t), kds: freePort(t)}
	c.all = append(c.all, fourth)
	fourth.start()
	c.awaitVoters(4)
	if advice := fourth.status().Advice; !strings.Contains(advice, "4 voters") {
		t.Errorf("an even number of voters is not advised against: %q", advice)
	}
	if !fourth.revoke() {
		t.Error("the fourth member takes no write")
	}
	id := fourth.id()
	if c.leader() == fourth {
		fourth.must("cluster", "transfer-leader")
		Eventually(t, "another to lead", func() bool { return c.leader() != fourth })
	}
	fourth.of.all[0].must("cluster", "remove", id)
	_ = fourth.cmd.Wait() // it ends, with an error that says so
	if said := fourth.log.String(); !strings.Contains(said, "removed") {
		t.Errorf("the removed member ended without saying why:\n%s", said)
	}
	c.all = c.all[:3]
	c.awaitVoters(3)
}

// replica adds a read replica with the same line and --non-voter, restarts it as a voter
// and as a replica again, and takes it out.
func replica(t *testing.T, c *nodes, west *zoneProcess) {
	t.Helper()
	r := &node{of: c, name: "d", bin: c.all[0].bin, dir: c.path("data-r"), peer: freePort(t), kds: freePort(t)}
	c.all = append(c.all, r)
	restart := func(voters int, role string, flags ...string) {
		t.Helper()
		if r.process != nil {
			r.term()
		}
		r.extra = flags
		r.start()
		r.awaitReady()
		Eventually(t, "the member to be shown as "+role, func() bool {
			out, _, _ := r.cli("cluster", "status", "-o", "wide")
			for line := range strings.Lines(out) {
				if strings.Contains(line, r.id()) && strings.Contains(line, role) {
					return r.status().Voters == voters
				}
			}
			return false
		})
	}
	restart(3, "non-voter", "--non-voter")
	if !r.revoke() {
		t.Error("the replica takes no write")
	}
	west.await(west.token(r, "of-a-replica"), "accepted")
	if _, said, err := c.all[0].cli("cluster", "transfer-leader", r.id()); err == nil || !strings.Contains(said, "global: hint: ") {
		t.Errorf("the leadership handed to a replica: %v\n%s", err, said)
	}
	restart(4, "votes")
	restart(3, "non-voter", "--non-voter")
	c.leader().must("cluster", "remove", r.id())
	_ = r.cmd.Wait() // it ends, with an error that says so
	c.all = c.all[:3]
	c.awaitVoters(3)
}

// upgrade restarts one member after the other, the leader last.
func upgrade(t *testing.T, c *nodes, west *zoneProcess, token string) {
	t.Helper()
	for _, m := range append([]*node{}, c.all...) {
		if c.leader() == m {
			m.must("cluster", "transfer-leader")
			Eventually(t, "another to lead", func() bool { return c.leader() != m })
		}
		m.term()
		m.start()
		m.awaitReady()
		if !m.revoke() {
			t.Errorf("%s takes no write after its restart", m.name)
		}
		west.expect(token, "accepted")
	}
}

// backupAndRestore saves a backup, revokes, and goes back.
func backupAndRestore(t *testing.T, c *nodes, west *zoneProcess, token string) {
	t.Helper()
	out := c.shell(`export GLOBAL_DATA_DIR=data-a
		global snapshot save meridian.snapshot
		global snapshot save - > piped.snapshot
		global snapshot inspect meridian.snapshot
		global snapshot inspect piped.snapshot`)
	if strings.Count(out, "seal keys") < 2 {
		t.Errorf("inspecting prints\n%s", out)
	}
	since, lost := uuid.NewString(), west.token(c.all[0], "lost")
	c.all[1].completes("revoke", "--kind", "zone-token", since)
	c.all[1].completes("revoke", "--token-file", lost)
	west.await(lost, "revoked")
	// Without force a cluster that holds state is left alone.
	if _, said, err := c.all[2].cli("snapshot", "restore", c.path("meridian.snapshot")); err == nil || !strings.Contains(said, "--force") {
		t.Errorf("restored without --force: %v %s", err, said)
	}
	if c.all[0].revoked(since) != 1 {
		t.Error("a restore that was refused changed something")
	}
	c.shell(`export GLOBAL_DATA_DIR=data-b
		global snapshot save before-restore.snapshot
		global snapshot restore meridian.snapshot --force`)
	Eventually(t, "every member to be restored", func() bool { return c.all[2].revoked(since) == 0 })
	west.await(token, "accepted")
	west.expect(lost, "revoked")
	// New writes reach the zone, and it still accepts nothing that it had revoked.
	again := west.token(c.all[2], "again")
	c.all[2].completes("revoke", "--token-file", again)
	west.await(again, "revoked")
	west.expect(lost, "revoked")
	// Taken back on purpose: revoked once more, then withdrawn.
	c.all[0].completes("revoke", "--token-file", lost)
	c.all[0].completes("revoke", "--kind", "zone-token", "--withdraw", tokenID(t, lost))
	west.await(lost, "accepted")
}

// rotateSeal puts a new seal key in the place of the old one.
func rotateSeal(t *testing.T, c *nodes) {
	t.Helper()
	c.shell(`umask 077
		global generate seal-key > new.key && chmod 600 new.key
		cat new.key seal.key > both.key && chmod 600 both.key`)
	restart := func(file string) {
		t.Helper()
		c.shell(`mv ` + file + ` seal.key`)
		for _, m := range c.all {
			m.term()
			m.start()
			m.awaitReady()
			if out := m.must("seal", "status"); strings.Contains(out, " no ") && file == "both.key" && strings.Count(out, "yes") < 3 {
				t.Errorf("%s does not hold both seal keys:\n%s", m.name, out)
			}
		}
	}
	restart("both.key")
	if out := c.all[0].must("seal", "rotate"); !strings.Contains(out, "sealed anew") {
		t.Errorf("the rotation prints %s", out)
	}
	restart("new.key")
	c.leader().completes("seal", "rotate", "--cluster-secret")
	var s apitypes.Seal
	for _, m := range c.all {
		if err := json.Unmarshal([]byte(m.must("seal", "status", "-o", "json")), &s); err != nil || !s.CanSign || len(s.Keys) != 1 {
			t.Errorf("%s after the rotation: %+v %v", m.name, s, err)
		}
	}
}

// renewCertificates replaces every member's certificate while it runs.
func renewCertificates(t *testing.T, c *nodes) {
	t.Helper()
	for _, m := range c.all {
		c.shell("global certs node --name " + m.name + " --ca-dir ca --renew")
	}
	for _, m := range c.all {
		Eventually(t, m.name+" to take its certificate over", func() bool { return strings.Contains(m.log.String(), "TLS material was replaced") })
	}
	if !c.follower().revoke() {
		t.Error("no write after the certificates were renewed")
	}
}

// loseMajority kills two of three for good, lets the last one go on alone, and has two
// new ones join it. The zones come over by themselves.
func loseMajority(t *testing.T, c *nodes, west, east *zoneProcess, token string) {
	t.Helper()
	lost := west.token(c.all[0], "lost-before")
	c.all[0].completes("revoke", "--token-file", lost)
	west.await(lost, "revoked")
	east.await(c.path("east-token.token"), "accepted")
	left := c.follower()
	for _, m := range c.all {
		m.kill()
	}
	west.expect(token, "accepted")
	west.expect(lost, "revoked")

	dry := c.shell("global cluster recover --data-dir " + left.dir + " --dry-run")
	if strings.Count(dry, "goes") != 2 || !strings.Contains(dry, "last entry") || !strings.Contains(dry, "nothing was changed") {
		t.Errorf("the dry run prints\n%s", dry)
	}
	c.shell("global cluster recover --data-dir " + left.dir + " --dry-run") // and again: nothing was changed
	if out := c.shell("global cluster recover --data-dir " + left.dir); !strings.Contains(out, "new history") {
		t.Errorf("the recovery prints\n%s", out)
	}
	for _, m := range c.all {
		if m != left {
			c.shell("mv " + m.dir + " " + m.dir + ".lost")
		}
	}
	left.start()
	left.awaitReady()
	west.await(token, "accepted")
	west.expect(lost, "revoked")
	after := west.token(left, "after")
	left.completes("revoke", "--token-file", after)
	west.await(after, "revoked")
	for _, m := range c.all {
		if m != left {
			m.start()
		}
	}
	c.awaitVoters(3)
	key := left.keys()["active"][0]
	left.completes("keys", "rotate", "zone-token", "--wait", "20s", "--yes")
	if now := left.keys()["active"][0]; now.Serial < key.Serial+100 {
		t.Errorf("key %d was made where the lost members may have used the serials after %d", now.Serial, key.Serial)
	}
	west.await(west.token(c.follower(), "fresh"), "accepted")
	east.await(east.token(c.follower(), "fresh-east"), "accepted")
	west.expect(token, "accepted")
	west.expect(lost, "revoked")
}

// tokenID is the id under which a token is revoked.
func tokenID(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := cptoken.Parse(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	return parsed.RevocationID()
}
