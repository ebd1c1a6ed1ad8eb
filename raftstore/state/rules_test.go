package state

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/internal/test/altered"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// updateRules writes testdata/rules.txt anew: read what changed in it.
var updateRules = flag.Bool("update-rules", false, "write the verdicts on altered snapshots anew")

// TestAlteredSnapshotsAreHeldAgainstTheRules alters each field of each record of a full
// snapshot, drops and doubles each record, and makes every checksum right again.
// testdata/rules.txt has the verdict for every way: a rule refuses what no command could
// have led to, the lineage what other commands led to; what is taken is a state that
// writes what it read. Both apart, because who alters a record may know how to write
// another lineage.
func TestAlteredSnapshotsAreHeldAgainstTheRules(t *testing.T) {
	good := snapshotBytes(t, everything(t).s)
	all := altered.Records(t, good)
	if got := altered.Assemble(t, good, all); !bytes.Equal(got, good) {
		t.Fatal("a snapshot that is only taken apart is another one")
	}
	verdicts := map[string]map[string]bool{} // of what was done
	try := func(what string, records []*storepb.Record) {
		t.Helper()
		changed := altered.Assemble(t, good, records)
		verdict := "rule"
		switch s, err := ReadSnapshot(bytes.NewReader(changed)); {
		case errors.Is(err, errLineage):
			verdict = "lineage"
		case err == nil:
			verdict = "taken"
			if again := snapshotBytes(t, reread(t, s)); !bytes.Equal(again, snapshotBytes(t, s)) {
				t.Errorf("%s: read again it is another state", what)
			}
		}
		if verdicts[what] == nil {
			verdicts[what] = map[string]bool{}
		}
		verdicts[what][verdict] = true
	}
	with := func(i int, r ...*storepb.Record) []*storepb.Record {
		return slices.Concat(all[:i], r, all[i+1:])
	}
	for i, r := range all {
		name := string(r.ProtoReflect().WhichOneof(r.ProtoReflect().Descriptor().Oneofs().Get(0)).Name())
		altered.EachField(r, func(what string, changed *storepb.Record) {
			if strings.HasPrefix(what, "End.") && !strings.HasPrefix(what, "End.mac") {
				return // the checksums, which Assemble makes right
			}
			try(name+": "+what, with(i, changed))
		})
		try(name+": dropped", with(i))
		try(name+": twice", with(i, r, r))
	}
	var lines []string
	for what, v := range verdicts {
		lines = append(lines, fmt.Sprintf("%-20s %s\n", strings.Join(slices.Sorted(maps.Keys(v)), "|"), what))
	}
	slices.Sort(lines)
	path, got := filepath.Join("testdata", "rules.txt"), strings.Join(lines, "")
	if *updateRules {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if !strings.Contains(string(want), line) {
			t.Errorf("now (-update-rules writes it): %s", line)
		}
	}
	for line := range strings.Lines(string(want)) {
		if !slices.Contains(lines, line) {
			t.Errorf("was: %s", line)
		}
	}
}
