package server

import (
	"slices"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/kds/kuma"
	"github.com/meridiankds/meridian/kds/wire"
)

// kumaFeeds is where a stream stands with Kuma's types.
type kumaFeeds struct {
	feeds []*kumaFeed // in the order of kumaTypes; those that were subscribed to
	begun bool        // it was sent something, and from then on only goes forward
	again time.Time   // when to look again, zero: at the next change
}

// kumaFeed is one of Kuma's types on a stream: what the zone acknowledged, what was
// sent and not yet answered, never a copy of either.
type kumaFeed struct {
	typ   string
	wants bool      // it subscribed and has not been answered
	base  *kuma.Set // acknowledged; nil: nothing
	// flight is what the zone has to answer next. Until it does, changes gather.
	flight *kumaFlight
	// late was a flight that was not answered in time; its answer still counts.
	late *kumaFlight
	// stuck was refused, or never answered: it is not sent again, what follows it is.
	stuck *kuma.Set
	nack  string
}

type kumaFlight struct {
	to     *kuma.Set
	nonces []string
	sent   time.Time
}

// has reports whether a nonce is of the flight, and whether it is its last.
func (f *kumaFlight) has(nonce string) (mine, last bool) {
	if f == nil {
		return false, false
	}
	i := slices.Index(f.nonces, nonce)
	return i >= 0, i == len(f.nonces)-1
}

// feedOf returns the feed of a type, or nil.
func (k *kumaFeeds) feedOf(typ string) *kumaFeed {
	for _, f := range k.feeds {
		if f.typ == typ {
			return f
		}
	}
	return nil
}

// handleKuma acts on a request of a type that has resources.
func (st *stream) handleKuma(r *wire.Request, first bool) {
	f := st.kuma.feedOf(r.TypeURL)
	switch {
	case r.UnsubscribeAll && f != nil:
		st.kuma.feeds = slices.DeleteFunc(st.kuma.feeds, func(g *kumaFeed) bool { return g == f })
	case f == nil && (first || r.Subscribe > 0):
		if len(st.kuma.feeds) == 0 {
			st.srv.kuma.Enter()
		}
		st.kuma.feeds = append(st.kuma.feeds, &kumaFeed{typ: r.TypeURL, wants: true})
		slices.SortFunc(st.kuma.feeds, func(a, b *kumaFeed) int {
			return slices.Index(kuma.Types[:], a.typ) - slices.Index(kuma.Types[:], b.typ)
		})
	case f != nil && r.Nonce != "":
		// Names beside a nonce are no new subscription: a client that repeats them with
		// each acknowledgement would be answered for ever.
		st.answeredKuma(f, r)
	case f != nil && r.Subscribe > 0:
		f.wants, f.base, f.flight, f.stuck = true, nil, nil, nil
	}
	if len(st.kuma.feeds) == 0 && r.UnsubscribeAll && f != nil {
		st.srv.kuma.Leave()
	}
}

// answeredKuma notes an acknowledgement or refusal. One that fits nothing that was
// sent means nothing.
func (st *stream) answeredKuma(f *kumaFeed, r *wire.Request) {
	flight := f.flight
	mine, last := flight.has(r.Nonce)
	if !mine {
		flight = f.late
		mine, last = flight.has(r.Nonce)
	}
	if !mine {
		return
	}
	st.session.answered(!r.Refused)
	if r.Refused {
		st.srv.stats.nacks.Add(1)
		f.stuck, f.nack = flight.to, f.typ+": "+r.Refusal
		if flight == f.flight {
			f.flight = nil
		}
		f.late = nil
		st.srv.cfg.Logger.Warn("zone refused resources of Kuma's; they are sent again when they change", "zone", st.call.creds.Zone,
			"instance", st.session.id.instance, "type", f.typ, "nonce", wire.Printable(r.Nonce), "cause", r.Refusal)
		return
	}
	if !last {
		return
	}
	st.srv.stats.acks.Add(1)
	if flight == f.late && f.base != nil && f.base.NewerThan(flight.to) {
		return
	}
	f.base, f.stuck, f.nack, f.late = flight.to, nil, "", nil
	if flight == f.flight {
		f.flight = nil
	}
}

// recheckKuma is when a stream looks again whether this member may begin it.
const recheckKuma = time.Second

// pushKuma sends what changed of the types that the zone subscribed to, and notes
// what it holds. The channel is closed when there may be more; nil: nothing is
// subscribed to.
func (st *stream) pushKuma() (<-chan struct{}, error) {
	st.kuma.again = time.Time{}
	if len(st.kuma.feeds) == 0 {
		return nil, nil
	}
	catalog := st.srv.kuma
	changed := catalog.Watch()
	if !st.kuma.begun && !catalog.Fresh() {
		st.kuma.again = time.Now().Add(recheckKuma)
		return changed, nil
	}
	now, again, err := catalog.Current()
	if err != nil || now == nil {
		return changed, err
	}
	st.kuma.again = again
	for _, f := range st.kuma.feeds {
		if err := st.advanceKuma(f, now.Sets[f.typ]); err != nil {
			return nil, err
		}
	}
	st.noteKuma(now)
	return changed, nil
}

// advanceKuma sends a type's answer, if one is due.
func (st *stream) advanceKuma(f *kumaFeed, to *kuma.Set) error {
	if f.flight != nil {
		overdue := f.flight.sent.Add(st.srv.limits.Ack)
		if clock.Running(overdue, time.Now()) {
			st.kuma.again = clock.First(st.kuma.again, overdue)
			return nil
		}
		st.srv.cfg.Logger.Warn("zone did not answer resources of Kuma's; it is sent what changes from now on", "zone", st.call.creds.Zone,
			"instance", st.session.id.instance, "type", f.typ, "after", st.srv.limits.Ack.String())
		f.late, f.stuck, f.flight = f.flight, f.flight.to, nil
	}
	if !f.wants && (to == f.base || to == f.stuck) {
		return nil
	}
	answer, err := st.srv.kuma.Answer(f.base, to)
	if err != nil {
		return err
	}
	for _, message := range answer.Messages {
		if err := st.send(message); err != nil {
			return err
		}
	}
	st.kuma.begun = true
	st.srv.stats.kumaSent.Add(uint64(len(answer.Messages)))
	st.srv.stats.kumaSentBytes.Add(uint64(answer.Size))
	st.session.sent(len(answer.Messages))
	f.wants, f.flight = false, &kumaFlight{to: to, nonces: answer.Nonces, sent: time.Now()}
	return nil
}

// noteKuma tells the session what the zone holds. It is in step once it has
// acknowledged everything that it asked for, and at a revision when, keys and lists
// being among that, nothing of it is newer.
func (st *stream) noteKuma(now *kuma.State) {
	full, current := true, st.kuma.feedOf(kuma.TypeGlobalSecret) != nil && st.kuma.feedOf(kuma.TypeSecret) != nil
	nack := ""
	for _, f := range st.kuma.feeds {
		full = full && f.base != nil
		current = current && f.base == now.Sets[f.typ]
		if nack == "" {
			nack = f.nack
		}
	}
	var rev federation.Revision
	if current {
		rev = now.Rev
	}
	if st.feed.subscribed {
		return // a zone of Meridian's says for itself what it holds
	}
	if st.session.holds(rev, full, nack) {
		st.srv.registry.touch()
	}
}
