//go:build unix

package coredump

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// child runs a test of this binary once more, in a folder of its own and with the
// largest limit that this process may give it.
func child(t *testing.T, test, role string) ([]byte, *os.ProcessState) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `ulimit -S -c "$(ulimit -H -c)"; exec "$@"`, "sh", os.Args[0], "-test.run=^"+test+"$")
	cmd.Env = append(os.Environ(), "COREDUMP_TEST_CHILD="+role, "GOTRACEBACK=crash")
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out, cmd.ProcessState
}

// TestDisable looks at the limit in a child: in this process it could not be raised again.
func TestDisable(t *testing.T) {
	if os.Getenv("COREDUMP_TEST_CHILD") == "" {
		if out, state := child(t, "TestDisable", "look"); !state.Success() {
			t.Fatalf("%s: %s", state, out)
		}
		return
	}
	if err := Disable(); err != nil {
		t.Fatal(err)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &limit); err != nil {
		t.Fatal(err)
	}
	want := syscall.Rlimit{}
	if runtime.GOOS == "linux" {
		want = syscall.Rlimit{Cur: 1, Max: 1}
	}
	if limit != want {
		t.Fatalf("the limits are %+v", limit)
	}
}

// TestACrashLeavesNoCore crashes one child with Disable and one without, whose core shows
// that there would have been one.
func TestACrashLeavesNoCore(t *testing.T) {
	switch os.Getenv("COREDUMP_TEST_CHILD") {
	case "disable":
		if err := Disable(); err != nil {
			t.Fatal(err)
		}
		fallthrough
	case "plain":
		if err := syscall.Kill(os.Getpid(), syscall.SIGABRT); err != nil {
			t.Fatal(err)
		}
		select {} // the signal ends it
	}
	dumped := func(role string) bool {
		out, state := child(t, "TestACrashLeavesNoCore", role)
		status, ok := state.Sys().(syscall.WaitStatus)
		if !ok || !status.Signaled() {
			t.Fatalf("%s: the child did not crash: %s\n%s", role, state, out)
		}
		return status.CoreDump()
	}
	if dumped("disable") {
		t.Error("a core was written in spite of Disable")
	}
	if !dumped("plain") {
		t.Skip("skipped: nothing writes core files on this machine")
	}
}
