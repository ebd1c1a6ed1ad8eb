package cluster

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestRecoveriesAsWritten plays what SECURITY.md has an operator type after a theft, on
// one cluster of real processes. The CA's exchange is played by
// TestClusterIsRenewedWhileItRuns (cmd/global).
func TestRecoveriesAsWritten(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("skipped: no bash on this machine, which plays the documented commands")
	}
	c := startNodes(t, 3)
	west := c.startZone("west")
	admin := "export GLOBAL_DATA_DIR=" + c.all[0].dir + "\n"

	// A proxy's token.
	stolen := west.token(c.all[0], "stolen")
	west.await(stolen, "accepted")
	c.shell(admin + `global revoke --kind zone-token --token-file stolen.token --reason stolen`)
	west.await(stolen, "revoked")

	// A zone's control plane token: no gap.
	c.shell(admin + `cp west.cp stolen-cp.token
		global generate control-plane-token --zone west > new.token && mv new.token west.cp
		global revoke --kind control-plane-token --token-file stolen-cp.token --reason stolen`)
	good := west.token(c.all[0], "good")
	west.await(good, "accepted")
	next := west.token(c.all[1], "next")
	c.shell(admin + `global revoke --kind zone-token --token-file next.token`)
	west.await(next, "revoked")

	theftOfAZone(t, c, admin, west, good)
	theftOfTheSealKey(t, c, admin, west)
	theftOfAnOperator(t, c, admin)
	c.shell(admin + `global seal rotate --cluster-secret`)

	// A member's certificate: the member goes, and the others carry on.
	lost := c.all[2]
	c.shell(admin + "global cluster status\nglobal cluster remove " + lost.id())
	_ = lost.cmd.Wait() // it ends, with an error that says so
	if !strings.Contains(lost.log.String(), "removed") {
		t.Errorf("the removed member ended without saying why:\n%s", lost.log.String())
	}
	c.all = c.all[:2]
	c.awaitVoters(2)
	c.shell(admin + `global keys list; global get revocations; global get zones`)

	// Its disk too: the node that is no member any more, and its certificate, are expelled.
	key := strings.TrimSpace(c.shell(admin + `global certs expel --reason stolen c.crt
		global cluster remove --expel --reason "disk stolen" ` + lost.id() + ` >/dev/null
		global certs expelled -o json`))
	if !strings.Contains(key, "sha256:") || !strings.Contains(key, lost.id()) {
		t.Errorf("expelled: %s", key)
	}
	c.shell(admin + `global certs readmit c.crt; global cluster readmit ` + lost.id())
	west.await(west.token(c.all[1], "last"), "accepted")
}

// theftOfAZone disables the zone, revokes by list and by cut-off, and lets it in again.
func theftOfAZone(t *testing.T, c *nodes, admin string, west *zoneProcess, token string) {
	t.Helper()
	c.file("west-ids.txt", []byte(tokenID(t, token)+"\n"))
	before := time.Now().UTC().Add(-time.Hour).Format(time.RFC3339)
	c.shell(admin + `global disable zone west
		global revoke --kind zone-token --ids-file west-ids.txt --reason "zone west stolen"
		global revoke --kind dataplane-token --mesh default --before ` + before + ` --reason "zone west stolen"
		global enable zone west`)
	west.await(token, "revoked")
}

// theftOfTheSealKey exchanges it, and then every key that it sealed.
func theftOfTheSealKey(t *testing.T, c *nodes, admin string, west *zoneProcess) {
	t.Helper()
	former := west.token(c.all[0], "former")
	west.await(former, "accepted")
	restart := func() {
		t.Helper()
		for _, m := range c.all {
			m.term()
			m.start()
			m.awaitReady()
		}
		c.leader()
	}
	c.shell(`global generate seal-key > new.key && cat new.key seal.key > both.key && chmod 600 new.key both.key
		mv both.key seal.key`)
	restart()
	c.shell(admin + `global seal rotate`)
	c.shell(`cp new.key seal.key`)
	restart()
	// Of a leader that has just come, the zones may still be on their way to it.
	west.await(west.token(c.all[0], "before"), "accepted")
	out := c.shell(admin + `for kind in zone-token user-token control-plane-token; do
			global keys rotate "$kind" --yes
		done
		global keys rotate dataplane-token --mesh default --yes
		global keys list`)
	if strings.Count(out, "retiring") < 4 {
		t.Errorf("after the rotations:\n%s", out)
	}
	fresh := west.token(c.all[0], "fresh")
	west.await(fresh, "accepted")
	c.shell(admin + `global keys remove zone-token 1 --compromised`)
	west.expect(former, "unknown_key")
	west.expect(fresh, "accepted")
}

// theftOfAnOperator refuses every user token that there is, and gets back in.
func theftOfAnOperator(t *testing.T, c *nodes, admin string) {
	t.Helper()
	now := time.Now().UTC().Format(time.RFC3339)
	c.shell(admin + `(umask 077; global generate user-token --name jane --group admin --valid-for 1h > jane.token)
		global revoke --kind user-token --token-file jane.token --reason stolen
		global revoke --kind user-token --before ` + now + ` --reason "unknown which"
		(umask 077; global admin-token --data-dir "$GLOBAL_DATA_DIR" > admin.token)`)
	if data, err := os.ReadFile(c.path("admin.token")); err != nil || len(data) == 0 {
		t.Errorf("no administrator's token: %v", err)
	}
}
