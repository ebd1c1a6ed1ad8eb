package raftstore

import (
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
