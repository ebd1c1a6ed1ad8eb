package server

import (
	"sync"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
)

// Session is one control plane of a zone at this member: an open
// GlobalToZoneSync stream, or the last one of its instance.
type Session struct {
	Zone     string
	Instance string // one control plane of the zone; "" where it did not say
	Version  string // as it says itself
	Store    string // where a zone of Kuma's says that it keeps its state, "" where it does not
	Member   string // this member
	Remote   string // its address
	// Connection counts the connections of the instance, by its own word; 0 where it does
	// not say.
	Connection uint64

	Connected    time.Time
	Disconnected time.Time // zero while open
	LastHeard    time.Time // any message, health checks included

	// Acked is the revision that the zone says it holds durably: acknowledged,
	// or named when it resumed. Full reports that it holds the whole state at
	// Acked; a session without it has acknowledged nothing and knows nothing.
	Acked federation.Revision
	Full  bool
	// NotHeld names what of that the zone does not understand and so does not hold, in
	// the words of cptoken.
	NotHeld []string
	// Nack is why the zone refused the last set, or could not make it durable, until it
	// accepts one.
	Nack string
	// KeySets says which of its key sets the zone saw fetched, in the form of
	// kds.FormatKeySets.
	KeySets string
	// Sent, Accepted and Rejected count the answers that the zone was sent on this
	// stream, and those of them that it acknowledged or refused.
	Sent, Accepted, Rejected uint64

	// Trusts names the CAs that the zone takes the global's certificate of, Shows the one
	// that vouches for its own; see tlsutil. Empty where it does not say, or shows none.
	Trusts, Shows string

	Admission kds.Admission
	Meridian  bool // advertises the feature "meridian"
}

// size is what a remembered session occupies.
func (s *Session) size() int {
	n := 1024 + len(s.Zone) + len(s.Instance) + len(s.Version) + len(s.Store) + len(s.Remote) + len(s.Nack) + len(s.KeySets) + len(s.Trusts) + len(s.Shows)
	for _, name := range s.NotHeld {
		n += 16 + len(name)
	}
	return n
}

// Online reports whether the session is open.
func (s *Session) Online() bool { return s.Disconnected.IsZero() }

// session is the live form of a Session.
type session struct {
	call *call
	id   sessionKey

	mu   sync.Mutex
	view Session
}

func newSession(c *call, instance, member string, now time.Time) *session {
	return &session{
		call: c,
		id:   sessionKey{zone: c.creds.Zone, instance: instance},
		view: Session{
			Zone:       c.creds.Zone,
			Instance:   instance,
			Version:    c.creds.Version,
			Member:     member,
			Remote:     c.remote(),
			Connection: c.creds.Connection,
			Connected:  now,
			LastHeard:  now,
			Admission:  c.admission,
			Meridian:   c.creds.Meridian,
			Trusts:     c.creds.Trusts,
			Shows:      c.creds.Shows,
		},
	}
}

func (s *session) key() sessionKey { return s.id }

// class is 0 for a session that authenticated and 1 for one that did not.
func (s *session) class() int {
	if s.call.admission.Authenticated {
		return 0
	}
	return 1
}

func (s *session) snapshot() Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view
}

func (s *session) heard(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view.LastHeard = now
}

// resumed notes what the zone says it holds.
func (s *session) resumed(rev federation.Revision, notHeld []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view.NotHeld = notHeld
	s.view.Acked, s.view.Full = rev, !rev.IsZero()
}

// ahead notes that the zone knows what this member does not; "" that it does not any more.
func (s *session) ahead(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view.Nack = what
}

func (s *session) acked(rev federation.Revision, notHeld []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view.NotHeld = notHeld
	s.view.Acked, s.view.Full, s.view.Nack = rev, true, ""
	s.view.Accepted++
}

// keySets notes which key sets were fetched at the zone, and reports whether that is
// news.
func (s *session) keySets(uses string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	news := s.view.KeySets != uses
	s.view.KeySets = uses
	return news
}

// unwritten notes why the zone cannot make durable what it was sent, and reports whether
// that is news.
func (s *session) unwritten(why string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	news := s.view.Nack != why
	s.view.Nack = why
	return news
}

func (s *session) sent(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view.Sent += uint64(n)
}

// answered counts an acknowledgement, or a refusal, of one of Kuma's types.
func (s *session) answered(accepted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if accepted {
		s.view.Accepted++
		return
	}
	s.view.Rejected++
}

// holds notes what a zone of Kuma's has: all of what it asked for, once full is
// set, and that of a revision, if one is given. It reports whether that is news.
func (s *session) holds(rev federation.Revision, full bool, nack string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	rev0, full0, nack0 := s.view.Acked, s.view.Full, s.view.Nack
	if !rev.IsZero() {
		s.view.Acked = rev
	}
	s.view.Full = s.view.Full || full
	if nack != "" || full { // else what an earlier stream of the instance refused still stands
		s.view.Nack = nack
	}
	return s.view.Acked != rev0 || s.view.Full != full0 || s.view.Nack != nack0
}

func (s *session) nacked(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view.Nack = why
	s.view.Rejected++
}

// inherit takes over from the instance's last session what still holds.
func (s *session) inherit(last Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view.Nack = last.Nack
	s.view.KeySets = last.KeySets
}
