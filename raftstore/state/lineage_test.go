package state

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/setsum"
	"github.com/meridiankds/meridian/raftstore/ptree"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// frozenLineage has the canonical form of each record, and the lineage after a few
// commands. A line that is there never changes: members of two versions would differ.
//
//go:embed testdata/lineage.txt
var frozenLineage string

// allSet sets every field of a message, to values that follow from their numbers.
func allSet(m protoreflect.Message) protoreflect.Message {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.ContainingOneof() != nil {
			continue
		}
		n := int(f.Number())
		var v protoreflect.Value
		switch f.Kind() {
		case protoreflect.BoolKind:
			v = protoreflect.ValueOfBool(true)
		case protoreflect.StringKind:
			v = protoreflect.ValueOfString(fmt.Sprintf("text-%d", n))
		case protoreflect.BytesKind:
			v = protoreflect.ValueOfBytes(bytes.Repeat([]byte{byte(n)}, n))
		case protoreflect.Uint32Kind:
			v = protoreflect.ValueOfUint32(uint32(n))
		case protoreflect.Uint64Kind:
			v = protoreflect.ValueOfUint64(uint64(n) << 40)
		case protoreflect.Int64Kind:
			v = protoreflect.ValueOfInt64(-int64(n) << 40)
		case protoreflect.MessageKind:
			if f.IsList() {
				m.Mutable(f).List().Append(protoreflect.ValueOfMessage(allSet(m.Mutable(f).List().NewElement().Message())))
				continue
			}
			v = protoreflect.ValueOfMessage(allSet(m.NewField(f).Message()))
		}
		if f.IsList() {
			m.Mutable(f).List().Append(v)
			continue
		}
		m.Set(f, v)
	}
	return m
}

func TestTheLineageIsFrozen(t *testing.T) {
	var have []string
	kinds := new(storepb.Record).ProtoReflect().Descriptor().Oneofs().Get(0).Fields()
	for i := range kinds.Len() {
		m := allSet(new(storepb.Record).ProtoReflect().NewField(kinds.Get(i)).Message())
		have = append(have, fmt.Sprintf("%s %x", kinds.Get(i).Message().Name(), record(nil, m.Interface())))
	}
	have = append(have, fmt.Sprintf("Result %x", record(nil, allSet(new(storepb.Result).ProtoReflect()).Interface())))
	list := listID{cptoken.Dataplane, "shop"}
	have = append(have,
		fmt.Sprintf("id %x", recordID(list)(nil, "text", idEntry{mark: 7 | withdrawnMark, expires: 9})),
		fmt.Sprintf("uuid %x", recordUUID(list)(nil, cptoken.UUID{1, 2}, idEntry{mark: 7, expires: 9})),
		fmt.Sprintf("position %x", PositionText(allSet(new(storepb.Position).ProtoReflect()).Interface().(*storepb.Position))))
	s := NewState()
	for i, cmd := range []*storepb.Command{
		{Level: 4, TimeMs: testTime, Op: &storepb.Command_Found{Found: &storepb.Found{
			ClusterId: "c", History: &storepb.History{Id: historyID(1), CreatedMs: testTime},
			SealCheck: &storepb.SealCheck{Sealed: &storepb.Sealed{SealKeyId: "k", Ciphertext: []byte("x")}}, Meshes: []string{"default"},
		}}},
		{Level: 1, RequestId: "r", By: "ann", TimeMs: testTime + 1, Op: cmdRevoke(cptoken.Zone, "", 0, "a", "00010000-0000-0000-0000-000000000000").Op},
		{Level: 1, TimeMs: testTime + 2, Op: cmdMesh("default", 1).Op},
		{Level: 1, TimeMs: testTime + 3, Op: cmdRevoke(cptoken.Zone, "a mesh", 0, "b").Op}, // refused
		{Level: 1, TimeMs: testTime + 4, Op: cmdPrune(testTime).Op},
	} {
		data := []byte(fmt.Sprint("entry ", i)) // what is hashed are bytes of the log
		result := s.execute(uint64(i+1), cmd)
		s.extend(s.lineage, sha(data), result)
		have = append(have, fmt.Sprintf("lineage %d %x", i+1, s.lineage))
	}
	want := strings.Split(strings.TrimSpace(frozenLineage), "\n")
	for i := range max(len(have), len(want)) {
		if i >= len(have) || i >= len(want) || have[i] != want[i] {
			t.Fatalf("line %d of testdata/lineage.txt differs; all of it now:\n%s", i+1, strings.Join(have, "\n"))
		}
	}
}

