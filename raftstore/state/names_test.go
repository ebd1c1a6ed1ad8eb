package state

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"go/ast"
	"go/types"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// TestNamesOfALevel: what is a name is frozen for each level, and every command that
// names something asks for that.
func TestNamesOfALevel(t *testing.T) {
	long := strings.Repeat("a", 63)
	for name, since := range map[string]uint32{
		"west": 1, "a": 1, "0": 1, "us-east-1": 1, "a.b": 1, "a--b": 1, long: 1,
		"z_1": 5, "a_._b": 5, "a__b": 5,
		"": 99, "West": 99, "a/b": 99, "a b": 99, "-a": 99, "a-": 99, ".a": 99, "a.": 99, "a..b": 99, "_a": 99, "a_": 99,
		"ä": 99, "a\x00b": 99, long + "a": 99,
	} {
		for level := uint32(FirstLevel); level <= Level; level++ {
			if got := validName(level, "name", name) == nil; got != (level >= since) {
				t.Errorf("%.70q at level %d: %t", name, level, got)
			}
		}
		if since <= Level && federation.ValidateName("name", name) != nil {
			t.Errorf("%q is a name here and nowhere else", name)
		}
	}
	named := func(name string) map[string]*storepb.Command {
		key := cmdPrepare(cptoken.Dataplane, name, 1).GetPrepareKey()
		return map[string]*storepb.Command{
			"apply zone":  {Op: &storepb.Command_ApplyZone{ApplyZone: &storepb.ApplyZone{Name: name}}},
			"a relay":     {Op: &storepb.Command_ApplyZone{ApplyZone: &storepb.ApplyZone{Name: "west", RelayMeshes: []string{name}}}},
			"see zone":    {Op: &storepb.Command_SeeZone{SeeZone: &storepb.SeeZone{Name: name}}},
			"apply mesh":  {Op: &storepb.Command_ApplyMesh{ApplyMesh: &storepb.ApplyMesh{Name: name, Key: key}}},
			"a bound key": {Op: &storepb.Command_RegisterKey{RegisterKey: &storepb.RegisterKey{Id: &storepb.KeyRef{Kind: "zone", Kid: "ci"}, Alg: cptoken.AlgRS256, PublicDer: testDER(), Constraints: &storepb.Constraints{Zones: []string{name}}}}},
		}
	}
	for level := uint32(FirstLevel); level <= Level; level++ {
		for what, cmd := range named("z_1") {
			c := newCore(t)
			c.s.level = level
			r := c.apply(cmd)
			if taken := r.Code == ""; taken != (level >= LevelNames) {
				t.Errorf("%s of z_1 at level %d: %s %s", what, level, r.Code, r.Detail)
			}
		}
	}
}

// asked are functions of other packages by which Apply judges or keeps something, and
// what holds them. Constructors of errors and methods that only read are not listed.
var asked = map[string]string{
	"cptoken.NewPublicKey":       "TestWhatOthersJudgeIsFrozen",
	"cptoken.ParseUUID":          "TestWhatOthersJudgeIsFrozen",
	"cptoken.SerialKID":          "TestWhatOthersJudgeIsFrozen",
	"cptoken.ValidateKID":        "TestWhatOthersJudgeIsFrozen",
	"cptoken.MaxIDLen":           "TestWhatOthersJudgeIsFrozen",
	"cptoken.PruneAfter":         "TestWhatOthersJudgeIsFrozen",
	"federation.MaxNameLen":      "TestWhatOthersJudgeIsFrozen",
	"federation.MaxReason":       "TestWhatOthersJudgeIsFrozen",
	"federation.MaxRelayMeshes":  "TestWhatOthersJudgeIsFrozen",
	"federation.History.Compare": "TestWhatOthersJudgeIsFrozen",
	"federation.Zone.Admit":      "TestWhatOthersJudgeIsFrozen",

	"federation.Errorf": "words", "federation.InvalidField": "words", "federation.AsError": "words", "federation.CodeOf": "words",
	"cptoken.MaxRun": "how snapshots and sets of changes are cut: a reader takes any run up to it",
}

