package raftstore

import (
	"context"
	"crypto/hmac"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/state"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// secretCache remembers the opened generations of the cluster secret: each set of changes
// and each zone that resumes needs one.
type secretCache struct {
	mu     sync.Mutex
	opened map[*storepb.ClusterSecret]*issue.PositionSecret
}

// secretOf opens a generation for positions, 0 being the newest.
func (s *Store) secretOf(st *state.State, generation uint32) (*issue.PositionSecret, uint32, error) {
	s.secrets.mu.Lock()
	defer s.secrets.mu.Unlock()
	secrets := st.Secrets()
	for i := len(secrets) - 1; i >= 0; i-- {
		c := secrets[i]
		if generation != 0 && c.Generation != generation {
			continue
		}
		if opened := s.secrets.opened[c]; opened != nil {
			return opened, c.Generation, nil
		}
		opened, err := s.cfg.Seal.OpenPositionSecret(st.Cluster(), c.Generation, sealedFrom(c.Sealed))
		if err != nil {
			return nil, 0, err
		}
		if s.secrets.opened == nil || len(s.secrets.opened) > 2*len(secrets) {
			s.secrets.opened = map[*storepb.ClusterSecret]*issue.PositionSecret{} // those of former sealings go
		}
		s.secrets.opened[c] = opened
		return opened, c.Generation, nil
	}
	return nil, 0, federation.Errorf(federation.NotFound, "generation %d of the cluster secret is not known here", generation)
}

// Position proves that its holder has everything that this node has for zones. It is nil
// where that cannot be proved: before the feature level that brought it, or without the
// seal key.
func (s *Store) Position() []byte { return s.positionOf(s.fsm.current()) }

func (s *Store) positionOf(st *state.State) []byte {
	p := st.Position(cptoken.Vocabulary)
	if p == nil {
		return nil
	}
	secret, generation, err := s.secretOf(st, 0)
	if err != nil {
		return nil
	}
	p.Generation = generation
	if p.Mac, err = secret.PositionMAC(state.PositionText(p)); err != nil {
		return nil
	}
	p.ClusterId = ""
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		return nil
	}
	return data
}

// readPosition reads a position of this cluster, which nothing proves yet; nil where it is
// none.
func readPosition(st *state.State, position []byte) *storepb.Position {
	p := new(storepb.Position)
	if len(position) == 0 || len(position) > cptoken.MaxPosition || proto.Unmarshal(position, p) != nil || p.Generation == 0 {
		return nil
	}
	p.ClusterId = st.Cluster()
	return p
}

// openPosition reads a position of this cluster and checks its MAC; nil where it proves
// nothing.
func (s *Store) openPosition(st *state.State, position []byte) *storepb.Position {
	p := readPosition(st, position)
	if p == nil {
		return nil
	}
	secret, _, err := s.secretOf(st, p.Generation)
	if err != nil {
		return nil
	}
	want, err := secret.PositionMAC(state.PositionText(p))
	if err != nil || !hmac.Equal(want, p.Mac) {
		return nil
	}
	return p
}

// Shown is what a position that somebody shows is to this node.
type Shown struct {
	Standing cptoken.Standing
	// Revision is what the position claims.
	Revision federation.Revision
	// Lost: it is of the present history and not in its past, as far as this node knows.
	// NewerHistory: of one that nobody here knows.
	Lost, NewerHistory bool
	// More: it is beyond what the cluster had when a loss was proved that nobody has
	// confirmed, or of a history that began and was lost in between: more was lost than
	// that proof showed.
	More bool
	// Unproved: it claims what this cluster does not have, and no MAC proves it: the disks
	// went back behind a rotation of the cluster secret, or somebody makes it up.
	Unproved bool
}

// Place tells what a position is to this node as it stands, by the table of answers of
// docs: rows are tried from the top, the MAC first.
func (s *Store) Place(position []byte) Shown {
	st := s.fsm.current()
	p := s.openPosition(st, position)
	proved := p != nil
	if !proved {
		p = readPosition(st, position)
	}
	history, err := state.ParseHistory(p.GetHistory())
	if err != nil {
		return Shown{}
	}
	shown := Shown{Revision: federation.Revision{History: history, Index: p.Index}}
	place := st.PlaceOf(history, p.Index, p.Lineage)
	lost := place == state.Ahead || place == state.Absent
	newer := history.Compare(st.History()) > 0
	switch {
	case !proved:
		shown.Unproved = lost || newer
	case place == state.InPast:
		shown.Standing = cptoken.InPast
	case lost:
		shown.Standing, shown.Lost = cptoken.Ahead, true
	case newer:
		shown.Standing, shown.NewerHistory = cptoken.Ahead, true
	default:
		shown.More = lostMore(st, history, p.Index)
	}
	return shown
}

