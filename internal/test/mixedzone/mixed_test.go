package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/endpoints"
)

// patience is how long anything may take: the machine may be busy.
const patience = 2 * time.Minute

// holding is what a zone says that it has.
type holding struct{ keys, notHeld []string }

// TestMixedVersions: a zone control plane of a version that does not know a kind and an
// algorithm, and one that does, follow a member that uses both and revokes all the time,
// on one data directory, in either order and with restarts between, while services ask
// them about tokens. The older one holds and refuses what it understands and names the
// rest; the newer one holds everything; neither refuses the good token or accepts the
// revoked one.
func TestMixedVersions(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: builds three programs")
	}
	const zone = "github.com/meridiankds/meridian/cmd/zone"
	older, newer := built(t, zone), built(t, zone, "-tags", "meridian_synthetic")
	dir := t.TempDir()
	address := served(t, built(t, ".", "-tags", "meridian_synthetic"), dir)
	want := map[string]holding{
		older: {keys: []string{"user/1", "zone/1"}, notHeld: []string{"key:user/2", "key:zone/2", "kind:workload"}},
		newer: {keys: []string{"user/1", "user/2", "workload/1", "workload/2", "zone/1", "zone/2"}},
	}
	for name, order := range map[string][]string{
		"the older first": {older, older, newer, newer, older},
		"the newer first": {newer, older, older, newer},
	} {
		t.Run(name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			for i, program := range order {
				z := startZone(t, program, address, dir, data, i)
				z.await(want[program])
				z.stop()
				if left, _ := filepath.Glob(filepath.Join(data, "zone.db.damaged*")); len(left) > 0 {
					t.Errorf("run %d took the file of another version for damaged", i)
				}
			}
		})
	}
}

// zoneProgram is a running zone control plane, and who asks it about tokens.
type zoneProgram struct {
	t          *testing.T
	cmd        *exec.Cmd
	run        int
	e          endpoints.Endpoints
	client     *http.Client // of its proxies' port
	said       bytes.Buffer
	ctx        context.Context
	stopAsking context.CancelFunc
	asking     sync.WaitGroup
}

func startZone(t *testing.T, program, address, dir, data string, run int) *zoneProgram {
	t.Helper()
	z := &zoneProgram{t: t, run: run}
	z.cmd = exec.Command(program, "server", "--zone", "west", "--global-address", address, "--global-tls=false",
		"--cp-token-file", filepath.Join(dir, controlPlaneToken), "--data-dir", data,
		"--dp-addr", "127.0.0.1:0", "--api-addr", "127.0.0.1:0", "--diagnostics-addr", "", "--localhost-is-admin")
	z.cmd.Stderr = &z.said
	z.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	_ = os.Remove(filepath.Join(data, endpoints.FileName))
	if err := z.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if z.cmd.ProcessState == nil {
			_ = z.cmd.Process.Kill()
			_ = z.cmd.Wait()
		}
	})
	z.until("it listens", func() bool {
		var err error
		z.e, err = endpoints.Read(data)
		return err == nil
	})
	authority, err := os.ReadFile(z.e.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	z.client = &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}}
	z.ctx, z.stopAsking = context.WithCancel(t.Context())
	t.Cleanup(z.stopAsking)
	if run == 0 { // it knows nothing at first, and refuses everything
		z.until("it accepts the good token", func() bool { return z.ask(dir, goodToken) == http.StatusOK })
	}
	for file, status := range map[string]int{goodToken: http.StatusOK, revokedToken: http.StatusUnauthorized} {
		z.asking.Go(func() {
			for z.ctx.Err() == nil {
				if got := z.ask(dir, file); got != status && z.ctx.Err() == nil {
					t.Errorf("run %d answers %d to the %s", run, got, file)
					return
				}
			}
		})
	}
	return z
}

// until looks again and again whether something holds.
func (z *zoneProgram) until(what string, ok func() bool) {
	z.t.Helper()
	ctx, cancel := context.WithTimeout(z.t.Context(), patience)
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-ctx.Done():
			z.t.Fatalf("run %d: never: %s", z.run, what)
		}
	}
}

// ask has the zone authenticate the token of a file, and returns the status.
func (z *zoneProgram) ask(dir, file string) int {
	token, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		z.t.Error(err)
		return 0
	}
	body, err := json.Marshal(apitypes.AuthenticateRequest{Token: string(token), ProxyType: "egress"})
	if err != nil {
		z.t.Error(err)
		return 0
	}
	ctx := z.ctx
	if ctx == nil {
		ctx = z.t.Context()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+z.e.DP+"/v1/authenticate", bytes.NewReader(body))
	if err != nil {
		z.t.Error(err)
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := z.client.Do(req)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// await waits until the zone has acknowledged something and holds what is wanted.
func (z *zoneProgram) await(want holding) {
	z.t.Helper()
	var got holding
	z.t.Cleanup(func() {
		if z.t.Failed() {
			z.t.Logf("run %d holds %+v, want %+v", z.run, got, want)
		}
	})
	z.until("it holds what its version understands", func() bool {
		resp, err := http.Get("http://" + z.e.API + "/v1/status")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		var status apitypes.ZoneStatus
		if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
			z.t.Fatal(err)
		}
		got = holding{notHeld: status.NotHeld}
		for _, k := range status.Keys {
			got.keys = append(got.keys, k.Kind+"/"+k.KID)
		}
		slices.Sort(got.keys)
		return status.Global.Connected && slices.Equal(got.keys, want.keys) && slices.Equal(got.notHeld, want.notHeld)
	})
}

func (z *zoneProgram) stop() {
	z.t.Helper()
	z.stopAsking()
	z.asking.Wait()
	z.client.CloseIdleConnections()
	http.DefaultClient.CloseIdleConnections()
	if err := z.cmd.Process.Signal(os.Interrupt); err != nil {
		z.t.Fatal(err)
	}
	if err := z.cmd.Wait(); err != nil {
		z.t.Errorf("run %d ended with %v\n%s", z.run, err, z.said.String())
	}
}

// built builds a program.
func built(t *testing.T, what string, flags ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), what)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// served starts a member and returns its address.
func served(t *testing.T, program, dir string) string {
	t.Helper()
	cmd := exec.Command(program, dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the member says nothing")
	}
	address := lines.Text()
	said := make(chan [2]bool, 1)
	go func() {
		var older, newer bool
		for lines.Scan() {
			older = older || strings.HasSuffix(lines.Text(), ` ["key:user/2" "key:zone/2" "kind:workload"]`)
			newer = newer || strings.HasSuffix(lines.Text(), " []")
		}
		said <- [2]bool{older, newer}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		told := <-said
		if err := cmd.Wait(); err != nil {
			t.Errorf("the member: %v", err)
		}
		if !told[0] || !told[1] {
			t.Errorf("the member was told what is not held: %t, and that everything is: %t", told[0], told[1])
		}
	})
	return address
}
