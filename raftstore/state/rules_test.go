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

// unruled are the fields of records of which rules.txt shows no refusal, and why: a rule
// bounds them more widely than by one, or any value is what a command may say. What is
// altered within that is found by the sum of records and by the MAC of a backup.
var unruled = map[string]string{
	"StagePart.stage_id":              "as for staging it (checkPart), and that of its stage: a stage without its first part is tried below",
	"StagePart.part":                  "as for staging it (checkPart): a stage without its first part is tried below",
	"StagePart.revoke":                "as for staging it (checkPart): TestStages has a part of neither",
	"StagePart.withdraw":              "as for staging it (checkPart): TestStages has a part of neither",
	"Revoke.kind":                     "its commit checks it, as it would have; another than that of the parts before it is refused (checkPart)",
	"Revoke.mesh":                     "its commit checks it, as it would have; another than that of the parts before it is refused (checkPart)",
	"Withdraw.kind":                   "its commit checks it, as it would have; another than that of the parts before it is refused (checkPart)",
	"Withdraw.mesh":                   "its commit checks it, as it would have; another than that of the parts before it is refused (checkPart)",
	"LineMark.index":                  "in order and up to the last command (checkHeader), tried below",
	"LineMark.at_ms":                  "in order and up to the last command (checkHeader), tried below",
	"MeshRecord.modified_ms":          "not before it was made and up to the last change (checkTimes)",
	"Header.offset":                   "any up to the last index: how far a restored log was ahead",
	"Header.floor":                    "up to the last index and before every tombstone, tried below",
	"Header.watermark_ms":             "any up to the last change",
	"Header.history_index":            "up to the last change, tried below",
	"Constraints.max_lifetime_s":      "any between 0 and a bound (constraintsFrom)",
	"ZoneRecord.relay_max_validity_s": "any between 0 and a bound (zoneFrom)",
	"Loss.applied":                    "any before the history that was begun for it",
	"RevokedID.id":                    "any text that can be an id (validateRevoked), once in its list: tried below",
	"Header.cluster_id":               "any text of 1 to 64 characters; a member takes no other cluster's snapshot, and a restore names it",
	"CutOffRecord.reason":             "free text; its length is bounded (checkMade)",
	"CutOffRecord.by":                 "free text; its length is bounded (checkMade)",
	"Revocations.reason":              "free text; its length is bounded (checkMade)",
	"Revocations.by":                  "free text; its length is bounded (checkMade)",
	"KeyRecord.by":                    "free text; its length is bounded (checkMade)",
	"Expelled.subject":                "free text; its length is bounded",
	"Expelled.reason":                 "free text; its length is bounded",
	"Expelled.by":                     "free text; its length is bounded",
	"Loss.shown_by":                   "free text; its length is bounded (checkShown)",
	"Result.detail":                   "what a refusal said, shown to who asked; nothing decides by it",
	"Result.hint":                     "what a refusal said, shown to who asked; nothing decides by it",
	"Result.reason":                   "what a refusal said, shown to who asked; nothing decides by it",
	"Result.field":                    "what a refusal said, shown to who asked; nothing decides by it",
	"ZoneRecord.enabled":              "either is what a command may say",
	"ZoneRecord.deleted":              "either is what a command may say",
	"Constraints.allow_no_expiry":     "either is what a command may say",
	"Constraints.allow_no_id":         "either is what a command may say",
	"Sealed.nonce":                    "what is sealed is opened by who has the seal key; that a part of it is missing is refused",
	"Sealed.ciphertext":               "what is sealed is opened by who has the seal key; that a part of it is missing is refused",
	"Sealed.seal_key_id":              "what is sealed is opened by who has the seal key; that a part of it is missing is refused",
	"Position.vocabulary":             "who holds a position knows what it was told in; Apply asks nothing of it",
	"Position.generation":             "its MAC was checked by the proposer, and is not again",
	"Position.mac":                    "its MAC was checked by the proposer, and is not again; its length is bounded (checkShown)",
	"StagedRestore.data":              "the commit checks it as a whole; its length is bounded (checkRestorePart)",
	"End.mac":                         "a restore checks it under the cluster secret, and no snapshot has one",
	"End.records":                     "a checksum, which is compared (TestSnapshotRefusesEveryFlippedBit)",
	"End.sha256":                      "a checksum, which is compared (TestSnapshotRefusesEveryFlippedBit)",
	"Withdraw.ids":                    "its commit checks it, as it would have",
	"Revoke.reason":                   "its commit checks it, as it would have",
	"Revoke.ids":                      "its commit checks it, as it would have",
	"RevokedID.expires_s":             "of a stage its commit checks it; else validateRevoked",
}

