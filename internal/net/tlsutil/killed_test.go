package tlsutil

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestKilledAtTheFirstStart: a process that was killed after any of its writes, or
// in the middle of one, starts, and keeps a CA that somebody can trust already.
func TestKilledAtTheFirstStart(t *testing.T) {
	order := []string{caKeyFile, CAFile, keyFile, certFile}
	id := Identity{"dev", RoleNode, "dev"}
	whole := t.TempDir()
	if _, _, err := LoadOrMake(whole, id, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	read := func(dir, name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for n := range len(order) + 1 {
		dir := t.TempDir()
		for _, name := range order[:n] {
			if err := os.WriteFile(filepath.Join(dir, name), read(whole, name), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if n < len(order) { // what WriteFile leaves where it is killed
			if err := os.WriteFile(filepath.Join(dir, "."+order[n]+".123"), []byte("half"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		a, cert, err := LoadOrMake(dir, id, nil, time.Now())
		if err != nil {
			t.Fatalf("killed after %v: %v", order[:n], err)
		}
		if !a.stillGood(cert, id, nil, time.Now()) {
			t.Errorf("killed after %v: the certificate is not of the CA", order[:n])
		}
		if kept := bytes.Equal(read(dir, CAFile), read(whole, CAFile)); kept != (n >= 2) {
			t.Errorf("killed after %v: CA kept: %v", order[:n], kept)
		}
		if kept := bytes.Equal(read(dir, certFile), read(whole, certFile)); kept != (n == 4) {
			t.Errorf("killed after %v: certificate kept: %v", order[:n], kept)
		}
	}
}
