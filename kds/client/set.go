package client

import (
	"bytes"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/wire"
)

// setReader checks, at the zone, that sets lead on from what the zone holds and
// that the parts of one arrive as they must. It is the zone's own guard: a
// member that is wrong, old or another cluster's changes nothing.
type setReader struct {
	open bool
	head cptoken.Part // of the set that is open
	want uint32
}

// next takes the header of a part that arrived at a copy of the given position.
func (s *setReader) next(p cptoken.Part, cluster string, rev federation.Revision) error {
	if cluster != "" && p.Cluster != cluster {
		return wire.OtherCluster(cluster, p.Cluster)
	}
	if err := s.inOrder(p); err != nil {
		return err
	}
	if p.Number == 0 {
		if err := leadsOn(p, rev); err != nil {
			return err
		}
		s.head = p
		s.head.Changes = nil
	}
	s.open, s.want = !p.Last, p.Number+1
	return nil
}

// inOrder checks a part against those of its set that arrived before.
func (s *setReader) inOrder(p cptoken.Part) error {
	switch h := s.head; {
	case !s.open && p.Number != 0:
		return federation.Errorf(federation.Invalid, "part %d of a set that has not begun", p.Number)
	case s.open && p.Number != s.want:
		return federation.Errorf(federation.Invalid, "part %d of a set where part %d was due", p.Number, s.want)
	case s.open && (p.From != h.From || p.To != h.To || p.Full != h.Full || p.Began != h.Began || p.Merging != h.Merging || !bytes.Equal(p.Position, h.Position) || p.Cluster != h.Cluster || !p.Watermark.Equal(h.Watermark)):
		return federation.Errorf(federation.Invalid, "part %d belongs to another set than the parts before it", p.Number)
	}
	return nil
}

// leadsOn checks that a set never takes the zone back and leaves nothing out.
func leadsOn(p cptoken.Part, rev federation.Revision) error {
	age := p.To.History.Compare(rev.History)
	switch {
	case rev.IsZero() && p.Full:
		return nil
	case !rev.IsZero() && age < 0:
		return federation.Errorf(federation.Conflict, "the global sent revision %s of an older history than %s", p.To, rev).
			WithHint("this member of the global was restored or left behind: see its log")
	case age == 0 && p.To.Index < rev.Index && !p.Merging:
		return federation.Errorf(federation.Conflict, "the global sent revision %s, and this zone holds %s", p.To, rev).
			WithReason(kds.ReasonAhead)
	case !p.Full && (p.From.History != rev.History || p.From.Index > rev.Index):
		return federation.Errorf(federation.Conflict, "the global sent changes since %s, this zone holds %s", p.From, rev)
	}
	return nil
}

// isEmpty reports whether a set changes nothing: the answer of a member that has
// nothing new.
func isEmpty(p cptoken.Part) bool {
	return p.Number == 0 && p.Last && !p.Full && p.From == p.To && len(p.Changes) == 0
}
