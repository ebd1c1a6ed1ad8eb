package testcluster

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/internal/adminapi/apitypes"
	"github.com/meridiankds/meridian/internal/tlsutil"
)

// freePort is a port that was free a moment ago: the members of a cluster must
// know each other's before they start.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestThreeProcesses founds a cluster with the real program and one line, kills the
// leader without warning, writes on, brings it back, and stops the next leader with
// SIGTERM.
func TestThreeProcesses(t *testing.T) {
	bin, _ := buildBinaries(t)
	dir := TempDir(t)
	file := func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	seal, err := issue.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	ca, err := tlsutil.NewAuthority(clusterName, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	sealFile, caFile := file("seal.key", seal), file("ca.crt", ca.CertPEM())
	peers := []string{freePort(t), freePort(t), freePort(t)}
	data := func(i int) string { return filepath.Join(dir, "data"+string(rune('a'+i))) }
	start := func(i int) *process {
		name := string(rune('a' + i))
		cert, key, err := ca.Issue(tlsutil.Identity{Cluster: clusterName, Role: tlsutil.RoleNode, Name: name}, []string{"127.0.0.1"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return spawn(t, bin, "server", "--bootstrap-expect", "3", "--join", strings.Join(peers, ","), "--peer-addr", peers[i],
			"--data-dir", data(i), "--seal-key-file", sealFile, "--ca-file", caFile,
			"--tls-cert-file", file(name+".crt", cert), "--tls-key-file", file(name+".key", key),
			"--api-addr", "127.0.0.1:0", "--api-tls-addr", "127.0.0.1:0", "--kds-addr", "127.0.0.1:0", "--diagnostics-addr", "127.0.0.1:0",
			"--localhost-is-admin")
	}
	var members [3]*process
	for i := range members {
		members[i] = start(i)
	}
	status := func(i int) (c apitypes.Cluster) {
		out, _, err := command(bin, "cluster", "status", "-o", "json", "--data-dir", data(i))
		if err == nil {
			err = json.Unmarshal([]byte(out), &c)
		}
		if err != nil {
			return apitypes.Cluster{}
		}
		return c
	}
	revoke := func(i int) bool {
		_, _, err := command(bin, "revoke", uuid.NewString(), "--kind", "zone-token", "--data-dir", data(i))
		return err == nil
	}
	for i := range members {
		members[i].endpoints(data(i))
		Eventually(t, "three voters", func() bool { return status(i).Voters == 3 })
		if !revoke(i) {
			t.Errorf("member %d does not take a write", i)
		}
	}
	lost := -1
	leads := status(0).Leader
	for i := range members {
		node, err := os.ReadFile(filepath.Join(data(i), "node.json"))
		if err != nil {
			t.Fatal(err)
		}
		if leads != "" && strings.Contains(string(node), leads) {
			lost = i
		}
	}
	if lost < 0 {
		t.Fatalf("no member is the leader %q", leads)
	}
	next := (lost + 1) % 3
	members[lost].kill()
	Eventually(t, "a write after the leader was killed", func() bool { return revoke(next) })
	members[lost] = start(lost)
	Eventually(t, "the killed one to take a write again", func() bool { return revoke(lost) })

	for i := range members {
		begun := time.Now()
		if err := members[i].cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := members[i].cmd.Wait(); err != nil {
			t.Errorf("member %d ended with %v", i, err)
		}
		t.Logf("member %d ended %s after SIGTERM", i, time.Since(begun).Round(time.Millisecond))
		if i == 0 {
			Eventually(t, "a write after a SIGTERM", func() bool { return revoke(1) })
		}
	}
}
