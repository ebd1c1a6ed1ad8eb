package disk

import (
	"github.com/hashicorp/raft"

	"github.com/meridiankds/meridian/raftstore/state"
)

// Distrust is who is trusted no more by what a node's own files hold. A node that starts
// has the state of its snapshot, and applies its log only once it hears a leader: until
// then it must not take who was expelled for one.
type Distrust struct {
	// Until is the index up to which the files lead: a state that has applied that much
	// knows better.
	Until uint64

	expelled, former map[string]bool
}

// Expelled reports whether the node or the certificate's key was expelled.
func (d Distrust) Expelled(id string) bool { return d.expelled[id] }

// FormerSealKey reports whether the cluster went over from this seal key to another one.
func (d Distrust) FormerSealKey(id string) bool { return d.former[id] }

// replay is the state that the files lead to if all of the log counts. The end of it may
// not be committed: to distrust somebody too soon only withholds.
type replay struct {
	state *state.State
	ended bool
}

// apply goes on to an entry. What cannot be applied ends it, and halts the node when its
// state meets it.
func (r *replay) apply(l *raft.Log) {
	if r.ended {
		return
	}
	defer func() { r.ended = r.ended || recover() != nil }()
	_, err := r.state.Apply(l.Index, l.Data)
	r.ended = err != nil
}

func (r *replay) distrust() Distrust {
	d := Distrust{Until: r.state.RaftApplied(), expelled: map[string]bool{}, former: map[string]bool{}}
	for _, e := range r.state.Expelled() {
		d.expelled[e.ID] = true
	}
	for _, id := range r.state.SealCheck().GetFormerIds() {
		d.former[id] = true
	}
	return d
}
