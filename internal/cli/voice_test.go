package cli

import (
	"os"
	"path/filepath"
	"testing"
)

// TestATerminalIsWhatTheSystemSaysItIs wants nobody to be asked who cannot answer: a
// script whose streams are devices is no terminal.
func TestATerminalIsWhatTheSystemSaysItIs(t *testing.T) {
	t.Setenv("TERM", "xterm")
	open := func(path string) *os.File {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	for _, path := range []string{"/dev/null", "/dev/zero", filepath.Join(t.TempDir(), "file")} {
		if IsTerminal(open(path)) {
			t.Errorf("%s is taken for a terminal", path)
		}
	}
	terminal := open("/dev/ptmx") // of a terminal, the end that a terminal emulator holds
	if !IsTerminal(terminal) {
		t.Error("a terminal is not taken for one")
	}
	t.Setenv("TERM", "dumb")
	if IsTerminal(terminal) {
		t.Error("a dumb terminal is taken for one that can be written over")
	}
	if IsTerminal(nil) {
		t.Error("no stream at all is taken for a terminal")
	}
}
