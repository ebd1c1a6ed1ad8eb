package server

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/wire"
)

// feed is where a stream stands with ChangesType: a cursor and what was sent but
// not acknowledged, never a copy of anything.
type feed struct {
	subscribed bool
	halted     bool      // the zone refused a set; it must resume on a new stream
	answered   bool      // the subscription has had its answer
	resume     *resume   // where the zone's copy stands is not known yet; nil: it is
	again      time.Time // when to ask once more where it stands; zero: at the next change
	merging    bool      // nothing proved it: the zone needs all, and keeps what it refuses
	renew      bool      // the zone's copy is of another vocabulary: it needs all of it
	cursor     federation.Revision
	inflight   []flight // oldest first
	// unwritten are sets whose refusals are in force at the zone, and which it cannot
	// make durable yet, oldest first: they are not waited for.
	unwritten []flight
}

// maxUnwritten bounds them. An acknowledgement of a later set stands for an earlier one.
const maxUnwritten = 1_024

// flight is a set that was sent.
type flight struct {
	to    federation.Revision
	nonce string // of its last part
	sent  time.Time
}

// handleChanges acts on a request of ChangesType.
func (st *stream) handleChanges(r *wire.Request, first bool) error {
	switch {
	case first:
		return st.subscribe(r)
	case r.Nonce == "":
		return nil // names that were added or taken away: there is only one
	case r.Refused && r.Unwritten:
		st.unwritten(r)
	case r.Refused:
		st.refused(r)
	default:
		st.acknowledged(r)
	}
	return nil
}

// subscribe notes what the zone says that it holds.
func (st *stream) subscribe(r *wire.Request) error {
	cluster, _ := st.srv.cfg.Source.Head()
	if cluster == "" {
		return federation.Errorf(federation.Unavailable, "this member has no state to serve yet").WithReason(kds.ReasonNotReady)
	}
	st.feed.subscribed = true
	if r.Resume == "" {
		return nil
	}
	theirs, at, ok := strings.Cut(r.Resume, "/")
	if !ok {
		return federation.Errorf(federation.Invalid, "initial_resource_versions: %.80q is not <cluster>/<revision>", r.Resume)
	}
	if theirs != cluster {
		return federation.Errorf(federation.Conflict, "the zone holds the state of cluster %.64q, this is cluster %s", wire.Printable(theirs), cluster).
			WithReason(kds.ReasonOtherCluster)
	}
	rev, err := federation.ParseRevision(at)
	if err != nil {
		return err
	}
	st.feed.resume = &resume{position: r.Position, notHeld: r.NotHeld, claimed: rev}
	st.feed.renew = r.Vocabulary != st.call.creds.Vocabulary
	return nil
}

// resume is what a zone said of its copy, until it is known where that stands.
type resume struct {
	position []byte
	notHeld  []string
	claimed  federation.Revision // for operators; nothing is decided by it
	waiting  bool
}

// recheckPlace is when a stream asks again where the copy of its zone stands, although
// nothing has changed: this member may be in touch with the others by now.
const recheckPlace = time.Second

// place finds out where the copy of a zone stands that resumes. It reports false where
// the zone knows what this member does not: it is sent nothing, because it never goes
// back, until this member has caught up or the loss is proved.
func (st *stream) place(ctx context.Context) bool {
	f := &st.feed
	if f.resume == nil {
		return true
	}
	standing, rev := st.srv.cfg.Source.Place(ctx, st.call.creds.Zone, f.resume.position)
	attrs := []any{"zone", st.call.creds.Zone, "instance", st.session.id.instance, "claims", f.resume.claimed.String()}
	switch standing {
	case cptoken.InPast:
		f.cursor = rev
		st.session.resumed(rev, f.resume.notHeld)
	case cptoken.Ahead:
		if !f.resume.waiting {
			f.resume.waiting = true
			st.session.ahead("it holds revision " + f.resume.claimed.String() + ", which this member does not know: it waits")
			st.srv.registry.touch()
			st.srv.cfg.Logger.Info("zone is ahead of this member and waits for it", attrs...)
		}
		return false
	default:
		f.merging = true
		if _, head := st.srv.cfg.Source.Head(); f.resume.claimed.History == head.History {
			// A full state that is kept for others must not be of before what it says it has.
			f.cursor = federation.Revision{History: head.History, Index: min(f.resume.claimed.Index, head.Index)}
		}
		st.srv.cfg.Logger.Info("nothing proves where the zone stands: it gets the full state and keeps what it refuses", attrs...)
	}
	if f.resume.waiting {
		st.session.ahead("")
	}
	f.resume = nil
	st.srv.registry.touch()
	st.srv.cfg.Logger.Debug("zone resumes", attrs...)
	return true
}