// unrecorded are trees whose entries are not records: what is in them follows from
// records, or from commands that the lineage has.
var unrecorded = []string{
	"log",   // which record changed when: each record has its index
	"lists", // their ids are records
	"ages",  // by requests, which are
}

// TestEveryTreeCounts: a tree that somebody adds counts in the sum of records.
func TestEveryTreeCounts(t *testing.T) {
	s := reflect.ValueOf(*NewState())
	found := 0
	for i := range s.NumField() {
		name := s.Type().Field(i).Name
		if !strings.HasPrefix(s.Field(i).Type().Name(), "Tree[") {
			continue
		}
		found++
		if has := !s.Field(i).FieldByName("record").IsNil(); has == slices.Contains(unrecorded, name) {
			t.Errorf("tree %s: its entries are records: %t", name, has)
		}
	}
	if found < 10 {
		t.Fatalf("%d trees", found)
	}
	l := NewState().list(listID{cptoken.Zone, ""})
	if !l.uuids.Recorded() || !l.others.Recorded() {
		t.Error("ids are no records")
	}
}

// TestTheSumFollowsEachWrite holds the sum against that of a tree made anew.
func TestTheSumFollowsEachWrite(t *testing.T) {
	var sum setsum.Sum
	e := ptree.NewEdit(&sum)
	record := func(b []byte, k, v int) []byte { return fmt.Appendf(b, "%d=%d", k, v) }
	tr := ptree.NewRecords(cmp.Compare[int], record)
	for i := range 5000 {
		if i%3 == 2 {
			tr.Del(e, i*7%500)
		} else {
			tr.Set(e, i*13%700, i)
		}
	}
	var again setsum.Sum
	e2 := ptree.NewEdit(&again)
	fresh := ptree.NewRecords(cmp.Compare[int], record)
	for k, v := range tr.All() {
		fresh.Set(e2, k, v)
	}
	if sum != again || sum == (setsum.Sum{}) {
		t.Errorf("the sum is %x, made anew %x", sum, again)
	}
	for k := range fresh.All() {
		tr.Del(e, k)
	}
	if sum != (setsum.Sum{}) {
		t.Errorf("the sum of nothing is %x", sum)
	}
}

// TestADifferenceShowsAtTheNextCommand: two members that applied the same commands have
// the same lineage, and one whose record is another has another from then on.
func TestADifferenceShowsAtTheNextCommand(t *testing.T) {
	a := fullCore(t)
	b := &core{t: t, s: reread(t, a.s), index: a.index, now: a.now}
	next := func() (same bool) {
		cmd := cmdRevoke(cptoken.User, "", 0, randomUUID())
		a.ok(cmd)
		b.ok(cmd)
		return a.s.lineage == b.s.lineage
	}
	if !next() {
		t.Fatal("a state that went through a snapshot has another lineage")
	}
	for what, change := range map[string]func(s *State){
		"a zone": func(s *State) { s.zones.Set(s.edit, "odd", &federation.Zone{Name: "odd"}) },
		"an id": func(s *State) {
			l := s.list(listID{cptoken.Zone, ""})
			l.others.Set(s.edit, "odd", idEntry{mark: 5})
			s.lists.Set(s.edit, listID{cptoken.Zone, ""}, l)
		},
		"a key":     func(s *State) { s.keys.Del(s.edit, cptoken.KeyID{Kind: cptoken.Zone, KID: "2"}) },
		"the floor": func(s *State) { s.floor++ },
	} {
		b.s.share()
		change(b.s)
		if next() {
			t.Errorf("%s that differs leaves the lineage as it is", what)
		}
		b.s = reread(t, a.s)
	}
}