// TestNothingElseJudges lists, by their types, the functions and constants of packages of
// ours that this one uses, and fails for one that is not known.
func TestNothingElseJudges(t *testing.T) {
	loaded, err := packages.Load(&packages.Config{Mode: packages.NeedName | packages.NeedImports | packages.NeedTypes | packages.NeedSyntax | packages.NeedTypesInfo}, ".")
	if err != nil || len(loaded) != 1 || len(loaded[0].Errors) > 0 {
		t.Fatal(err, loaded)
	}
	p, found := loaded[0], map[string]bool{}
	for _, f := range p.Syntax {
		ast.Inspect(f, func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			if !ok {
				return true
			}
			o := p.TypesInfo.Uses[id]
			if o == nil || o.Pkg() == nil || o.Pkg() == p.Types || !slices.Contains([]string{"cptoken", "federation"}, o.Pkg().Name()) {
				return true
			}
			switch o := o.(type) {
			case *types.Func:
				found[funcName(o)] = true
			case *types.Const:
				// A word is in the vocabulary, or is one that this package checks by name.
				if b, ok := o.Type().Underlying().(*types.Basic); !ok || b.Info()&types.IsString == 0 {
					found[o.Pkg().Name()+"."+o.Name()] = true
				}
			}
			return true
		})
	}
	if len(found) < 8 {
		t.Fatalf("only %v was found: the test would prove nothing", found)
	}
	for name := range found {
		if asked[name] == "" && !slices.Contains(reading, name) {
			t.Errorf("%s: does Apply judge by it? Write the rule here, or freeze what it says and list it in asked", name)
		}
	}
	for _, name := range slices.Concat(reading, slices.Collect(maps.Keys(asked))) {
		if !found[name] {
			t.Errorf("%s is listed and not used", name)
		}
	}
}

// reading are methods that judge nothing that a member keeps.
var reading = []string{
	"cptoken.Kind.Arguments", "cptoken.Kind.TokenName", "cptoken.PublicKey.DER", "cptoken.PublicKey.Fingerprint", "cptoken.PublicKey.WithState",
	"cptoken.UUID.AppendTo", "cptoken.UUID.Compare", "cptoken.UUID.String", "federation.Error.WithHint", "federation.Error.WithReason",
	"federation.Revision.IsZero", "federation.Revision.String",
}

func funcName(f *types.Func) string {
	name := f.Pkg().Name() + "."
	if recv := f.Type().(*types.Signature).Recv(); recv != nil {
		typ := recv.Type()
		if ptr, ok := typ.(*types.Pointer); ok {
			typ = ptr.Elem()
		}
		name += typ.(*types.Named).Obj().Name() + "."
	}
	return name + f.Name()
}

