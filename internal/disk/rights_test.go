package disk

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// file is what a directory tells of one.
type file struct {
	mode     fs.FileMode
	uid, gid uint32
}

func (f file) Name() string       { return "file" }
func (f file) Size() int64        { return 1 }
func (f file) Mode() fs.FileMode  { return f.mode }
func (f file) ModTime() time.Time { return time.Time{} }
func (f file) IsDir() bool        { return f.mode.IsDir() }
func (f file) Sys() any           { return &syscall.Stat_t{Uid: f.uid, Gid: f.gid} }

// may is what somebody of the system may do with a file, as the kernel decides it: the
// first class that fits counts. An owner may also change the mode.
func may(f file, uid uint32, groups []uint32, bit fs.FileMode) bool {
	if uid == f.uid {
		return true
	}
	for _, g := range groups {
		if g == f.gid {
			return f.mode&(bit<<3) != 0
		}
	}
	return f.mode&bit != 0
}

// TestRightsOfOthers holds the rule against the kernel's, for every mode, owner and group:
// what nobody but root, the process's user and its groups may do is nobody's else, and
// whatever somebody else may do is found.
func TestRightsOfOthers(t *testing.T) {
	const us, ourGroup, fsGroup, them, theirGroup = 65532, 65532, 2000, 1000, 1000
	p := process{us, []int{ourGroup, fsGroup}}
	others := []struct {
		uid    uint32
		groups []uint32
	}{{them, []uint32{theirGroup}}, {them + 1, []uint32{them + 1}}, {them + 2, []uint32{0}}}
	for mode := fs.FileMode(0); mode <= 0o777; mode++ {
		for _, uid := range []uint32{0, us, them} {
			for _, gid := range []uint32{0, ourGroup, fsGroup, theirGroup} {
				f := file{mode, uid, gid}
				r := p.judge(f)
				for bit, got := range map[fs.FileMode]bool{0o4: r.Read, 0o2: r.Write, 0o1: r.Enter} {
					want := false
					for _, o := range others {
						want = want || may(f, o.uid, o.groups, bit)
					}
					if want && !got {
						t.Fatalf("mode %#o of %d:%d: somebody has the right %#o, and it is not found", mode, uid, gid, bit)
					}
					own := (uid == 0 || uid == us) && mode&0o007 == 0 && (gid == ourGroup || gid == fsGroup || mode&0o070 == 0)
					if own && got {
						t.Fatalf("mode %#o of %d:%d: private, and taken for open", mode, uid, gid)
					}
				}
			}
		}
	}
}

// TestFilesOfEveryModeAndOwner makes files and directories and uses them: what is refused
// and what is warned of follows the rights that others have.
func TestFilesOfEveryModeAndOwner(t *testing.T) {
	uids, gids := []int{os.Geteuid()}, []int{os.Getegid()}
	if os.Geteuid() == 0 {
		uids, gids = []int{0, 1000}, []int{os.Getegid(), 1000}
	} else {
		t.Log("not root: files of this user only")
	}
	dir := t.TempDir()
	for mode := fs.FileMode(0); mode <= 0o777; mode += 0o11 { // of group and world, all of them in steps; the owner's vary with it
		for _, uid := range uids {
			for _, gid := range gids {
				name := fmt.Sprintf("mode %#o of %d:%d", mode|0o400, uid, gid)
				path := filepath.Join(dir, fmt.Sprintf("%o-%d-%d", mode, uid, gid))
				info := made(t, path, mode|0o400, uid, gid)
				r := RightsOf(info)
				if err := CheckSecret("key", path, info); (err != nil) != (r.Read || r.Write) || err != nil && federation.AsError(err).Reason != TooOpen {
					t.Errorf("%s: a secret: %v, %+v", name, err, r)
				}
				if err := CheckWritten("roles", path, info); (err != nil) != r.Write {
					t.Errorf("%s: a file that is believed: %v, %+v", name, err, r)
				}
				warning, err := CheckToken("token file", path, info)
				if (err != nil) != r.Write || (warning != "") != (r.Read && !r.Write) {
					t.Errorf("%s: a token: %q, %v, %+v", name, warning, err, r)
				}
				data := path + ".d"
				if err := os.Mkdir(data, 0o700); err != nil {
					t.Fatal(err)
				}
				change(t, data, mode|0o700, uid, gid)
				warning, err = OpenDataDir(data, ZoneMark)
				if (err != nil) != r.Write || (warning != "") != (r.Enter && !r.Write) {
					t.Errorf("%s: a data directory: %q, %v, %+v", name, warning, err, r)
				}
			}
		}
	}
}

func made(t *testing.T, path string, mode fs.FileMode, uid, gid int) fs.FileInfo {
	t.Helper()
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	return change(t, path, mode, uid, gid)
}

