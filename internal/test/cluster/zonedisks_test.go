package cluster

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/internal/apitypes"
)

// faultyDisk is a file system of its own for the data directory of a zone, and what goes
// wrong with it.
type faultyDisk struct {
	mount   func(t *testing.T, dir string)
	fail    func(t *testing.T, dir string)
	mend    func(t *testing.T, dir string) // while the zone runs
	replace bool                           // mended only by mounting it again, without the zone
}

var faultyDisks = map[string]faultyDisk{
	"full": {
		mount: func(t *testing.T, dir string) { mounted(t, dir, "-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs") },
		fail: func(t *testing.T, dir string) {
			f, err := os.OpenFile(filepath.Join(dir, "filler"), os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for block := make([]byte, 64<<10); ; { // ends with what is left, a page at a time
				n, err := f.Write(block)
				if err == nil {
					continue
				}
				if !errors.Is(err, syscall.ENOSPC) {
					t.Fatal(err)
				}
				if n == 0 {
					return
				}
			}
		},
		mend: func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
				t.Fatal(err)
			}
		},
	},
	"hanging": {
		mount: mountExt4,
		fail: func(t *testing.T, dir string) {
			rooted(t, "fsfreeze", "--freeze", dir)
			// Also where the test fails: nothing that waits for the disk could be ended.
			t.Cleanup(func() { _ = exec.Command("fsfreeze", "--unfreeze", dir).Run() })
		},
		mend: func(t *testing.T, dir string) { rooted(t, "fsfreeze", "--unfreeze", dir) },
	},
	// The kernel makes a file system read-only under open files where it finds an error in it.
	"read-only": {
		mount: mountExt4,
		fail: func(t *testing.T, dir string) {
			source, err := exec.Command("findmnt", "--noheadings", "--output", "SOURCE", "--mountpoint", dir).Output()
			if err != nil {
				t.Fatal(err)
			}
			trigger := filepath.Join("/sys/fs/ext4", filepath.Base(strings.TrimSpace(string(source))), "trigger_fs_error")
			if err := os.WriteFile(trigger, []byte("1"), 0); err != nil {
				t.Skipf("skipped: this kernel makes no file system read-only on demand: %v", err)
			}
			if err := os.WriteFile(filepath.Join(dir, "probe"), nil, 0o600); err == nil {
				t.Fatal("it is not read-only")
			}
		},
		replace: true,
	},
}

// rooted runs a program that takes root.
func rooted(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
	}
}

// mounted mounts at dir until the test ends.
func mounted(t *testing.T, dir string, args ...string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", append(args, dir)...).CombinedOutput(); err != nil {
		t.Skipf("skipped: this machine does not mount it: %v: %s", err, out)
	}
	t.Cleanup(func() { rooted(t, "umount", dir) })
}

// mountExt4 makes an ext4 in a file beside dir and mounts it there.
func mountExt4(t *testing.T, dir string) {
	t.Helper()
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("skipped: mkfs.ext4 is not installed")
	}
	image := dir + ".ext4"
	if err := os.WriteFile(image, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	rooted(t, "mkfs.ext4", "-q", "-E", "root_owner=0:0", image)
	mounted(t, dir, "-o", "loop,errors=remount-ro", image)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// TestZonesWhoseDiskFails: a zone on a file system that is full, that hangs or that has
// become read-only refuses what was revoked meanwhile, is not ready, acknowledges nothing
// and says so, and is whole again when the disk is back: under the running zone where
// that can be, and after a restart.
func TestZonesWhoseDiskFails(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: mounting file systems takes root")
	}
	c := startNodes(t, 1)
	for how, disk := range faultyDisks {
		for _, restart := range []bool{false, true} {
			if disk.replace && !restart {
				continue
			}
			name := how + map[bool]string{true: ", and the zone restarts"}[restart]
			t.Run(name, func(t *testing.T) { zoneWithoutDisk(t, c, disk, restart) })
		}
	}
}

func zoneWithoutDisk(t *testing.T, c *nodes, disk faultyDisk, restart bool) {
	c = &nodes{t: t, dir: c.dir, ca: c.ca, expect: c.expect, all: c.all}
	m := c.all[0]
	zone := "z" + uuid.NewString()[:8]
	disk.mount(t, c.path("zone-"+zone))
	z := c.startZone(zone)
	lost, good := z.token(m, zone+"-lost"), z.token(m, zone+"-good")
	z.await(lost, "accepted")
	// behind is how far the zone is behind by what it has acknowledged.
	behind := func() uint64 {
		var detail apitypes.ZoneDetail
		if err := json.Unmarshal([]byte(m.must("inspect", "zone", zone, "-o", "json")), &detail); err != nil {
			t.Fatal(err)
		}
		for _, session := range detail.Sessions {
			if session.Online && session.Behind != nil {
				return *session.Behind
			}
		}
		return math.MaxUint64
	}
	Eventually(t, "the zone to have acknowledged everything", func() bool { return behind() == 0 })
	before := z.revision()

	disk.fail(t, z.dir)
	// Many ids, so that the file must grow.
	var ids strings.Builder
	for range 20_000 {
		ids.WriteString(uuid.NewString() + "\n")
	}
	m.completes("revoke", "--kind", "zone-token", "--ids-file", c.file(zone+".ids", []byte(ids.String())))
	m.completes("revoke", "--kind", "zone-token", "--token-file", lost)
	z.await(lost, "revoked")
	z.expect(good, "accepted")
	diagnostics := z.endpoints(z.dir).Diagnostics
	Eventually(t, "the zone to say that it cannot write", func() bool { return z.status().Unwritten != "" })
	for range 5 { // a disk that takes a little is not whole
		if status, body := readiness(t, diagnostics); status != http.StatusServiceUnavailable || !strings.Contains(body, `"unwritten"`) {
			t.Errorf("/ready says %d %s", status, body)
		}
		m.completes("revoke", "--kind", "zone-token", uuid.NewString())
	}
	if !strings.Contains(scrape(t, diagnostics), "\nmeridian_unwritten 1\n") {
		t.Error("no metric says so")
	}
	if behind() == 0 {
		t.Error("the global takes it for whole")
	}
	if now := z.revision(); now != before {
		t.Errorf("the zone says that it stands at %s: %s was the last that is on its disk", now, before)
	}

	switch {
	case disk.replace:
		z.kill()
		rooted(t, "umount", z.dir)
		rooted(t, "mount", "-o", "loop,errors=remount-ro", z.dir+".ext4", z.dir)
		z.start()
	case restart:
		disk.mend(t, z.dir)
		z.kill()
		z.start()
	default:
		disk.mend(t, z.dir)
	}
	z.await(lost, "revoked") // a restarted zone gets again what it had not written
	Eventually(t, "the zone to be whole", func() bool {
		status, _ := readiness(t, z.endpoints(z.dir).Diagnostics)
		return status == http.StatusOK && behind() == 0 && z.status().Unwritten == ""
	})
	z.expect(good, "accepted")
	z.kill()
	if _, revoked := z.onDisk(lost); !revoked {
		t.Error("the revocation is not on the disk")
	}
}

// readiness is what a diagnostics port answers at /ready.
func readiness(t *testing.T, address string) (status int, body string) {
	t.Helper()
	client := &http.Client{Timeout: Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + address + "/ready")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}