// TestWhatOthersJudgeIsFrozen: a verdict that another version gives otherwise has members
// differ. What is to change needs a level, and a rule here that knows it.
func TestWhatOthersJudgeIsFrozen(t *testing.T) {
	got := fmt.Sprint(federation.MaxNameLen, cptoken.MaxIDLen, federation.MaxReason, federation.MaxRelayMeshes, cptoken.PruneAfter)
	if got != "63 128 500 1000 24h0m0s" {
		t.Errorf("the bounds are %s", got)
	}
	for kid, ok := range map[string]bool{
		"ci": true, "Ci-1_a.b": true, "1a": true, strings.Repeat("k", 128): true,
		"": false, "1": false, "01": false, "a b": false, "ä": false, "a/b": false, strings.Repeat("k", 129): false,
	} {
		if (cptoken.ValidateKID("kid", kid) == nil) != ok {
			t.Errorf("kid %.20q: %t", kid, !ok)
		}
	}
	rsaKey := func(bits, e int) []byte {
		n := new(big.Int).SetBit(big.NewInt(1), bits-1, 1) // no key, but the size of one
		der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n, E: e})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalPKIXPublicKey(ec.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]struct {
		der []byte
		ok  bool
	}{
		"2048": {rsaKey(2048, 65537), true}, "8192": {rsaKey(8192, 65537), true}, "2047": {rsaKey(2047, 65537), false},
		"8193": {rsaKey(8193, 65537), false}, "e 3": {rsaKey(2048, 3), false}, "e even": {rsaKey(2048, 65538), false},
		"EC": {ecDER, false}, "none": {nil, false}, "more behind": {append(rsaKey(2048, 65537), 0), false},
	} {
		_, err := cptoken.NewPublicKey(cptoken.KeyID{Kind: cptoken.Zone, KID: "1"}, cptoken.AlgRS256, cptoken.Active, key.der, nil)
		if (err == nil) != key.ok {
			t.Errorf("public key %s: %v", name, err)
		}
	}
	for id, ok := range map[string]bool{
		"0d4cd35c-8b5e-4ba4-8b8c-0b3d6f6bb5c4": true, "00000000-0000-0000-0000-000000000000": true,
		"0D4CD35C-8B5E-4BA4-8B8C-0B3D6F6BB5C4": false, "0d4cd35c8b5e4ba48b8c0b3d6f6bb5c4": false, "{0d4cd35c-8b5e-4ba4-8b8c-0b3d6f6bb5c}": false,
	} {
		if _, got := cptoken.ParseUUID(id); got != ok {
			t.Errorf("%s is a UUID: %t", id, got)
		}
	}
	if cptoken.SerialKID(7) != "7" || cptoken.SerialKID(1<<63) != "9223372036854775808" {
		t.Error("the kid of a serial is another one")
	}
	for _, z := range []federation.Zone{{Deleted: true, Enabled: true}, {}} {
		if federation.CodeOf(z.Admit()) != federation.Forbidden {
			t.Errorf("%+v: %v", z, z.Admit())
		}
	}
	if (&federation.Zone{Enabled: true}).Admit() != nil {
		t.Error("an enabled zone is refused")
	}
	older, newer, other := federation.History{ID: "b", Created: 1}, federation.History{ID: "a", Created: 2}, federation.History{ID: "c", Created: 1}
	if older.Compare(newer) >= 0 || newer.Compare(older) <= 0 || older.Compare(other) >= 0 || older.Compare(older) != 0 {
		t.Error("histories have another order")
	}
}

// TestWordingIsNoEffect: two versions that word a refusal, or its hint, differently have
// the same lineage, and one that decides otherwise has another.
func TestWordingIsNoEffect(t *testing.T) {
	lineage := func(r *storepb.Result) string {
		s := newCore(t).s
		s.level = Level
		s.keepRequest(r)
		s.extend([32]byte{}, [32]byte{}, r)
		return fmt.Sprintf("%x", s.lineage)
	}
	said := &storepb.Result{Index: 7, Code: "invalid", Detail: "name: is not one", Hint: "use a-z", Reason: "name", Field: "name"}
	reworded := &storepb.Result{Index: 7, Code: "invalid", Detail: "this is no name", Hint: "use a-z and '_'", Reason: "bad_name", Field: "zone"}
	decided := &storepb.Result{Index: 7, Code: "conflict", Detail: said.Detail, Hint: said.Hint, Reason: said.Reason, Field: said.Field}
	if lineage(said) != lineage(reworded) {
		t.Error("another wording is another lineage: members of two versions would stop each other")
	}
	if lineage(said) == lineage(decided) {
		t.Error("another decision is the same lineage")
	}
}

// keepRequest remembers a result under a request id, as a member does.
func (s *State) keepRequest(r *storepb.Result) {
	s.requests.Set(s.edit, "r", &storepb.Request{Id: "r", AtMs: 1, Result: r})
}