// TestEachFieldHasARuleOrAReason: a field of a record that somebody adds is bounded by what a
// command may say, or it is stated why not.
func TestEachFieldHasARuleOrAReason(t *testing.T) {
	verdicts, err := os.ReadFile(filepath.Join("testdata", "rules.txt"))
	if err != nil {
		t.Fatal(err)
	}
	ruled := map[string]bool{}
	for line := range strings.Lines(string(verdicts)) {
		if f := strings.Fields(line); strings.Contains(f[0], "rule") {
			ruled[f[2]] = true
		}
	}
	fields := map[string]bool{}
	paths(new(storepb.Record).ProtoReflect().Descriptor(), nil, func(p fieldPath) {
		if len(p) > 1 {
			fields[nameOf(p.last())] = true
		}
	})
	for f := range fields {
		if !ruled[f] && unruled[f] == "" {
			t.Errorf("%s: no rule refuses any alteration of it. Bound it by what a command may say, or say in unruled why not", f)
		}
	}
	for f := range unruled {
		if !fields[f] {
			t.Errorf("unruled names %s, which is none", f)
		}
	}
}

// TestWhatNoCommandLeadsToIsRefused: records each of which is good by itself, with every
// checksum and the sum of records right.
func TestWhatNoCommandLeadsToIsRefused(t *testing.T) {
	c := everything(t)
	good := snapshotBytes(t, c.s)
	at := c.s.Revision().Index
	header := func(change func(h *storepb.Header)) func([]*storepb.Record) []*storepb.Record {
		return func(a []*storepb.Record) []*storepb.Record { change(a[0].GetHeader()); return a }
	}
	add := func(more ...*storepb.Record) func([]*storepb.Record) []*storepb.Record {
		return func(a []*storepb.Record) []*storepb.Record { return slices.Insert(a, len(a)-1, more...) }
	}
	drop := func(of func(*storepb.Record) bool) func([]*storepb.Record) []*storepb.Record {
		return func(a []*storepb.Record) []*storepb.Record { return slices.DeleteFunc(a, of) }
	}
	tomb := func(s *storepb.Tombstone) *storepb.Record {
		s.Index, s.AtMs = at, testTime
		return &storepb.Record{What: &storepb.Record_Tombstone{Tombstone: s}}
	}
	removed := func(kind, kid string) *storepb.Record {
		return tomb(&storepb.Tombstone{RemovedKey: &storepb.KeyRef{Kind: kind, Kid: kid}})
	}
	revoked := func(index uint64, mesh, id string) *storepb.Record {
		r := &storepb.Revocations{Kind: "user", Mesh: mesh, Index: index, By: "x", AtMs: 1, Ids: []*storepb.RevokedID{{Id: id}}}
		if mesh != "" {
			r.Kind = "dataplane"
		}
		return &storepb.Record{What: &storepb.Record_Revocations{Revocations: r}}
	}
	cut := func(kind string) *storepb.Record {
		return &storepb.Record{What: &storepb.Record_CutOff{CutOff: &storepb.CutOffRecord{Id: &storepb.KeyRef{Kind: kind}, BeforeS: 5, Index: at}}}
	}
	stage := func(id string, part uint32) *storepb.Record {
		return &storepb.Record{What: &storepb.Record_Stage{Stage: &storepb.Stage{Id: id, BegunMs: 1, Parts: []*storepb.StagePart{
			{StageId: id, Part: part, Revoke: &storepb.Revoke{Kind: "zone"}}}}}}
	}
	for what, change := range map[string]func([]*storepb.Record) []*storepb.Record{
		"a tombstone of a key that is there":   add(removed("user", "2")),
		"a tombstone of no kid":                add(removed("zone", "a b,\x00")),
		"a tombstone of a serial never used":   add(removed("zone", "777")),
		"a tombstone of serial 0":              add(removed("zone", "0")),
		"a tombstone of a registered user key": add(removed("user", "ci")),
		"a tombstone twice":                    add(removed("zone", "gone"), removed("zone", "gone")),
		"a tombstone before its key": func(a []*storepb.Record) []*storepb.Record {
			at := slices.IndexFunc(a, func(r *storepb.Record) bool { return r.GetKey() != nil })
			return slices.Insert(a, at, removed("user", "2"))
		},
		"a tombstone of two things":              add(tomb(&storepb.Tombstone{RemovedKey: &storepb.KeyRef{Kind: "zone", Kid: "gone"}, CutOff: &storepb.KeyRef{Kind: "control-plane"}})),
		"a tombstone of a key, with an id":       add(tomb(&storepb.Tombstone{RemovedKey: &storepb.KeyRef{Kind: "zone", Kid: "gone"}, Id: "x"})),
		"an id revoked twice":                    add(revoked(at-1, "", "x"), revoked(at, "", "x")),
		"an id revoked twice in one change":      add(revoked(at, "", "x"), revoked(at, "", "x")),
		"an id revoked and withdrawn":            add(revoked(at-1, "", "x"), tomb(&storepb.Tombstone{Kind: "user", Id: "x"})),
		"an id withdrawn twice":                  add(tomb(&storepb.Tombstone{Kind: "user", Id: "x"}), tomb(&storepb.Tombstone{Kind: "user", Id: "x"})),
		"one change in two places":               add(revoked(at, "", "x"), revoked(at-1, "", "y"), revoked(at, "", "z")),
		"a revocation in a mesh that never was":  add(revoked(at, "nomesh", "x")),
		"a cut-off in a mesh that never was":     add(tomb(&storepb.Tombstone{CutOff: &storepb.KeyRef{Kind: "dataplane", Mesh: "nomesh"}})),
		"a cut-off and its withdrawal":           add(cut("control-plane"), tomb(&storepb.Tombstone{CutOff: &storepb.KeyRef{Kind: "control-plane"}})),
		"a withdrawal and its cut-off":           add(tomb(&storepb.Tombstone{CutOff: &storepb.KeyRef{Kind: "control-plane"}}), cut("control-plane")),
		"a withdrawal of a cut-off twice":        add(tomb(&storepb.Tombstone{CutOff: &storepb.KeyRef{Kind: "control-plane"}}), tomb(&storepb.Tombstone{CutOff: &storepb.KeyRef{Kind: "control-plane"}})),
		"a gap in the generations of the secret": add(&storepb.Record{What: &storepb.Record_Secret{Secret: &storepb.ClusterSecret{Generation: 4, Sealed: fakeSealed()}}}),
		"a generation that nobody can have reached": func(a []*storepb.Record) []*storepb.Record {
			return add(&storepb.Record{What: &storepb.Record_Secret{Secret: &storepb.ClusterSecret{Generation: 4_000_000_000, Sealed: fakeSealed()}}})(drop(func(r *storepb.Record) bool { return r.GetSecret() != nil })(a))
		},
		"a part of no restore":           add(&storepb.Record{What: &storepb.Record_StagedRestore{StagedRestore: &storepb.StagedRestore{}}}),
		"a part of another restore":      add(&storepb.Record{What: &storepb.Record_StagedRestore{StagedRestore: &storepb.StagedRestore{Id: "other", BegunMs: 1, Data: []byte("x")}}}),
		"no stage":                       add(&storepb.Record{What: &storepb.Record_Stage{Stage: &storepb.Stage{Id: "", By: strings.Repeat("x", 9999)}}}),
		"a stage without its first part": add(stage("s7", 1)),
		"more stages than there may be":  add(stage("t1", 0), stage("t2", 0), stage("t3", 0), stage("t4", 0), stage("t5", 0), stage("t6", 0), stage("t7", 0)),
		"no loss":                        add(&storepb.Record{What: &storepb.Record_Loss{Loss: &storepb.Loss{}}}),
		"no serials":                     drop(func(r *storepb.Record) bool { return r.GetKey() != nil || r.GetSerial() != nil }),
		"a former seal key that is the present one": func(a []*storepb.Record) []*storepb.Record {
			for _, r := range a {
				if k := r.GetSealCheck(); k != nil {
					k.FormerIds = append(k.FormerIds, k.Sealed.SealKeyId)
				}
			}
			return a
		},
		"an index that marks a withdrawal":     header(func(h *storepb.Header) { h.Applied = 1<<64 - 1 }),
		"an index behind the last command":     header(func(h *storepb.Header) { h.Applied++ }),
		"a time at the end of the world":       header(func(h *storepb.Header) { h.TimeMs = 1 << 62 }),
		"a time before what it stamped":        header(func(h *storepb.Header) { h.TimeMs = testTime - 1; h.WatermarkMs = 0 }),
		"another lineage":                      header(func(h *storepb.Header) { h.Lineage = make([]byte, 32) }),
		"a revision before what zones see":     header(func(h *storepb.Header) { h.Revision, h.HistoryIndex = 1, 1 }),
		"no revision":                          header(func(h *storepb.Header) { h.Revision, h.HistoryIndex = 0, 0 }),
		"a history that begins behind its end": header(func(h *storepb.Header) { h.HistoryIndex = h.Revision + 1 }),
		"a floor above its tombstones":         header(func(h *storepb.Header) { h.Floor = at }),
		"a floor above the table of lineages":  header(func(h *storepb.Header) { h.LinesFloor = at + 1 }),
		"a loss that was proved in the future": header(func(h *storepb.Header) { h.ProvedMs = h.TimeMs + 1 }),
		"marks that are not in order":          header(func(h *storepb.Header) { h.LineMarks = append(h.LineMarks, &storepb.LineMark{AtMs: 1, Index: 1}) }),
		"no table of lineages":                 drop(func(r *storepb.Record) bool { return r.GetLines() != nil }),
		"records of a cluster never founded":   header(func(h *storepb.Header) { h.ClusterId = "" }),
		"a registered key that is blocked": func(a []*storepb.Record) []*storepb.Record {
			for _, r := range a {
				if k := r.GetKey(); k.GetRegistered() != nil {
					k.Blocked = true
				}
			}
			return a
		},
	} {
		all := change(altered.Records(t, good))
		rs := newRestorer() // whoever changes records can write their sum
		if _, _, err := scanSnapshot(bytes.NewReader(altered.Assemble(t, good, all)), rs.add); err == nil {
			rs.end()
			all[0].GetHeader().RecordsSum = rs.state.sum.Append(nil)
		}
		if _, err := ReadSnapshot(bytes.NewReader(altered.Assemble(t, good, all))); err == nil || errors.Is(err, errLineage) {
			t.Errorf("%s: %v", what, err)
		} else {
			t.Logf("%s: %v", what, err)
		}
	}
}
