package cluster

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/meridiankds/meridian/internal/endpoints"
)

// cleanEnv is the environment without what would steer our programs.
func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "GLOBAL_") && !strings.HasPrefix(kv, "ZONE_") && !strings.HasPrefix(kv, "KUMA_") {
			env = append(env, kv)
		}
	}
	return env
}

// process is a server of ours as an operating system process.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	log journal
}

func spawn(t *testing.T, path string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(path, args...)}
	p.cmd.Env, p.cmd.Stderr, p.cmd.Stdout = cleanEnv(), &p.log, &p.log
	// A test that is killed must not leave servers behind.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// kill ends the process without a chance to tidy up.
func (p *process) kill() {
	if p.cmd.ProcessState != nil {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Errorf("killing: %v", err)
	}
	_ = p.cmd.Wait() // "signal: killed" is what was asked for
}

// endpoints waits until the process tells where it listens. Where it does not, the test
// fails with what the process said.
func (p *process) endpoints(dir string) endpoints.Endpoints {
	p.t.Helper()
	defer func() {
		if p.t.Failed() {
			p.t.Logf("the log of the process with the folder %s:\n%s", dir, p.log.String())
		}
	}()
	var e endpoints.Endpoints
	Eventually(p.t, "endpoints in "+dir, func() bool {
		var err error
		e, err = endpoints.Read(dir)
		return err == nil
	})
	return e
}

// command runs a client command and returns its standard output and all it said.
func command(path string, args ...string) (stdout, said string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = cleanEnv()
	var out, diag bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diag
	err = cmd.Run()
	return out.String(), out.String() + diag.String(), err
}

// TestSIGKILLBetweenAcknowledgementAndDelivery is the story of
// TestAcknowledgedRevocationOutlivesTheGlobal with the real programs and a global
// that has no chance to say goodbye.
func TestSIGKILLBetweenAcknowledgementAndDelivery(t *testing.T) {
	bin := binaries(t, "")
	globalBin, zoneBin := bin.global, bin.zone
	globalDir, zoneDir := TempDir(t), TempDir(t)
	dev := func(kds string) *process {
		return spawn(t, globalBin, "dev", "--data-dir", globalDir, "--kds-addr", kds, "--api-addr", "127.0.0.1:0",
			"--api-tls-addr", "127.0.0.1:0", "--peer-addr", "127.0.0.1:0", "--diagnostics-addr", "127.0.0.1:0")
	}
	must := func(path string, args ...string) string {
		t.Helper()
		out, said, err := command(path, args...)
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", filepath.Base(path), strings.Join(args, " "), err, said)
		}
		return out
	}
	keep := func(name, token string) string {
		t.Helper()
		path := filepath.Join(zoneDir, name)
		if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}

	global := dev("127.0.0.1:0")
	e := global.endpoints(globalDir)
	cpToken := keep("cp.token", must(globalBin, "generate", "control-plane-token", "--zone", "west", "--data-dir", globalDir))
	relay := NewRelay(t, e.KDS)
	zone := spawn(t, zoneBin, "server", "--zone", "west", "--global-address", relay.Addr(), "--cp-token-file", cpToken,
		"--ca-file", e.CAFile, "--data-dir", filepath.Join(zoneDir, "data"), "--dp-addr", "127.0.0.1:0",
		"--api-addr", "127.0.0.1:0", "--diagnostics-addr", "127.0.0.1:0")
	zone.endpoints(filepath.Join(zoneDir, "data"))
	lost := keep("lost.token", must(globalBin, "generate", "zone-token", "--zone", "west", "--scope", "egress", "--data-dir", globalDir))
	verify := func() string {
		_, said, err := command(zoneBin, "verify", "--data-dir", filepath.Join(zoneDir, "data"), "--token-file", lost, "--proxy-type", "egress")
		if err == nil {
			return "accepted"
		}
		return said
	}
	Eventually(t, "the token to be accepted", func() bool { return verify() == "accepted" })

	relay.Stall()
	must(globalBin, "revoke", "--kind", "zone-token", "--token-file", lost, "--data-dir", globalDir)
	global.kill()
	relay.Cut()
	if said := verify(); said != "accepted" {
		t.Fatalf("the revocation was delivered before the kill: the test proves nothing\n%s", said)
	}
	if err := os.Remove(filepath.Join(globalDir, endpoints.FileName)); err != nil {
		t.Fatal(err)
	}
	again := dev("127.0.0.1:0")
	relay.Retarget(again.endpoints(globalDir).KDS)
	relay.Resume()
	Eventually(t, "the revocation to be delivered", func() bool { return strings.Contains(verify(), "revoked") })

	for name, p := range map[string]*process{"killed global": global, "global": again, "zone": zone} {
		p.kill()
		if p.log.String() == "" || strings.Contains(p.log.String(), "eyJ") {
			t.Errorf("the log of the %s is empty or holds a token", name)
		}
	}
}
