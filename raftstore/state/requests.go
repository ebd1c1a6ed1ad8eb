package state

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// A repeated request id says that the answer may have been lost, not that the
// effect is still there: a tracing proxy that gives several requests one id may
// revoke, withdraw and revoke again. What can be done twice is therefore done
// again, and the earlier result is given back only where that changed nothing.
// What makes something new each time is answered from memory, for as long as the
// thing that it made is there and as new as it was.

// stillMade reports whether a command must not be applied again. What begins a history, or
// a generation of the secret, never is: it would make yet another, and a restore take back
// what was written since. One that makes a key is not, as long as the key that the earlier result speaks of is there. Of
// a generated key it is not enough that it exists: once it signs or retires, who asks for a
// prepared one means the next.
func (s *State) stillMade(cmd *storepb.Command, old *storepb.Result) bool {
	if cmd.GetCommitRestore() != nil || cmd.GetConfirmLoss().GetAdopt() != nil || cmd.GetAddSecret() != nil {
		return true
	}
	p := cmd.GetPrepareKey()
	if p == nil {
		return false
	}
	for _, k := range s.keysOf(cptoken.Kind(p.Kind), p.Mesh) {
		if k.PreparedIndex == old.Index {
			return p.Imported || k.State == cptoken.Prepared
		}
	}
	return false
}

// stillHolds reports whether what a command wanted is so already, given what it
// came to when it was applied again.
func stillHolds(cmd *storepb.Command, changed uint64, err error) bool {
	if err == nil {
		return changed == 0
	}
	switch cmd.Op.(type) {
	case *storepb.Command_RemoveKey, *storepb.Command_DeleteZone, *storepb.Command_DeleteMesh:
		return federation.CodeOf(err) == federation.NotFound
	case *storepb.Command_RegisterKey:
		return federation.AsError(err).Reason == reasonRegistered
	}
	return false
}

// requested returns what was made before under a command's request id. A refusal is
// remembered for who asks, and answers nobody else: see remember.
func (s *State) requested(cmd *storepb.Command) (old *storepb.Request, repeated bool) {
	old, known := s.requests.Get(cmd.RequestId)
	return old, known && cmd.RequestId != "" && old.Result.Code == ""
}

// Made returns what a command came to when it was made before, under the same request id,
// where it must not be applied again; nil where it may.
func (s *State) Made(cmd *storepb.Command) *storepb.Result {
	old, repeated := s.requested(cmd)
	if !repeated || string(old.What) != string(s.identify(cmd)) || !s.stillMade(cmd, old.Result) {
		return nil
	}
	return old.Result
}

// A Request is what became of a change that was asked for under a request id.
type Request struct {
	// Verb is the change: one request may make several.
	Verb string
	// Revision is that of the change, or of the refusal.
	Revision federation.Revision
	// Changed counts what it changed; 0 where everything was so already.
	Changed uint64
	// Err is why it was refused, nil where it was made. A refusal changed nothing.
	Err *federation.Error
	// At is when it was applied, Until when it is forgotten at the latest.
	At, Until time.Time
}

// Requests returns what is remembered of changes whose request id begins with prefix,
// in the order in which they were applied.
func (s *State) Requests(prefix string) (found []Request) {
	for id, r := range s.requests.From(prefix) {
		rest, ok := strings.CutPrefix(id, prefix)
		if !ok || prefix == "" {
			break
		}
		_, verb, _ := strings.Cut(rest, "/")
		found = append(found, Request{
			Verb: verb, Revision: federation.Revision{History: s.history, Index: r.Result.GetIndex()},
			Changed: r.Result.GetChanged(), Err: federation.AsError(ResultError(r.Result)),
			At: millis(r.AtMs), Until: millis(r.AtMs).Add(requestLife),
		})
	}
	slices.SortStableFunc(found, func(a, b Request) int { return cmp.Compare(a.Revision.Index, b.Revision.Index) })
	return found
}

// requestDigest is the length of what is remembered of a request.
const requestDigest = 16

