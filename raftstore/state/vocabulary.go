package state

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// Everything that a command, a snapshot or a backup may hold belongs to the vocabulary
// of a feature level: fields (among them operations and records, which are fields of a
// oneof) and, where a field takes words, the words. What is not in it stops the node.
// The tables of other packages may differ between versions; this one may not: a word or
// field that is added gets a level of its own.

// kindRule is what the state knows of a kind of token.
type kindRule struct {
	kind             cptoken.Kind
	since            uint32
	perMesh, atZones bool
}

// kinds are in the order in which they are shown.
var kinds = [...]kindRule{
	{kind: cptoken.ControlPlane, since: FirstLevel},
	{kind: cptoken.Zone, since: FirstLevel, atZones: true},
	{kind: cptoken.Dataplane, since: FirstLevel, perMesh: true, atZones: true},
	{kind: cptoken.User, since: FirstLevel, atZones: true},
}

// certificates is what stands in a list in the place of a kind of token: the keys of
// certificates that were expelled, of which zones are told as of revoked ids.
var certificates = listID{kind: cptoken.Certificate}

// words are what a field may say, with the level that brought each.
type words map[string]uint32

var (
	algorithms = words{cptoken.AlgHS256: FirstLevel, cptoken.AlgRS256: FirstLevel}
	keyStates  = words{string(cptoken.Prepared): FirstLevel, string(cptoken.Active): FirstLevel, string(cptoken.Retiring): FirstLevel}
	scopes     = words{
		string(cptoken.ScopeIngress): FirstLevel, string(cptoken.ScopeEgress): FirstLevel,
		string(cptoken.ScopeCP): FirstLevel, string(cptoken.ScopeDataplane): FirstLevel,
	}
	authModes = words{string(federation.AuthToken): FirstLevel, string(federation.AuthCertificate): FirstLevel, string(federation.AuthNone): FirstLevel}
)

// listWords are the kinds of what has lists of revoked ids.
func listWords() words {
	w := kindWords()
	w[string(certificates.kind)] = LevelCertificates
	return w
}

func kindWords() words {
	w := words{}
	for _, k := range kinds {
		w[string(k.kind)] = k.since
	}
	return w
}

// A fieldRule is for a field that a level after the first brought, or that takes words.
type fieldRule struct {
	since uint32
	words words
}

// fieldRules has the rules by message and field. What is not here is of the first level
// and free text or a number.
var fieldRules = func() map[protoreflect.FullName]map[protoreflect.Name]fieldRule {
	rules := map[protoreflect.FullName]map[protoreflect.Name]fieldRule{}
	add := func(r fieldRule, fields ...protoreflect.FullName) {
		for _, f := range fields {
			f = storepb.File_raftstore_storepb_store_proto.Package() + "." + f
			if rules[f.Parent()] == nil {
				rules[f.Parent()] = map[protoreflect.Name]fieldRule{}
			}
			rules[f.Parent()][f.Name()] = r
		}
	}
	add(fieldRule{words: kindWords()}, "KeyRef.kind", "PrepareKey.kind", "KeyStep.kind", "Revoke.kind", "Withdraw.kind",
		"Serial.kind")
	add(fieldRule{words: listWords()}, "Revocations.kind", "Tombstone.kind")
	add(fieldRule{words: algorithms}, "PrepareKey.alg", "RegisterKey.alg", "KeyRecord.alg")
	add(fieldRule{words: keyStates}, "KeyRecord.state")
	add(fieldRule{words: scopes}, "Constraints.scopes")
	add(fieldRule{words: authModes}, "ApplyZone.auth", "ZoneRecord.auth")
	add(fieldRule{since: LevelOutcomes}, "RegisterKey.replace", "Header.history_index")
	add(fieldRule{since: LevelSecret}, "Command.add_secret", "Found.secret", "Reseal.secrets", "Record.secret", "End.mac")
	add(fieldRule{since: LevelTrust}, "Command.expel", "Command.readmit", "Record.expelled", "SealCheck.former_ids")
	add(fieldRule{since: LevelLineage}, "Command.prove_loss", "Command.confirm_loss", "Command.block_key", "Record.lines", "Record.loss",
		"Header.lineage", "Header.records_sum", "Header.lines_floor", "Header.proved_ms", "Header.line_marks", "KeyRecord.blocked")
	return rules
}()

// unknownWord is a value that is not in the vocabulary. It is an [ErrNewer].
type unknownWord struct {
	field protoreflect.FieldDescriptor
	word  string
}

// Error implements error.
func (e *unknownWord) Error() string {
	return fmt.Sprintf("%s %.40q: %v", e.field.FullName().Parent().Name()+"."+e.field.Name(), e.word, ErrNewer)
}

// Unwrap returns ErrNewer.
func (e *unknownWord) Unwrap() error { return ErrNewer }

// needs returns the feature level that a message needs. It is an ErrNewer where the
// message has a field or a word that is not in the vocabulary of this program's level.
func needs(m protoreflect.Message) (level uint32, err error) {
	if len(m.GetUnknown()) > 0 {
		return 0, fmt.Errorf("%s has fields that this program does not know: %w", m.Descriptor().Name(), ErrNewer)
	}
	level = FirstLevel
	rules := fieldRules[m.Descriptor().FullName()]
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		rule := rules[f.Name()]
		level = max(level, rule.since)
		if f.Kind() == protoreflect.MessageKind || rule.words != nil {
			var inner uint32
			inner, err = eachNeeds(f, v, rule.words)
			level = max(level, inner)
		}
		if err == nil && level > Level {
			err = fmt.Errorf("%s.%s is of feature level %d, this program knows %d: %w", m.Descriptor().Name(), f.Name(), level, Level, ErrNewer)
		}
		return err == nil
	})
	return level, err
}

// eachNeeds is needs for the values of a field, which may be a list.
func eachNeeds(f protoreflect.FieldDescriptor, v protoreflect.Value, w words) (level uint32, err error) {
	one := func(v protoreflect.Value) (uint32, error) {
		if w == nil {
			return needs(v.Message())
		}
		since, ok := w[v.String()]
		if !ok {
			return 0, &unknownWord{f, v.String()}
		}
		return since, nil
	}
	if !f.IsList() {
		return one(v)
	}
	for i, list := 0, v.List(); i < list.Len() && err == nil; i++ {
		var inner uint32
		inner, err = one(list.Get(i))
		level = max(level, inner)
	}
	return level, err
}

// kindOf returns the rule of a kind and its place among the others, nil and -1 for one
// that is not in the vocabulary.
func kindOf(kind cptoken.Kind) (*kindRule, int) {
	for i := range kinds {
		if kinds[i].kind == kind {
			return &kinds[i], i
		}
	}
	return nil, -1
}

// perMesh reports whether each mesh has keys of this kind of its own, atZones whether
// zones hold them.
func perMesh(kind cptoken.Kind) bool { k, _ := kindOf(kind); return k != nil && k.perMesh }
func atZones(kind cptoken.Kind) bool {
	k, _ := kindOf(kind)
	return k != nil && k.atZones || kind == certificates.kind
}
