package cluster

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// programs are our binaries, compiled as scripts/build does but not stripped.
type programs struct{ global, zone string }

// atOnce is how many tests run at once.
const atOnce = 3

var (
	builds   sync.Mutex
	built    = map[string]programs{} // by name
	builtDir string
	given    = map[int]bool{} // ports that a test has
)

// journeys are the tests that -short leaves: a cluster is founded and restarted, tokens
// are revoked, zones outlive the global, programs run as operators run them.
var journeys = map[string]func(*testing.T){
	"TestThreeFoundAClusterAndRestart":            TestThreeFoundAClusterAndRestart,
	"TestGlobalAndTwoZones":                       TestGlobalAndTwoZones,
	"TestAcknowledgedRevocationOutlivesTheGlobal": TestAcknowledgedRevocationOutlivesTheGlobal,
	"TestThreeProcesses":                          TestThreeProcesses,
}

// TestMain lets more tests run at once than there are processors: they wait for elections,
// leases and processes most of the time.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) && runtime.GOMAXPROCS(0) < atOnce {
		if err := f.Value.Set(strconv.Itoa(atOnce)); err != nil {
			panic(err)
		}
	}
	if f := flag.Lookup("test.run"); testing.Short() && f.Value.String() == "" {
		names := strings.Join(slices.Sorted(maps.Keys(journeys)), "|")
		fmt.Println("cluster: with -short only the journeys are tested:", names)
		if err := f.Value.Set("^(" + names + ")$"); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	if builtDir != "" {
		_ = os.RemoveAll(builtDir) // of the system's folder for such things
	}
	os.Exit(code)
}

// binaries compiles the programs once for all tests that want them with these tags.
func binaries(t *testing.T, tags string) programs {
	t.Helper()
	return compiled(t, "with-"+tags, "-tags", tags)
}

// compiled compiles the programs with these flags, once for each name.
func compiled(t *testing.T, name string, flags ...string) programs {
	t.Helper()
	return compiledIn(t, "", name, flags...)
}

// compiledIn is compiled for the module in a directory.
func compiledIn(t *testing.T, module, name string, flags ...string) programs {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	if p, ok := built[name]; ok {
		return p
	}
	if builtDir == "" {
		dir, err := os.MkdirTemp("", "meridian-bin")
		if err != nil {
			t.Fatal(err)
		}
		builtDir = dir
	}
	dir := filepath.Join(builtDir, name)
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", dir+"/", "github.com/meridiankds/meridian/cmd/global", "github.com/meridiankds/meridian/cmd/zone")...)
	cmd.Dir, cmd.Env = module, append(os.Environ(), "CGO_ENABLED=0")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	built[name] = programs{filepath.Join(dir, "global"), filepath.Join(dir, "zone")}
	return built[name]
}

