package keysync

import (
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// Options are what [Open] needs beside the path.
type Options struct {
	// Zone is the name of this zone. A file that was begun for another zone is
	// refused.
	Zone string
	// Logger is told of damage, of what was kept against a newer history and of
	// what could not be written; nil: nobody is.
	Logger *slog.Logger
	// Now is the clock; nil: time.Now. It stamps the names of damaged files and
	// decides nothing about tokens.
	Now func() time.Time
	// LockTimeout is how long Open waits for another process to release the file;
	// 0: DefaultLockTimeout.
	LockTimeout time.Duration
}

// DefaultLockTimeout is long enough for a predecessor that is shutting down.
const DefaultLockTimeout = 5 * time.Second

// contactInterval is how often at most hearing from the global alone is worth a
// write. Every applied change records the contact as well.
const contactInterval = time.Minute

// Store is a zone's copy of the global's keys and revocations: a file, and the
// [View] of what is in it. One process has one Store of a file. Methods are safe
// for concurrent use; View, Position, Instance and Contact never block.
type Store struct {
	path string
	opts Options
	log  *slog.Logger
	hash hashKey

	view    atomic.Pointer[View]
	contact atomic.Pointer[contact]

	mu      sync.Mutex // for all below
	file    *file
	state   state
	pending *pending
	closed  bool
	changed chan struct{}
	written time.Time // when contact was last written
}

type contact struct {
	member string
	at     time.Time
}

// Open opens the file at path, making it and its folder if need be, and verifies
// all of it before it returns. A file that is damaged is renamed to
// "<path>.damaged-<unix time>", logged, and begun anew: the zone then knows
// nothing until the global has sent its state. A file that cannot be read for
// another reason, is in use, belongs to another zone or was written by a later
// release is left as it is, and an error says what to do.
func Open(path string, opts Options) (*Store, error) {
	if err := federation.ValidateName("zone", opts.Zone); err != nil {
		return nil, err
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.LockTimeout == 0 {
		opts.LockTimeout = DefaultLockTimeout
	}
	s := &Store{path: path, opts: opts, log: opts.Logger, changed: make(chan struct{})}
	var secret [16]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, federation.Errorf(federation.Internal, "drawing a random key: %w", err)
	}
	s.hash = hashKey{binary.LittleEndian.Uint64(secret[:]), binary.LittleEndian.Uint64(secret[8:])}
	f, st, err := s.openOrBegin()
	if err != nil {
		return nil, err
	}
	s.file, s.state = f, st
	_ = os.Remove(path + stageSuffix) // of a process that died in the middle of a set
	s.view.Store(st.view(s.hash))
	s.contact.Store(&contact{st.head.member, st.head.contactTime()})
	s.written = st.head.contactTime()
	s.log.Info("opened the zone's keys", "file", path, "revision", st.head.revision.String(),
		"keys", len(st.keys), "revocations", st.head.total())
	return s, nil
}

// Close releases the file. The Views that were taken remain usable.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.drop()
	if c := s.contact.Load(); s.file.usable() && c.at.After(s.written) {
		_ = s.writeContact(c) // a contact that is a little older is still true
	}
	return s.file.close()
}

// View returns what the zone knows now. Take it once for each decision.
func (s *Store) View() *View { return s.view.Load() }

// Position returns where the copy stands: what the next delta must begin at, at
// most. Both are zero where nothing was ever received.
func (s *Store) Position() (cluster string, rev federation.Revision) {
	v := s.view.Load()
	return v.cluster, v.revision
}

// Instance returns the random id of this copy, a UUID. It tells apart control
// planes that run for the same zone, and lives as long as the file.
func (s *Store) Instance() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.head.instance
}

// Changed returns a channel that is closed when the next View is published. Take
// it before View, so that no change is missed.
func (s *Store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Heard records that the global, as this member of it, was in contact at that
// time. It is written to the file with the next change, when the Store is closed,
// and once a minute.
func (s *Store) Heard(member string, at time.Time) {
	if len(member) > maxText {
		member = member[:maxText]
	}
	c := &contact{member, at}
	for {
		old := s.contact.Load()
		if at.Before(old.at) {
			return // two streams may report out of order
		}
		if s.contact.CompareAndSwap(old, c) {
			break
		}
	}
	// A set that is being applied takes the contact along.
	if !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	if s.closed || !s.file.usable() || at.Sub(s.written) < contactInterval {
		return
	}
	if err := s.writeContact(c); err != nil {
		s.log.Warn("the time of contact with the global could not be written", "file", s.path, "error", err)
	}
}

// Contact returns the member of the global that was heard last, and when; zero
// where it never was.
func (s *Store) Contact() (member string, at time.Time) {
	c := s.contact.Load()
	return c.member, c.at
}

// writeContact makes a contact durable. s.mu is held.
func (s *Store) writeContact(c *contact) error {
	next := s.state.head
	next.setContact(c)
	if err := s.file.writeHead(&next); err != nil {
		return err
	}
	s.state.head, s.written = next, c.at
	return nil
}

func (h *head) setContact(c *contact) {
	h.member = c.member
	if !c.at.IsZero() {
		h.contact = c.at.UnixMilli()
	}
}

// publish makes st the state that everybody sees. s.mu is held; st is durable.
func (s *Store) publish(st state) {
	s.state = st
	s.view.Store(st.view(s.hash))
	close(s.changed)
	s.changed = make(chan struct{})
}
