package disk

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestOpenDoesNotWait: not for who writes to a pipe, and a pipe that is written to is read.
func TestOpenDoesNotWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skipf("skipped: no named pipe can be made here: %v", err)
	}
	read := func() (string, error) {
		f, err := Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		data, err := io.ReadAll(f)
		return string(data), err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if text, err := read(); text != "" || err != nil {
			t.Errorf("nobody writes: %q, %v", text, err)
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("opening a pipe waits")
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	writer, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writer.WriteString("content"); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	if data, err := io.ReadAll(f); string(data) != "content" || err != nil {
		t.Errorf("somebody writes: %q, %v", data, err)
	}
	if err := os.WriteFile(path+"2", []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	path += "2"
	if text, err := read(); text != "a file" || err != nil {
		t.Errorf("a file: %q, %v", text, err)
	}
}
