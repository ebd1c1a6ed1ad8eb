//go:build unix

package coredump

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestDisable looks at the limit with the eyes of a child, which inherits it: in this
// process it cannot be raised again.
func TestDisable(t *testing.T) {
	if os.Getenv("COREDUMP_TEST_CHILD") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=TestDisable", "-test.v")
		cmd.Env = append(os.Environ(), "COREDUMP_TEST_CHILD=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return
	}
	if err := Disable(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", "-c", "ulimit -c; ulimit -H -c").Output()
	if err != nil || strings.TrimSpace(string(out)) != "0\n0" {
		t.Fatalf("limits %q: %v", out, err)
	}
}