func TestPlaceOf(t *testing.T) {
	c := newCore(t)
	was := c.s.Position(1)
	for range 3 {
		c.ok(cmdRevoke(cptoken.Zone, "", 0, randomUUID()))
	}
	head := c.s.Position(1)
	other := slices.Clone(head.Lineage)
	other[0] ^= 1
	history, older := c.s.history, federation.History{ID: historyID(7), Created: 1}
	tests := []struct {
		name    string
		history federation.History
		index   uint64
		lineage []byte
		want    Place
	}{
		{"an earlier position", history, was.Index, was.Lineage, InPast},
		{"the head", history, head.Index, head.Lineage, InPast},
		{"between two commands", history, head.Index, head.Lineage, InPast},
		{"beyond the head", history, head.Index + 1, head.Lineage, Ahead},
		{"another past at an index", history, head.Index, other, Absent},
		{"another past at an earlier index", history, was.Index, head.Lineage, Absent},
		{"another history", older, head.Index, head.Lineage, Unknown},
		{"before the table", history, was.Index - 1, was.Lineage, Unknown},
		{"no lineage", history, was.Index, nil, Unknown},
	}
	for _, tt := range tests {
		if got := c.s.PlaceOf(tt.history, tt.index, tt.lineage); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
		if got := reread(t, c.s).PlaceOf(tt.history, tt.index, tt.lineage); got != tt.want {
			t.Errorf("%s, after a snapshot: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// TestTheTableForgets: after 30 days, and its floor rises.
func TestTheTableForgets(t *testing.T) {
	c := newCore(t)
	old := c.s.Position(1)
	c.ok(cmdPrune(c.now))
	for range 40 {
		c.now += 24 * 3600 * 1000
		c.ok(cmdRevoke(cptoken.Zone, "", 0, randomUUID()))
		c.ok(cmdPrune(c.now))
	}
	if got := c.s.PlaceOf(c.s.history, old.Index, old.Lineage); got != Unknown {
		t.Errorf("a position of 40 days ago is %d", got)
	}
	if n := c.s.lines.at.Len(); n < 55 || n > 65 {
		t.Errorf("the table has %d entries, two a day for 30 days", n)
	}
	head := c.s.Position(1)
	if got := c.s.PlaceOf(c.s.history, head.Index, head.Lineage); got != InPast {
		t.Errorf("the head is %d", got)
	}
}

// lost is a state that went back, and a position of what it was.
func lost(t *testing.T) (*core, *storepb.Position) {
	c := newCore(t)
	back := reread(t, c.s)
	c.ok(cmdRevoke(cptoken.Zone, "", 0, "lost"))
	position := c.s.Position(1)
	c.s, c.index = back, c.index-1
	return c, position
}

func cmdProve(p *storepb.Position, n byte, at int64) *storepb.Command {
	return &storepb.Command{Op: &storepb.Command_ProveLoss{ProveLoss: &storepb.ProveLoss{
		Position: p, ShownBy: "zone west", History: &storepb.History{Id: historyID(n), CreatedMs: at},
	}}}
}

func TestAProofOfLossBeginsAHistory(t *testing.T) {
	for name, more := range map[string]int{"ahead": 0, "absent": 3} {
		t.Run(name, func(t *testing.T) {
			c, position := lost(t)
			for range more {
				c.ok(cmdRevoke(cptoken.Zone, "", 0, randomUUID()))
			}
			former, serial := c.s.history, c.s.NextSerial(cptoken.Zone, "")
			c.refused(federation.Conflict, "", cmdProve(position, 2, former.Created-1))
			c.ok(cmdProve(position, 2, former.Created+1))
			if c.s.history == former || c.s.revision != c.index || c.s.began != c.index {
				t.Errorf("revision %s", c.s.Revision())
			}
			if got := c.s.NextSerial(cptoken.Zone, ""); got != serial+serialGap {
				t.Errorf("the next serial is %d after %d", got, serial)
			}
			if l := c.s.Losses(); len(l) != 1 || l[0].Position.Index != position.Index || l[0].ShownBy != "zone west" {
				t.Errorf("losses %v", l)
			}
			// The same position proves nothing any more: it is of a former history.
			c.refused(federation.Conflict, "no_loss", cmdProve(position, 3, former.Created+2))
		})
	}
}

func TestWhatIsInThePastProvesNothing(t *testing.T) {
	c := newCore(t)
	c.ok(cmdRevoke(cptoken.Zone, "", 0, "a"))
	c.refused(federation.Conflict, "no_loss", cmdProve(c.s.Position(1), 2, testTime+1))
	stranger := c.s.Position(1)
	stranger.ClusterId, stranger.Lineage = "another", make([]byte, 8)
	c.refused(federation.Conflict, "no_loss", cmdProve(stranger, 2, testTime+1))
}

func TestProofsBeginOneHistoryAnHour(t *testing.T) {
	c, position := lost(t)
	c.ok(cmdProve(position, 2, testTime+1))
	again := func() *storepb.Position {
		p := c.s.Position(1)
		p.Lineage = make([]byte, 8)
		return p
	}
	c.refused(federation.Conflict, "loss_limit", cmdProve(again(), 3, testTime+2))
	c.now += provedEvery.Milliseconds()
	c.ok(cmdProve(again(), 3, testTime+2))
	c.refused(federation.Conflict, "loss_limit", cmdProve(again(), 4, testTime+3))
	if r := c.ok(&storepb.Command{Op: &storepb.Command_ConfirmLoss{ConfirmLoss: &storepb.ConfirmLoss{}}}); r.Changed == 0 || len(c.s.Losses()) > 0 {
		t.Errorf("confirmed: %v, left %v", r, c.s.Losses())
	}
	c.ok(cmdProve(again(), 4, testTime+3))
	adopt := &storepb.ConfirmLoss{Adopt: &storepb.History{Id: historyID(5), CreatedMs: testTime + 4}}
	c.ok(&storepb.Command{Op: &storepb.Command_ConfirmLoss{ConfirmLoss: adopt}})
	if c.s.history.ID != historyID(5) || len(c.s.Losses()) > 0 {
		t.Errorf("history %v, losses %v", c.s.history, c.s.Losses())
	}
}

func TestABlockedKeyStaysBlocked(t *testing.T) {
	c := newCore(t)
	block := &storepb.Command{Op: &storepb.Command_BlockKey{BlockKey: step(cptoken.Zone, "", 1)}}
	c.ok(block)
	if r := c.ok(block); r.Changed != 0 {
		t.Error("blocking again changed something")
	}
	if k := reread(t, c.s).Active(cptoken.Zone, ""); k == nil || !k.Blocked {
		t.Errorf("key %+v", k)
	}
}

// TestARegisteredKeyIsNotBlocked, on any level: no snapshot with one that is blocked is taken.
func TestARegisteredKeyIsNotBlocked(t *testing.T) {
	for level := uint32(LevelLineage); level <= Level; level++ {
		c := newCore(t)
		c.ok(&storepb.Command{Op: &storepb.Command_RegisterKey{RegisterKey: &storepb.RegisterKey{
			Id: &storepb.KeyRef{Kind: "zone", Kid: "ci"}, Alg: cptoken.AlgRS256, PublicDer: testDER(), Constraints: &storepb.Constraints{Zones: []string{"west"}, Scopes: []string{"ingress"}}}}})
		c.s.level = level
		c.refused(federation.Conflict, "", &storepb.Command{Op: &storepb.Command_BlockKey{BlockKey: &storepb.KeyStep{Kind: "zone", Kid: "ci"}}})
		reread(t, c.s)
	}
}

func sha(data []byte) [32]byte { return [32]byte(sha256Of(data)) }

// TestAQuietClusterProvesWhereItStands: what was pruned for longer than the table remembers
// leaves the lineage at the revision, where zones stand.
func TestAQuietClusterProvesWhereItStands(t *testing.T) {
	c := newCore(t)
	stands := c.s.Position(1)
	for range 50 {
		c.now += 24 * 3600 * 1000
		c.ok(cmdPrune(c.now))
	}
	if now := c.s.Position(1); now == nil || now.Index != stands.Index {
		t.Fatalf("the cluster stands at %v, was at %v", now, stands)
	}
	if got := c.s.PlaceOf(c.s.history, stands.Index, stands.Lineage); got != InPast {
		t.Errorf("where zones stand is %d", got)
	}
}

// TestASnapshotWithOtherRecordsIsRefused although its checksums are right: the records are
// not those that its lineage is of.
func TestASnapshotWithOtherRecordsIsRefused(t *testing.T) {
	c := fullCore(t)
	c.s.share()
	sum := c.s.sum
	c.s.zones.Set(c.s.edit, "odd", &federation.Zone{Name: "odd"})
	c.s.sum = sum // as a member would write it whose tree is damaged
	if _, err := ReadSnapshot(bytes.NewReader(snapshotBytes(t, c.s))); err == nil || !strings.Contains(err.Error(), "lineage") {
		t.Errorf("read: %v", err)
	}
}

// TestWhatAZoneMayKeepCanBeWithdrawn: after a loss a zone refuses more than the list has. What
// is not there, was withdrawn by the former history, or is a cut-off that is not there, can be
// withdrawn, once, and is sent.
func TestWhatAZoneMayKeepCanBeWithdrawn(t *testing.T) {
	before := &storepb.Command{Op: &storepb.Command_WithdrawCutOff{WithdrawCutOff: &storepb.WithdrawCutOff{
		Id: KeyRef(cptoken.KeyID{Kind: cptoken.Zone, KID: "1"})}}}
	for name, test := range map[string]struct {
		cmd   *storepb.Command
		since uint32
		want  func(cptoken.Change) bool
	}{
		"an id that is not there": {cmdWithdraw(cptoken.Zone, "", "lost"), LevelLineage,
			func(c cptoken.Change) bool { return c.Withdrawn != nil && c.Withdrawn.IDs[0].ID == "lost" }},
		"an id that the former history withdrew": {cmdWithdraw(cptoken.Zone, "", "former"), LevelWithdrawals,
			func(c cptoken.Change) bool { return c.Withdrawn != nil && c.Withdrawn.IDs[0].ID == "former" }},
		"a cut-off that is not there": {before, LevelWithdrawals,
			func(c cptoken.Change) bool { return c.CutOffWithdrawn != nil && c.CutOffWithdrawn.KID == "1" }},
	} {
		for _, level := range []uint32{test.since, test.since - 1} {
			if level < LevelLineage {
				continue
			}
			t.Run(fmt.Sprintf("%s, at level %d", name, level), func(t *testing.T) {
				c := newCore(t)
				c.ok(cmdRevoke(cptoken.Zone, "", 0, "former", "other"))
				c.ok(cmdWithdraw(cptoken.Zone, "", "former", "other"))
				back := reread(t, c.s)
				c.ok(cmdRevoke(cptoken.Zone, "", 0, "former", "lost"))
				position := c.s.Position(1)
				c.s, c.index = back, c.index-1
				c.ok(cmdProve(position, 2, c.s.history.Created+1))
				c.s.level = level
				rev, from := c.s.Revision(), c.s.revision
				c.ok(test.cmd)
				sent, err := c.s.Since(rev)
				if err != nil {
					t.Fatal(err)
				}
				got := 0
				for change := range sent.Changes {
					if test.want(change) {
						got++
					}
				}
				want := 1
				if level < test.since {
					want = 0
				}
				if moved := c.s.revision > from; got != want || moved != (want == 1) {
					t.Errorf("%d changes are sent, want %d; the revision moved: %v", got, want, moved)
				}
				from = c.s.revision
				c.ok(test.cmd)
				if again := c.s.revision > from; again {
					t.Error("the same once more is a change again")
				}
				reread(t, c.s)
			})
		}
	}
}