// identify returns a digest of what a command asks for. It leaves out what differs each time
// that the same is asked: of a key serial and material, a history's id, a new secret.
func (s *State) identify(cmd *storepb.Command) []byte {
	if cmd.RequestId == "" {
		return nil
	}
	what := &storepb.Command{Op: cmd.Op}
	switch op := cmd.Op.(type) {
	case *storepb.Command_PrepareKey:
		what.Op = &storepb.Command_PrepareKey{PrepareKey: anonymous(op.PrepareKey)}
	case *storepb.Command_ApplyMesh:
		what.Op = &storepb.Command_ApplyMesh{ApplyMesh: &storepb.ApplyMesh{Name: op.ApplyMesh.Name, Key: anonymous(op.ApplyMesh.Key)}}
	case *storepb.Command_CommitStage:
		what.Op = &storepb.Command_CommitStage{CommitStage: &storepb.CommitStage{Digest: op.CommitStage.Digest}}
	case *storepb.Command_CommitRestore:
		what.Op = &storepb.Command_CommitRestore{CommitRestore: &storepb.CommitRestore{Sha256: op.CommitRestore.Sha256, Force: op.CommitRestore.Force}}
	case *storepb.Command_ConfirmLoss:
		if s.level >= LevelWithdrawals && op.ConfirmLoss.Adopt != nil {
			what.Op = &storepb.Command_ConfirmLoss{ConfirmLoss: &storepb.ConfirmLoss{Adopt: &storepb.History{}}}
		}
	case *storepb.Command_AddSecret:
		if s.level >= LevelWithdrawals {
			what.Op = &storepb.Command_AddSecret{AddSecret: &storepb.ClusterSecret{}}
		}
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(what)
	if err != nil {
		return nil // text that is not UTF-8 was refused when the command was encoded
	}
	sum := sha256.Sum256(data)
	return sum[:requestDigest]
}

func anonymous(k *storepb.PrepareKey) *storepb.PrepareKey {
	return &storepb.PrepareKey{Kind: k.GetKind(), Mesh: k.GetMesh(), Imported: k.GetImported()}
}

// remember keeps the result of a request id. A refusal is kept to be asked about
// only: it changed nothing, and the same request may succeed once its reason is gone.
func (s *State) remember(id string, what []byte, result *storepb.Result) {
	if id == "" || len(id) > maxRequestID {
		return
	}
	if old, ok := s.requests.Get(id); ok {
		s.ages.Del(s.edit, requestAge{old.AtMs, id})
	}
	s.requests.Set(s.edit, id, &storepb.Request{Id: id, AtMs: s.time, Result: result, What: what})
	s.ages.Set(s.edit, requestAge{s.time, id}, struct{}{})
}

func (s *State) forgetRequests() {
	oldest := s.time - requestLife.Milliseconds()
	var gone []requestAge
	for age := range s.ages.All() {
		if age.at >= oldest && s.ages.Len()-len(gone) < maxRequests {
			break
		}
		gone = append(gone, age)
	}
	for _, age := range gone {
		s.ages.Del(s.edit, age)
		s.requests.Del(s.edit, age.id)
	}
}

// reject turns an error into a result.
func reject(index uint64, err error) *storepb.Result {
	e := federation.AsError(err)
	r := &storepb.Result{Index: index, Code: string(e.Code), Detail: e.Detail, Hint: e.Hint, Reason: e.Reason}
	if len(e.Fields) > 0 {
		r.Field = e.Fields[0].Field
	}
	return r
}

// ResultError turns a refused result back into the error that it was made of.
func ResultError(r *storepb.Result) error {
	if r.Code == "" {
		return nil
	}
	e := &federation.Error{Code: federation.Code(r.Code), Detail: r.Detail, Hint: r.Hint, Reason: r.Reason}
	if r.Field != "" {
		e.Fields = []federation.FieldError{{Field: r.Field, Reason: strings.TrimPrefix(r.Detail, r.Field+": ")}}
	}
	return e
}
