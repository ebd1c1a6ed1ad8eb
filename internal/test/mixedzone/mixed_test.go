package main

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestMixedVersions: a zone of a version that does not know a kind and an algorithm, and
// one that does, follow a member that uses both, on one data directory, in either order
// and with restarts between. The older one holds and refuses what it understands and
// names the rest; the newer one holds everything.
func TestMixedVersions(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: builds two programs")
	}
	older, newer := built(t), built(t, "-tags", "meridian_synthetic")
	address := served(t, newer)
	want := map[string]holding{
		older: {Vocabulary: 1, Keys: []string{"zone/1", "user/1"}, NotHeld: []string{"key:user/2", "key:zone/2", "kind:workload"}, Revoked: true},
		newer: {Vocabulary: 2, Keys: []string{"zone/1", "zone/2", "user/1", "user/2", "workload/1", "workload/2"}, Revoked: true},
	}
	for name, order := range map[string][]string{
		"the older first": {older, older, newer, newer, older},
		"the newer first": {newer, older, older, newer},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "zone.db")
			for i, program := range order {
				cmd := exec.Command(program, "zone", path, address)
				cmd.Stderr = os.Stderr
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("run %d: %v", i, err)
				}
				var got holding
				if err := json.Unmarshal(out, &got); err != nil {
					t.Fatalf("run %d: %v", i, err)
				}
				if !reflect.DeepEqual(got, want[program]) {
					t.Errorf("run %d holds\n%+v, want\n%+v", i, got, want[program])
				}
				if left, _ := filepath.Glob(path + ".damaged*"); len(left) > 0 {
					t.Errorf("run %d took the file of another version for damaged", i)
				}
			}
		})
	}
}

// built builds this program.
func built(t *testing.T, flags ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mixedzone")
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), ".")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// served starts a member and returns its address.
func served(t *testing.T, program string) string {
	t.Helper()
	cmd := exec.Command(program, "member")
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
	said := make(chan string, 1)
	go func() {
		var all strings.Builder
		for lines.Scan() {
			all.WriteString(lines.Text() + "\n")
		}
		said <- all.String()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		all := <-said
		if err := cmd.Wait(); err != nil {
			t.Errorf("the member: %v", err)
		}
		if !strings.Contains(all, `["key:user/2" "key:zone/2" "kind:workload"]`) || !strings.Contains(all, "[]\n") {
			t.Errorf("the member was not told what is not held, or not that everything is:\n%s", all)
		}
	})
	return address
}
