package state

import (
	"cmp"
	"slices"
	"strings"
	"time"

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

// stillMade reports whether a command must not be applied again. A restore never is:
// it would take back what was written since, and begin yet another history. One that
// makes a key is not, as long as the key that the earlier result speaks of is there. Of a generated key
// it is not enough that it exists: once it signs or retires, who asks for a
// prepared one means the next.
func (s *State) stillMade(cmd *storepb.Command, old *storepb.Result) bool {
	if cmd.GetCommitRestore() != nil {
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
func (s *State) Requests(prefix string) []Request {
	var found []Request
	for id, r := range s.requests.from(prefix) {
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
