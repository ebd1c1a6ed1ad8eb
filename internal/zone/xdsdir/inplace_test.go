package xdsdir

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestWhatStandsInAFilesPlace: whatever is put where a file was, what that held stays, with an
// alarm, nobody is held up, other folders are followed, and the file that comes back counts.
func TestWhatStandsInAFilesPlace(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"a link to nowhere": func(path string) error { return os.Symlink("not-mounted/a.yaml", path) },
		"a loop":            func(path string) error { return os.Symlink(filepath.Base(path), path) },
		"a named pipe":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a directory":       func(path string) error { return os.Mkdir(path, 0o755) },
		"a device":          func(path string) error { return os.Symlink(os.DevNull, path) },
		"a socket": func(path string) error {
			fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			defer syscall.Close(fd)
			return syscall.Bind(fd, &syscall.SockaddrUnix{Name: path})
		},
		"nothing that reads as text": func(path string) error { return os.WriteFile(path, []byte{0xff, 0}, 0o600) },
		"an empty file":              func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"too much":                   func(path string) error { return os.WriteFile(path, make([]byte, MaxFile+1), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t, map[string]string{"all/a.yaml": clusters("a"), "all/b.yaml": clusters("b"), "egress/c.yaml": clusters("c")})
			path := filepath.Join(f.path, "all", "a.yaml")
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := put(path); err != nil {
				t.Skipf("skipped: %s cannot be made by this user on this system: %v", name, err)
			}
			f.write("egress/c.yaml", clusters("c2"))
			done := make(chan struct{})
			go func() { defer close(done); f.dir.Check() }()
			select {
			case <-done:
			case <-time.After(time.Minute):
				t.Fatal("whoever looks at the folder is held up")
			}
			if got := f.clusters(egress); got != "a b c2" {
				t.Errorf("a proxy is given %q", got)
			}
			if p := f.dir.Problems(); len(p) != 1 || !strings.Contains(p[0].Error(), "all/a.yaml") {
				t.Errorf("problems: %v", p)
			}
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			f.write("all/a.yaml", clusters("a2"))
			f.dir.Check()
			if got := f.clusters(egress); got != "a2 b c2" || len(f.dir.Problems()) != 0 {
				t.Errorf("after the file came back: %q, %v", got, f.dir.Problems())
			}
		})
	}
}

// TestAFolderThatCannotBeRead: it is a problem for as long as it is so, whatever the reason, and
// nothing that was held goes.
func TestAFolderThatCannotBeRead(t *testing.T) {
	f := newFolder(t, map[string]string{"all/a.yaml": clusters("a"), "egress/z.yaml": clusters("z")})
	stays := func(what string) {
		t.Helper()
		for range 2 {
			f.dir.Check()
			if got := f.clusters(egress); got != "a z" || len(f.dir.Problems()) != 1 {
				t.Errorf("%s: %q, %v", what, got, f.dir.Problems())
			}
		}
	}
	if err := os.Rename(f.path, f.path+"-away"); err != nil {
		t.Fatal(err)
	}
	stays("gone")
	if err := os.WriteFile(f.path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stays("a file")
	for _, err := range []error{os.Remove(f.path), os.Rename(f.path+"-away", f.path)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	f.dir.Check()
	if p := f.dir.Problems(); len(p) != 0 {
		t.Errorf("it is back, and has %v", p)
	}
	if testing.Short() {
		return // 10,000 files take a while
	}
	// More files than are read: those behind the last one must not count as taken away.
	many := filepath.Join(f.path, "dataplane")
	if err := os.Mkdir(many, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range maxFiles {
		if err := os.WriteFile(filepath.Join(many, fmt.Sprintf("%05d.yaml", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stays("too many files")
}

// TestAcceptTakesNothingThatIsBack: files that came back a moment before somebody says that
// they are meant to be gone.
func TestAcceptTakesNothingThatIsBack(t *testing.T) {
	f := newFolder(t, map[string]string{"all/a.yaml": clusters("a")})
	path := filepath.Join(f.path, "all", "a.yaml")
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	f.dir.Check()
	digest := f.dir.gone["all"]
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if place, err := f.dir.Accept(digest); err == nil || f.clusters(egress) != "a" {
		t.Errorf("accepted %q, %v: a proxy is given %q", place, err, f.clusters(egress))
	}
	f.dir.Check()
	if got := f.clusters(egress); got != "a" || len(f.dir.Problems()) != 0 {
		t.Errorf("%q, %v", got, f.dir.Problems())
	}
}

// TestAStateThatCannotBeWritten: it is tried at each look, and told once.
func TestAStateThatCannotBeWritten(t *testing.T) {
	f := newFolder(t, map[string]string{"all/a.yaml": clusters("a")})
	f.dir.cfg.State = filepath.Join(t.TempDir(), "none", "state.json")
	for range 3 {
		f.dir.Check()
	}
	if n := strings.Count(f.log.String(), "cannot be written"); n != 1 {
		t.Errorf("told %d times: %s", n, f.log.String())
	}
}

// TestManyLookAtOnce: polls, checks and acceptances at the same time end where the folder is.
func TestManyLookAtOnce(t *testing.T) {
	f := newFolder(t, map[string]string{"all/a.yaml": clusters("a"), "egress/b.yaml": clusters("b")})
	f.dir.cfg.State = filepath.Join(t.TempDir(), "state.json")
	done := make(chan struct{})
	for i := range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 50 {
				switch i {
				case 0:
					f.dir.Check()
				case 1:
					f.dir.poll()
				case 2:
					_, _ = f.dir.Accept("000000000000")
				default:
					_, _ = f.dir.For(egress)
					_ = f.dir.Problems()
				}
			}
		}()
	}
	for i := range 20 {
		f.write("egress/b.yaml", clusters(fmt.Sprintf("b%d", i)))
		if i%5 == 0 {
			if err := os.Remove(filepath.Join(f.path, "all", "a.yaml")); err != nil {
				t.Error(err)
			}
			f.write("all/a.yaml", clusters("a"))
		}
	}
	for range 4 {
		<-done
	}
	f.dir.Check()
	if got := f.clusters(egress); got != "a b19" || len(f.dir.Problems()) != 0 {
		t.Errorf("%q, %v", got, f.dir.Problems())
	}
}
