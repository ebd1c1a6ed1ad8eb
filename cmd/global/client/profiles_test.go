package client

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/meridiankds/meridian/internal/apiclient"
)

// TestProfilesChangedAtOnce: nobody takes back what another one did a moment before.
func TestProfilesChangedAtOnce(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	var all sync.WaitGroup
	const several = 12
	for i := range several {
		all.Go(func() {
			err := ChangeProfiles(t.Context(), func(p *Profiles) error {
				p.Profiles[fmt.Sprintf("p%d", i)] = apiclient.Profile{Address: "https://global.example.com:5682"}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	p, err := ReadProfiles()
	if err != nil || len(p.Profiles) != several {
		t.Errorf("%d profiles are there, %v", len(p.Profiles), err)
	}
	path, err := ProfilesPath()
	if err != nil {
		t.Fatal(err)
	}
	for what, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700 | os.ModeDir} {
		if info, err := os.Stat(what); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", what, info.Mode(), err)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the file stand %v, %v", entries, err)
	}
}