// lostMore reports whether a position of a former history is beyond a loss that nobody has
// confirmed: further than the state was when it was proved, or of a history between the two,
// which began after what was lost and was lost as well. One of before is in the past.
func lostMore(st *state.State, history federation.History, index uint64) bool {
	for _, l := range st.Losses() {
		former, err := state.ParseHistory(l.GetPosition().GetHistory())
		next, err2 := state.ParseHistory(l.History)
		if err != nil || err2 != nil {
			continue
		}
		if history == former && index > max(l.Applied, l.Position.Index) || history.Compare(former) > 0 && history.Compare(next) < 0 {
			return true
		}
	}
	return false
}

// ProveLoss begins a new history because of a position that is of the present one and not
// in its past, after a linearizable read: what was acknowledged is lost. It is a Conflict,
// with reason no_loss, where this node knows the position by now, and with loss_limit
// where the last proof is less than an hour ago. On the leader only.
func (s *Store) ProveLoss(ctx context.Context, shownBy string, position []byte) (Change, error) {
	if _, err := s.ReadIndex(); err != nil {
		return Change{}, err
	}
	st := s.fsm.current()
	if p := s.openPosition(st, position); p != nil && s.Place(position).Lost {
		history, err := newHistory(s.cfg, st.History())
		if err != nil {
			return Change{}, err
		}
		op := &storepb.ProveLoss{Position: p, History: history, ShownBy: shownBy}
		out, err := s.propose(ctx, Origin{By: "cluster"}, "", &storepb.Command{Op: &storepb.Command_ProveLoss{ProveLoss: op}})
		if err != nil {
			return Change{}, err
		}
		return changeOf(out), nil
	}
	return Change{}, federation.Errorf(federation.Conflict, "the position proves no loss").WithReason("no_loss")
}

// MayProve reports whether a proof of loss may begin a history now.
func (s *Store) MayProve() bool { return s.fsm.current().MayProve(s.cfg.Now().UnixMilli()) }

// ConfirmLoss takes the alarms of losses away, and returns how many. With adopt it begins a
// history above those that were shown, of which there must be one. On the leader only.
func (s *Store) ConfirmLoss(ctx context.Context, o Origin, adopt bool, shown []federation.History) (losses int, c Change, err error) {
	op := &storepb.ConfirmLoss{}
	cmd := &storepb.Command{Op: &storepb.Command_ConfirmLoss{ConfirmLoss: op}}
	if adopt {
		if op.Adopt, err = newHistory(s.cfg, append(shown, s.fsm.current().History())...); err != nil {
			return 0, Change{}, err
		}
		if _, made := s.made(o, "confirm-loss", cmd); !made && len(shown) == 0 {
			return 0, Change{}, federation.Errorf(federation.Conflict, "nobody has shown what only another history could hold: there is none to adopt").
				WithReason("nothing_shown").WithHint("look at the warnings of global cluster status; to confirm a loss, leave --adopt out")
		}
	}
	out, err := s.propose(ctx, o, "confirm-loss", cmd)
	if err != nil {
		return 0, Change{}, err
	}
	c = changeOf(out)
	// The limit of one history an hour, which is lifted too, counts as well, and the history.
	losses = max(0, int(c.Changed)-1)
	if adopt {
		losses = max(0, losses-1)
	}
	return losses, c, nil
}

// Loss is a loss that was proved and that no operator has confirmed.
type Loss struct {
	// Shown is the revision that somebody held, Had where this cluster stood then, in the
	// same history, and Began where the history begins that was begun for it.
	Shown, Had, Began federation.Revision
	ShownBy           string
	At                time.Time
}

// Losses returns the losses that nobody has confirmed, the oldest first.
func (s *Store) Losses() []Loss {
	var all []Loss
	for _, l := range s.fsm.current().Losses() {
		former := federation.History{ID: l.GetPosition().GetHistory().GetId(), Created: l.GetPosition().GetHistory().GetCreatedMs()}
		all = append(all, Loss{
			Shown:   federation.Revision{History: former, Index: l.GetPosition().GetIndex()},
			Had:     federation.Revision{History: former, Index: l.Applied},
			Began:   federation.Revision{History: federation.History{ID: l.GetHistory().GetId(), Created: l.GetHistory().GetCreatedMs()}, Index: l.Index},
			ShownBy: l.ShownBy, At: time.UnixMilli(l.AtMs),
		})
	}
	return all
}

// HistoryBegan is the index at which the present history began.
func (s *Store) HistoryBegan() uint64 { return s.fsm.current().Began() }

// Lineage returns the index of the last command as [Store.Applied] counts, the history it
// belongs to, and the beginning of the lineage there: members that differ in the last at
// one index of a history have diverged. nil before the feature level that brought it.
func (s *Store) Lineage() (federation.Revision, []byte) {
	st := s.fsm.current()
	return federation.Revision{History: st.History(), Index: st.Applied()}, st.Lineage()
}

// PlaceOf tells where a member that applied an index with a lineage stands.
func (s *Store) PlaceOf(rev federation.Revision, lineage []byte) state.Place {
	return s.fsm.current().PlaceOf(rev.History, rev.Index, lineage)
}
