package node

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/test/tempdir"
)

// TestWhatIsGoneIsAccepted: what a folder held whose files are gone is let go by whoever
// names it, while the zone runs and after a restart that no longer knows what it was, and
// just that.
func TestWhatIsGoneIsAccepted(t *testing.T) {
	dir, folder := tempdir.Short(t), t.TempDir()
	put := func(at string) string {
		t.Helper()
		path := filepath.Join(folder, at)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		text := "resources:\n- {'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster, name: redis, connect_timeout: 5s}\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cfg := config(dir)
	cfg.XDSDir = folder
	zone := func() *apiclient.Zone {
		target, err := apiclient.Resolve(apiclient.API("zone"), apiclient.Flags{DataDir: dir}, func(string) string { return "" }, nil)
		if err != nil {
			t.Fatal(err)
		}
		z, err := apiclient.NewZone(target, "zone/test")
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	problems := func() []string {
		t.Helper()
		s, err := zone().Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.XDSProblems
	}
	digestOf := func(place string) string {
		t.Helper()
		for _, p := range problems() {
			if m := regexp.MustCompile(`^` + place + `: the last file of resources is gone \(([0-9a-f]{12})\)`).FindStringSubmatch(p); m != nil {
				return m[1]
			}
		}
		t.Fatalf("nothing is told of %s: %v", place, problems())
		return ""
	}
	all, egress := put("all/a.yaml"), put("egress/e.yaml")
	ended := false
	end := start(t, cfg)
	defer func() {
		if !ended {
			end()
		}
	}()
	if p := problems(); len(p) != 0 {
		t.Fatalf("problems of a good folder: %v", p)
	}
	for _, path := range []string{all, egress} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(time.Minute); len(problems()) != 2; time.Sleep(20 * time.Millisecond) { // between two looks
		if time.Now().After(deadline) {
			t.Fatalf("the zone does not notice: %v", problems())
		}
	}
	for _, wrong := range []string{"", "000000000000", strings.ToUpper(digestOf("all"))} {
		if _, err := zone().AcceptXDS(t.Context(), wrong); err == nil || len(problems()) != 2 {
			t.Errorf("%q: %v, %v", wrong, err, problems())
		}
	}
	done, err := zone().AcceptXDS(t.Context(), digestOf("all"))
	if err != nil || done.Folder != "all" || len(problems()) != 1 {
		t.Errorf("%+v, %v, %v", done, err, problems())
	}
	held := digestOf("egress")
	end()
	end = start(t, cfg)
	lost := digestOf("egress")
	if len(problems()) != 1 || lost == held {
		t.Errorf("after a restart: %v, before %s", problems(), held)
	}
	if _, err := zone().AcceptXDS(t.Context(), held); federation.CodeOf(err) != federation.NotFound {
		t.Errorf("the digest of what the zone no longer knows: %v", err)
	}
	if done, err := zone().AcceptXDS(t.Context(), lost); err != nil || done.Folder != "egress" || len(problems()) != 0 {
		t.Errorf("%+v, %v, %v", done, err, problems())
	}
	end()
	end = start(t, cfg)
	if p := problems(); len(p) != 0 {
		t.Errorf("what was accepted came back: %v", p)
	}
	end()
	ended = true

	cfg.XDSDir = ""
	defer start(t, cfg)()
	if _, err := zone().AcceptXDS(t.Context(), "000000000000"); federation.CodeOf(err) != federation.NotFound || !strings.Contains(err.Error(), "no folder of resources") {
		t.Errorf("at a zone without a folder: %v", err)
	}
}