func change(t *testing.T, path string, mode fs.FileMode, uid, gid int) fs.FileInfo {
	t.Helper()
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestDirectoriesAreMarked(t *testing.T) {
	for _, mark := range []Mark{GlobalMark, ZoneMark} {
		other := GlobalMark
		if mark == GlobalMark {
			other = ZoneMark
		}
		dir := filepath.Join(t.TempDir(), "data")
		for range 2 { // the first time it is made, and then it is known
			if _, err := OpenDataDir(dir, mark); err != nil {
				t.Fatal(err)
			}
		}
		_, err := OpenDataDir(dir, other)
		if e := federation.AsError(err); e == nil || e.Reason != "other_program" || !strings.Contains(e.Detail, mark.Role) {
			t.Errorf("%s on a directory of %s: %v", other.Program, mark.Program, err)
		}
		for _, name := range foreign[mark.Program] {
			dir := t.TempDir()
			change(t, dir, 0o700, os.Geteuid(), os.Getegid())
			made(t, filepath.Join(dir, name), 0o600, os.Geteuid(), os.Getegid())
			if _, err := OpenDataDir(dir, mark); err == nil || federation.AsError(err).Reason != "other_program" {
				t.Errorf("%s on a directory with a %s: %v", mark.Program, name, err)
			}
		}
		newer := mark
		newer.Format++
		path := filepath.Join(dir, markFile)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := writeMark(dir, path, newer); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenDataDir(dir, mark); err == nil || !strings.Contains(err.Error(), "newer version") {
			t.Errorf("a mark of a newer version: %v", err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenDataDir(dir, mark); err == nil || !strings.Contains(err.Error(), "is damaged") {
			t.Errorf("a damaged mark: %v", err)
		}
	}
}

// TestWhatOthersMayWriteInADirectory that they may enter is refused as the directory is,
// whatever it is called; in one that they may not enter they reach nothing.
func TestWhatOthersMayWriteInADirectory(t *testing.T) {
	uid, gid := os.Geteuid(), os.Getegid()
	for mode := fs.FileMode(0); mode <= 0o7; mode++ {
		for _, open := range []fs.FileMode{0o700, 0o711, 0o755} {
			dir := t.TempDir()
			change(t, dir, open, uid, gid)
			made(t, filepath.Join(dir, "zone.db"), 0o600|mode, uid, gid)
			_, err := OpenDataDir(dir, ZoneMark)
			if want := mode&0o2 != 0 && open != 0o700; (err != nil) != want || want && federation.AsError(err).Reason != TooOpen {
				t.Errorf("a file %#o in a directory %#o: %v", 0o600|mode, open, err)
			}
		}
	}
	dir, outside := t.TempDir(), t.TempDir()
	change(t, dir, 0o755, uid, gid)
	change(t, outside, 0o777, uid, gid)
	if err := os.Symlink(outside, filepath.Join(dir, "snapshots")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDataDir(dir, GlobalMark); err == nil || federation.AsError(err).Reason != TooOpen {
		t.Errorf("a link to what others may write: %v", err)
	}
	dir = t.TempDir()
	change(t, dir, 0o755, uid, gid)
	if err := os.Symlink("nowhere", filepath.Join(dir, "lost")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDataDir(dir, GlobalMark); err != nil {
		t.Errorf("a link to nothing: %v", err)
	}
}

// TestSocketsArePrivateFromTheStart: a connection that waits in a socket's queue before
// its mode is set would be served.
func TestSocketsArePrivateFromTheStart(t *testing.T) {
	before := syscall.Umask(0)
	defer syscall.Umask(before)
	path := filepath.Join(t.TempDir(), "s")
	var listener net.Listener
	var err error
	Private(func() { listener, err = net.Listen("unix", path) })
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
	if conn, err := net.Dial("unix", path); err != nil {
		t.Error(err)
	} else {
		conn.Close()
	}
	if now := syscall.Umask(0); now != 0 {
		t.Errorf("the umask of the process stays %#o", now)
	}
}

// TestPipesAreTokenFilesToo: whoever may write into one says which token it is.
func TestPipesAreTokenFilesToo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skipf("skipped: no named pipe can be made here: %v", err)
	}
	for mode, want := range map[fs.FileMode]bool{0o600: true, 0o602: false, 0o666: false} {
		info := change(t, path, mode, os.Geteuid(), os.Getegid())
		if _, err := CheckToken("token file", path, info); (err == nil) != want {
			t.Errorf("a pipe of mode %#o: %v", mode, err)
		}
	}
	info, err := os.Stat(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CheckToken("token file", os.DevNull, info); err != nil {
		t.Errorf("a device, as a terminal is: %v", err)
	}
}

// TestAForeignOwnerIsNamed: what belongs to another user is refused for that, whatever its
// mode, with as whom to run the program.
func TestAForeignOwnerIsNamed(t *testing.T) {
	p := process{65532, []int{65532}}
	path := t.TempDir() // Owner looks at what is there
	for uid, foreign := range map[uint32]bool{0: false, 65532: false, 1000: true} {
		err := p.foreigner("data directory", path, file{0o700 | fs.ModeDir, uid, 1000})
		if foreign != (err != nil) {
			t.Errorf("of user %d: %v", uid, err)
		}
		if e := federation.AsError(err); foreign && (!strings.Contains(e.Detail, "belongs to "+Owner(path)) || !strings.Contains(e.Hint, "run it as "+Owner(path))) {
			t.Errorf("of user %d: %s; hint: %s", uid, e.Detail, e.Hint)
		}
	}
}
