package endpoints

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
)

func TestWriteReadRemove(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(dir); federation.CodeOf(err) != federation.NotFound {
		t.Errorf("an empty folder: %v", err)
	}
	want := Endpoints{API: "127.0.0.1:1", KDS: "127.0.0.1:2", CAFile: "/x/ca.crt"}
	if err := want.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for range 2 {
		if err := Remove(dir); err != nil {
			t.Errorf("removing: %v", err)
		}
	}
}

func TestReadRefusesWhatNoNodeWrote(t *testing.T) {
	for name, text := range map[string]string{"damaged": "{", "huge": strings.Repeat(" ", maxFile+1)} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, FileName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(dir); federation.CodeOf(err) != federation.Invalid || !strings.Contains(err.Error(), FileName) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDialable(t *testing.T) {
	if got := Dialable(nil); got != "" {
		t.Errorf("nil: %q", got)
	}
	for listen, want := range map[string]string{"127.0.0.1:0": "127.0.0.1:", "0.0.0.0:0": "127.0.0.1:"} {
		l, err := net.Listen("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		if got := Dialable(l); !strings.HasPrefix(got, want) || strings.HasSuffix(got, ":0") {
			t.Errorf("%s: %q", listen, got)
		}
		l.Close()
	}
}
