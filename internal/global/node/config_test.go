package node

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
)

// TestHowANodeFindsItsCluster: what cannot work together is refused before anything starts.
func TestHowANodeFindsItsCluster(t *testing.T) {
	three := []string{"a:5683", "b:5683", "c:5683"}
	for name, tt := range map[string]struct {
		cfg Config
		ok  bool
	}{
		"alone":                                {Config{Expect: 1, Bootstrap: true}, true},
		"three":                                {Config{Expect: 3, Join: three}, true},
		"three, of which it names the others":  {Config{Expect: 3, Join: three[1:]}, true},
		"more than are named":                  {Config{Expect: 5, Join: three}, false},
		"no address":                           {Config{Expect: 1, Join: []string{"a"}}, false},
		"a replica with the line of the three": {Config{Expect: 3, Join: three, NonVoter: true}, true},
		"a replica that names one":             {Config{Expect: 1, Join: three[:1], NonVoter: true}, true},
		"a replica that founds alone":          {Config{Expect: 1, Bootstrap: true, NonVoter: true}, false},
		"a replica that counts as a founder":   {Config{Expect: 3, Join: three[1:], NonVoter: true}, false},
	} {
		err := tt.cfg.validateJoin()
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		if e := federation.AsError(err); e != nil && (e.Code != federation.Invalid || e.Hint == "") {
			t.Errorf("%s: refused without a hint: %v", name, e)
		}
	}
}

// TestAControlPlaneKeyThatOthersMayUse: whoever reads it can speak for every zone.
func TestAControlPlaneKeyThatOthersMayUse(t *testing.T) {
	path, secret := filepath.Join(t.TempDir(), "cp.key"), bytes.Repeat([]byte{7}, 32)
	if err := os.WriteFile(path, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o440: true, 0o601: true, 0o604: false, 0o602: false, 0o644: false, 0o666: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		got, err := LoadControlPlaneKey(path)
		if ok && !bytes.Equal(got, secret) || !ok && (got != nil || federation.AsError(err).Reason != disk.TooOpen) {
			t.Errorf("mode %#o: %d bytes, %v", mode, len(got), err)
		}
	}
}
