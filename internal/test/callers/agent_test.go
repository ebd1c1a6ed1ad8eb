package callers

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/zone/agent"
	"github.com/meridiankds/meridian/internal/zone/resource"
)

// agentEnvoy is a real Envoy that our agent runs beside a service.
type agentEnvoy struct {
	port  string // of the proxy
	token string // file
	ca    string // file
	log   *journal
	out   *journal // what Envoy says
	end   context.CancelFunc
	done  chan error
}

// waitFor waits until something is so.
func waitFor(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !so(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(20 * time.Millisecond) // between two looks
	}
}

// trust writes what the agent is to trust.
func (e *agentEnvoy) trust(t *testing.T, zones ...*zone) {
	t.Helper()
	var all []byte
	for _, z := range zones {
		data, err := os.ReadFile(z.ca)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	putFile(t, e.ca, string(all))
}

// putFile puts a file whole in the place of another.
func putFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

const agentResource = `type: Dataplane
mesh: payments
name: ledger-1
networking: {address: 127.0.0.1, inbound: [{port: %s, servicePort: %s, tags: {kuma.io/service: ledger}}]}
`

// prepareAgent makes the files of an agent beside a service.
func prepareAgent(t *testing.T, service http.Handler, zones ...*zone) *agentEnvoy {
	t.Helper()
	needEnvoy(t)
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	e := &agentEnvoy{port: freePort(t), token: filepath.Join(dir, "token"), ca: filepath.Join(dir, "ca.crt"), log: &journal{}, out: &journal{}}
	e.trust(t, zones...)
	putFile(t, e.token, sign(t, map[string]any{"Mesh": "payments", "Name": "ledger-1"}))
	_, servicePort, _ := net.SplitHostPort(server.Listener.Addr().String())
	putFile(t, filepath.Join(dir, "dp.yaml"), fmt.Sprintf(agentResource, e.port, servicePort))
	return e
}

// config is what the agent is started with.
func (e *agentEnvoy) config(addresses []string, log io.Writer) (agent.Config, error) {
	r, err := agent.ReadResource(filepath.Join(filepath.Dir(e.token), "dp.yaml"), nil, nil)
	if err != nil {
		return agent.Config{}, err
	}
	return agent.Config{
		Addresses: addresses, CAFile: e.ca, Resource: r, Kind: resource.Dataplane, Mesh: r.Mesh, Name: r.Name, Version: "test",
		Token: func() (string, error) {
			data, err := os.ReadFile(e.token)
			return strings.TrimSpace(string(data)), err
		},
		Output: agent.NewPrinter(io.Discard, false), Logger: slog.New(slog.NewTextHandler(log, nil)),
	}, nil
}

// envoyOf is how the agent runs Envoy.
func envoyOf(out io.Writer) agent.Envoy {
	return agent.Envoy{Path: "envoy", Args: []string{"--concurrency", "1"}, Out: out, Err: out, DrainTime: patience, LogLevel: "warn"}
}

// start runs the agent until the test ends.
func (e *agentEnvoy) start(t *testing.T, addresses ...string) {
	t.Helper()
	cfg, err := e.config(addresses, e.log)
	if err != nil {
		t.Fatal(err)
	}
	a, err := agent.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.end, e.done = cancel, make(chan error, 1)
	ended := make(chan struct{})
	go func() { defer close(ended); e.done <- a.RunEnvoy(ctx, envoyOf(e.out)) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		if t.Failed() {
			t.Logf("the agent:\n%s\nEnvoy:\n%s", e.log, e.out)
		}
	})
}

// get asks the service through the proxy.
func (e *agentEnvoy) get(path string) (string, error) {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://127.0.0.1:" + e.port + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return string(data), err
}

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

// localhost is the address of a zone by the name for which its certificate is.
func (z *zone) localhost() string {
	_, port, _ := net.SplitHostPort(z.address)
	return "https://localhost:" + port
}

// connected reports whether the zone was joined by the Envoy with the token of this id.
func (z *zone) connected(tokenID string) bool {
	for _, line := range strings.Split(z.log.String(), "\n") {
		if strings.Contains(line, `msg="proxy connected"`) && strings.Contains(line, "tokenId="+tokenID) {
			return true
		}
	}
	return false
}