// freePort is a port that was free a moment ago: the members of a cluster must know each
// other's before they start. It lies below those that systems give to connections, one of
// which could otherwise have it while a member that was killed comes back.
func freePort(t *testing.T) string {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	for range 1000 {
		port := 15_000 + rand.IntN(15_000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		l.Close()
		if !given[port] {
			given[port] = true
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

// Nodes are globals as operating system processes, all started with the same line.
type nodes struct {
	t      *testing.T
	dir    string
	ca     *tlsutil.Authority
	expect int
	all    []*node
}

// node is one of them.
type node struct {
	*process
	of        *nodes
	name      string
	bin       programs
	dir       string
	peer, kds string
	extra     []string // flags of this node alone
	wrap      []string // a program to start it through
}

// newNodes prepares n nodes that found a cluster; none is started.
func newNodes(t *testing.T, n int) *nodes {
	t.Helper()
	c := &nodes{t: t, dir: TempDir(t), expect: n}
	seal, err := issue.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	if c.ca, err = tlsutil.NewAuthority(clusterName, time.Now()); err != nil {
		t.Fatal(err)
	}
	c.file("seal.key", seal)
	c.file("ca.crt", c.ca.CertPEM())
	for range n {
		c.add()
	}
	return c
}

// startNodes founds a cluster of n and waits until all vote.
func startNodes(t *testing.T, n int) *nodes {
	t.Helper()
	c := newNodes(t, n)
	for _, m := range c.all {
		m.start()
	}
	c.awaitVoters(n)
	return c
}

// path is a file beside the nodes' folders.
func (c *nodes) path(name string) string { return filepath.Join(c.dir, name) }

func (c *nodes) file(name string, data []byte) string {
	c.t.Helper()
	if err := os.WriteFile(c.path(name), data, 0o600); err != nil {
		c.t.Fatal(err)
	}
	return c.path(name)
}

// add prepares one more node.
func (c *nodes) add() *node {
	c.t.Helper()
	name := string(rune('a' + len(c.all)))
	cert, key, err := c.ca.Issue(tlsutil.Identity{Cluster: clusterName, Role: tlsutil.RoleNode, Name: name}, []string{"127.0.0.1"}, time.Now())
	if err != nil {
		c.t.Fatal(err)
	}
	c.file(name+".crt", cert)
	c.file(name+".key", key)
	m := &node{of: c, name: name, bin: binaries(c.t, ""), dir: c.path("data-" + name), peer: freePort(c.t), kds: freePort(c.t)}
	c.all = append(c.all, m)
	return m
}

// line is the line with which a node is started.
func (m *node) line() []string {
	var peers []string
	for _, other := range m.of.all[:m.of.expect] {
		peers = append(peers, other.peer)
	}
	args := []string{
		"server", "--bootstrap-expect", fmt.Sprint(m.of.expect), "--join", strings.Join(peers, ","), "--peer-addr", m.peer,
		"--data-dir", m.dir, "--seal-key-file", m.of.path("seal.key"), "--ca-file", m.of.path("ca.crt"),
		"--tls-cert-file", m.of.path(m.name + ".crt"), "--tls-key-file", m.of.path(m.name + ".key"),
		"--api-addr", "127.0.0.1:0", "--api-tls-addr", "127.0.0.1:0", "--kds-addr", m.kds, "--diagnostics-addr", "127.0.0.1:0",
		"--localhost-is-admin",
	}
	return append(args, m.extra...)
}

// start starts the node, again after it ended. It does not wait for it.
func (m *node) start() {
	m.of.t.Helper()
	_ = os.Remove(filepath.Join(m.dir, endpoints.FileName)) // what a killed one left behind
	line := append(append(append([]string{}, m.wrap...), m.bin.global), m.line()...)
	m.process = spawn(m.of.t, line[0], line[1:]...)
}

// running reports whether the process lives.
func (m *node) running() bool { return m.process != nil && m.cmd.ProcessState == nil }

// cli runs a client command of the node's program against the node.
func (m *node) cli(args ...string) (stdout, said string, err error) {
	return command(m.bin.global, append(args, "--data-dir", m.dir)...)
}

// must is cli for a command that has to succeed.
func (m *node) must(args ...string) string {
	m.of.t.Helper()
	out, said, err := m.cli(args...)
	if err != nil {
		m.of.t.Fatalf("global %s at %s: %v\n%s", strings.Join(args, " "), m.name, err, said)
	}
	return out
}

// status is the cluster as the node shows it, empty where it does not answer. The command
// ends with an exit code of its own while there is an alarm, such as a member that is away,
// and shows the cluster all the same.
func (m *node) status() (c apitypes.Cluster) {
	out, _, _ := m.cli("cluster", "status", "-o", "json")
	if json.Unmarshal([]byte(out), &c) != nil {
		return apitypes.Cluster{}
	}
	return c
}

// awaitReady waits until the node serves.
func (m *node) awaitReady() {
	m.of.t.Helper()
	m.endpoints(m.dir)
	Eventually(m.of.t, m.name+" to be ready", func() bool {
		_, _, err := m.cli("health")
		return err == nil
	})
}

// id is the random name of the node.
func (m *node) id() string {
	m.of.t.Helper()
	var identity struct {
		ID string `json:"id"`
	}
	data, err := os.ReadFile(filepath.Join(m.dir, "node.json"))
	if err == nil {
		err = json.Unmarshal(data, &identity)
	}
	if err != nil || identity.ID == "" {
		m.of.t.Fatalf("the identity of %s: %v\n%s", m.name, err, data)
	}
	return identity.ID
}

// term asks the node to end and waits until it has.
func (m *node) term() {
	m.of.t.Helper()
	begun := time.Now()
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		m.of.t.Fatal(err)
	}
	if err := m.cmd.Wait(); err != nil {
		m.of.t.Errorf("%s ended with %v\n%s", m.name, err, m.log.String())
	}
	m.of.t.Logf("%s ended %s after SIGTERM", m.name, time.Since(begun).Round(time.Millisecond))
}

// running are the nodes whose processes live.
func (c *nodes) running() []*node {
	var all []*node
	for _, m := range c.all {
		if m.running() {
			all = append(all, m)
		}
	}
	return all
}

// awaitVoters waits until every running node knows of exactly n voters.
func (c *nodes) awaitVoters(n int) {
	c.t.Helper()
	for _, m := range c.running() {
		m.endpoints(m.dir)
		Eventually(c.t, fmt.Sprintf("%d voters at %s", n, m.name), func() bool { return m.status().Voters == n })
	}
}

// leader waits until one of the running nodes leads, and returns it.
func (c *nodes) leader() *node {
	c.t.Helper()
	var leader *node
	Eventually(c.t, "a leader", func() bool {
		for _, asked := range c.running() {
			leads := asked.status().Leader
			for _, m := range c.running() {
				if leads != "" && m.id() == leads && m.status().Leader == leads {
					leader = m
					return true
				}
			}
		}
		return false
	})
	return leader
}

// follower is a running node that does not lead.
func (c *nodes) follower() *node {
	leader := c.leader()
	for _, m := range c.running() {
		if m != leader {
			return m
		}
	}
	c.t.Fatal("there is no follower")
	return nil
}

// revoke makes one write at a node and reports whether it was acknowledged.
func (m *node) revoke(ids ...string) bool {
	if len(ids) == 0 {
		ids = []string{uuid.NewString()}
	}
	_, _, err := m.cli(append([]string{"revoke", "--kind", "zone-token"}, ids...)...)
	return err == nil
}

// revoked reports which of the ids a node has on its list.
func (m *node) revoked(ids ...string) (there int) {
	m.of.t.Helper()
	var list struct {
		Items []apitypes.Revocation `json:"items"`
	}
	m.endpoints(m.dir) // it may have been started a moment ago
	out := m.must("get", "revocations", "--kind", "zone-token", "--limit", "100000", "-o", "json")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		m.of.t.Fatal(err)
	}
	on := map[string]bool{}
	for _, r := range list.Items {
		on[r.ID] = true
	}
	for _, id := range ids {
		if on[id] {
			there++
		}
	}
	return there
}

// shell plays commands as an operator types them, in the folder of the nodes' files and
// with the programs on the path. It returns what they print.
func (c *nodes) shell(script string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = c.dir, append(cleanEnv(), "PATH="+filepath.Dir(binaries(c.t, "").global)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return string(out)
}