// acknowledged notes that a set is durable at the zone. A nonce that is not the
// last of a set in flight means nothing.
func (st *stream) acknowledged(r *wire.Request) {
	f := &st.feed
	ofNonce := func(s flight) bool { return s.nonce == r.Nonce }
	if i := slices.IndexFunc(f.inflight, ofNonce); i >= 0 {
		st.session.acked(f.inflight[i].to, r.NotHeld)
		f.inflight, f.unwritten = slices.Delete(f.inflight, 0, i+1), nil
	} else if i := slices.IndexFunc(f.unwritten, ofNonce); i >= 0 {
		st.session.acked(f.unwritten[i].to, r.NotHeld)
		f.unwritten = slices.Delete(f.unwritten, 0, i+1)
	} else {
		return
	}
	st.srv.stats.acks.Add(1)
	st.srv.registry.touch()
}

// unwritten notes that a set is in force as far as it refuses something, and not
// durable. The zone goes on to be sent what there is, and nothing counts as held.
func (st *stream) unwritten(r *wire.Request) {
	f := &st.feed
	i := slices.IndexFunc(f.inflight, func(s flight) bool { return s.nonce == r.Nonce })
	if i < 0 {
		return
	}
	f.unwritten = append(f.unwritten, f.inflight[:i+1]...)
	f.unwritten = slices.Delete(f.unwritten, 0, max(len(f.unwritten)-maxUnwritten, 0))
	f.inflight = slices.Delete(f.inflight, 0, i+1)
	if st.session.unwritten(r.Refusal) {
		st.srv.cfg.Logger.Warn("zone cannot write: what it is sent narrows it, and it acknowledges nothing", "zone", st.call.creds.Zone,
			"instance", st.session.id.instance, "cause", r.Refusal)
	}
	st.srv.registry.touch()
}

// refused notes that the zone could not take a set. Sending it again at once
// could not help; the zone resumes on a new stream when it sees fit.
func (st *stream) refused(r *wire.Request) {
	st.feed.halted = true
	st.feed.inflight = nil
	st.session.nacked(r.Refusal)
	st.srv.stats.nacks.Add(1)
	st.srv.registry.touch()
	st.srv.cfg.Logger.Warn("zone refused a set of changes", "zone", st.call.creds.Zone,
		"instance", st.session.id.instance, "nonce", wire.Printable(r.Nonce), "cause", r.Refusal)
}

// push sends what the zone does not have, as far as the window allows. Where
// there is nothing more to send, it returns a channel that is closed when there
// may be; nil means that only a request can change anything.
func (st *stream) push(ctx context.Context) (<-chan struct{}, error) {
	f := &st.feed
	f.again = time.Time{}
	for f.subscribed && !f.halted && len(f.inflight) < st.srv.limits.InFlight {
		changed := st.srv.cfg.Source.Watch()
		if !st.place(ctx) {
			f.again = time.Now().Add(recheckPlace)
			return changed, nil
		}
		_, head := st.srv.cfg.Source.Head()
		if f.answered && f.cursor == head {
			return changed, nil
		}
		room := roomResuming
		if f.answered {
			room = roomGoingOn
		}
		b, release, err := st.srv.batches.next(ctx, wanted{f.cursor, head, room, f.renew, f.merging})
		if federation.CodeOf(err) == federation.Unavailable {
			return changed, nil
		}
		if err != nil {
			return nil, err
		}
		progress := !f.answered || b.To != f.cursor
		if progress {
			err = st.sendBatch(b)
		}
		release()
		if err != nil {
			return nil, err
		}
		if !progress {
			return changed, nil
		}
	}
	return nil, nil
}

// sendBatch sends all parts of a set.
func (st *stream) sendBatch(b *wire.Batch) error {
	for _, part := range b.Parts {
		select {
		case <-st.call.kicked:
			return st.call.cause
		default:
		}
		if err := st.send(part); err != nil {
			return err
		}
		st.srv.stats.sent(part)
	}
	st.session.sent(len(b.Parts))
	f := &st.feed
	f.cursor, f.answered, f.renew, f.merging = b.To, true, false, false
	f.inflight = append(f.inflight, flight{to: b.To, nonce: b.LastNonce(), sent: time.Now()})
	return nil
}