// TestAgentsEnvoyFollowsItsFiles: an Envoy of ours reaches a zone that listens on one family
// of a name's addresses, and has its inbound listener. Then the zone comes back with another
// CA, and the token was replaced by one whose file ends with a newline: the running Envoy
// proves both.
func TestAgentsEnvoyFollowsItsFiles(t *testing.T) {
	needEnvoy(t)
	first := startZone(t)
	e := prepareAgent(t, http.HandlerFunc(hello), first)
	e.start(t, first.localhost())
	waitFor(t, "an answer through the proxy", func() bool { text, err := e.get("/"); return err == nil && text == "hello" })
	first.stop()
	second := startZoneAt(t, first.address)
	putFile(t, e.token, sign(t, map[string]any{"jti": "the-second-token", "Mesh": "payments", "Name": "ledger-1"})+"\n")
	e.trust(t, second)
	waitFor(t, "the proxy at the new zone", func() bool { return second.connected("the-second-token") })
	if strings.Contains(e.out.String(), "eyJ") || strings.Contains(e.log.String(), "eyJ") {
		t.Error("a token was written")
	}
}

// TestAgentsEnvoyGoesToAnotherControlPlane: of two control planes, each with a CA of its own,
// the one that has the stream ends.
func TestAgentsEnvoyGoesToAnotherControlPlane(t *testing.T) {
	needEnvoy(t)
	zones := []*zone{startZone(t), startZone(t)}
	e := prepareAgent(t, http.HandlerFunc(hello), zones...)
	putFile(t, e.token, sign(t, map[string]any{"jti": "the-token", "Mesh": "payments", "Name": "ledger-1"}))
	// One by name, one by address.
	e.start(t, zones[0].localhost(), "https://"+zones[1].address)
	var has, other *zone
	waitFor(t, "a control plane that has the proxy", func() bool {
		for i, z := range zones {
			if z.connected("the-token") {
				has, other = z, zones[1-i]
			}
		}
		return has != nil
	})
	has.stop()
	waitFor(t, "the proxy at the other one", func() bool { return other.connected("the-token") })
}

// TestAgentsEnvoyDrains: a request that is under way when the agent is told to end is
// answered, and then it ends.
func TestAgentsEnvoyDrains(t *testing.T) {
	needEnvoy(t)
	z := startZone(t)
	begun, answer := make(chan struct{}, 1), make(chan struct{})
	release := sync.OnceFunc(func() { close(answer) })
	e := prepareAgent(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			begun <- struct{}{}
			<-answer
		}
		hello(w, r)
	}), z)
	t.Cleanup(release)
	e.start(t, z.localhost())
	waitFor(t, "an answer through the proxy", func() bool { _, err := e.get("/"); return err == nil })
	got := make(chan error, 1)
	go func() {
		_, err := e.get("/slow")
		got <- err
	}()
	<-begun
	e.end()
	waitFor(t, "a word on draining", func() bool { return strings.Contains(e.log.String(), "envoy drains") })
	select {
	case err := <-e.done:
		t.Fatalf("it ended under a request: %v", err)
	case err := <-got:
		t.Fatalf("the request ended: %v", err)
	case <-time.After(3 * time.Second): // longer than what nobody uses is kept
	}
	release()
	if err := <-got; err != nil {
		t.Errorf("the request under way: %v", err)
	}
	if err := <-e.done; err != nil {
		t.Error(err)
	}
}

// agentInProcess names the variable that makes this test's program an agent: where its files
// are, and its zone.
const agentInProcess = "MERIDIAN_TEST_AGENT"

// TestAgentThatIsKilledLeavesNoEnvoy: an agent that has no time for anything.
func TestAgentThatIsKilledLeavesNoEnvoy(t *testing.T) {
	if dir, address, ok := strings.Cut(os.Getenv(agentInProcess), " "); ok {
		e := &agentEnvoy{token: filepath.Join(dir, "token"), ca: filepath.Join(dir, "ca.crt")}
		cfg, err := e.config([]string{address}, os.Stdout)
		if err != nil {
			t.Fatal(err)
		}
		a, err := agent.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Fatal(a.RunEnvoy(context.Background(), envoyOf(io.Discard)))
	}
	needEnvoy(t)
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skipf("skipped: this system does not end a program with the one that started it: %v", err)
	}
	z := startZone(t)
	e := prepareAgent(t, http.HandlerFunc(hello), z)
	cmd := exec.Command(os.Args[0], "-test.run=^TestAgentThatIsKilledLeavesNoEnvoy$")
	cmd.Env = append(os.Environ(), agentInProcess+"="+filepath.Dir(e.token)+" "+z.localhost(), "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	pid := 0
	said := &bytes.Buffer{}
	for lines := bufio.NewScanner(io.TeeReader(out, said)); pid == 0 && lines.Scan(); {
		if m := regexp.MustCompile(`envoy runs.* pid=(\d+)`).FindStringSubmatch(lines.Text()); m != nil {
			pid, _ = strconv.Atoi(m[1])
		}
	}
	if pid == 0 {
		t.Fatalf("no Envoy was started:\n%s", said)
	}
	waitFor(t, "an answer through the proxy", func() bool { _, err := e.get("/"); return err == nil })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the end of Envoy", func() bool {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(data), ") Z ") || syscall.Kill(pid, 0) != nil
	})
}
