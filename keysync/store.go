package keysync

import (
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
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
	// WriteTimeout is how long a write may take before the zone counts as unable to
	// write; 0: DefaultWriteTimeout.
	WriteTimeout time.Duration
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

	// disk is held while the file is read or written, for as long as that takes.
	disk    sync.Mutex
	file    *file
	pending *pending
	tried   head // what the last commit that failed may have left in the file
	// fault is called before the disk is written to, and after a commit; tests have it
	// fail or hang.
	fault func(what string) error

	mu        sync.Mutex          // for all below; never held while the disk is waited for
	state     state               // what is durable; changed with disk held too
	incoming  *incoming           // nil: no set has begun
	queue     []queued            // parts to be written
	ahead     *ahead              // what all that was taken comes to; nil: state
	taken     head                // what the next set must lead on from, where leads is set
	leads     bool                // it is beyond state
	sets      uint64              // how many sets were taken
	durable   uint64              // up to which of them all are durable
	behind    error               // why nothing can be written; nil: it can
	probe     int64               // with how many bytes the disk must prove that it takes again what it did not
	given     [][]byte            // records of ids that sets revoke which were given up and not written yet
	owed      federation.Revision // where those that were given up led, until the state is there
	lost      uint64              // how often sets were given up
	writing   time.Time           // since when the disk is waited for; zero: it is not
	closed    bool
	changed   chan struct{} // closed with the next View
	persisted chan struct{} // closed when Persisted has something new
	wake      chan struct{} // there is something to write; has room for one word
}

type contact struct {
	member string
	at     time.Time
	read   bool // from the file: no clock of this process told it
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
	if opts.WriteTimeout == 0 {
		opts.WriteTimeout = DefaultWriteTimeout
	}
	s := &Store{
		path: path, opts: opts, log: opts.Logger, fault: func(string) error { return nil },
		changed: make(chan struct{}), persisted: make(chan struct{}), wake: make(chan struct{}, 1),
	}
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
	_ = os.Remove(path + stageSuffix) // of a process that died in the middle of a set,
	_ = os.Remove(path + probeSuffix) // or of a proof
	s.view.Store(st.view(s.hash))
	s.contact.Store(&contact{st.head.member, st.head.contactTime(), true})
	s.log.Info("opened the zone's keys", "file", path, "revision", st.head.revision.String(),
		"keys", len(st.keys), "revocations", st.head.total())
	return s, nil
}

// Close releases the file. The Views that were taken remain usable.
func (s *Store) Close() error {
	s.mu.Lock()
	closed, hangs := s.closed, s.unwritten() != nil && !s.writing.IsZero()
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	if hangs && !s.disk.TryLock() {
		return nil // the end of the process closes what the disk does not let go
	} else if !hangs {
		s.disk.Lock()
	}
	defer s.disk.Unlock()
	s.drop()
	if c := s.contact.Load(); s.file.usable() && !c.read {
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

// Proof returns the position that came with what Position tells: what proves to the
// global where this copy stands. nil where none came.
func (s *Store) Proof() []byte { return s.view.Load().position }

// Skipped names what the copy was sent and does not understand, and what it keeps beyond
// what it was told, with the vocabulary that it was made with.
func (s *Store) Skipped() (vocabulary int, names []string) {
	v := s.view.Load()
	return v.Vocabulary(), slices.Concat(v.skipped, v.kept) // gates read the first, and a reader may stop
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
// time, and that the copy had then all that the member had sent. A time that was
// read from the file is replaced by any that this process was told: the clock may
// have been ahead when it was written. It is written to the file with the next change, when the Store is closed,
// and once a minute: by Run, which knows what the disk does. Nobody waits for it here.
func (s *Store) Heard(member string, at time.Time) {
	if len(member) > maxText {
		member = member[:maxText]
	}
	c := &contact{member: member, at: at}
	for {
		old := s.contact.Load()
		if !old.read && clock.Earlier(at, old.at) {
			return // two streams may report out of order
		}
		if s.contact.CompareAndSwap(old, c) {
			break
		}
	}
	s.poke()
}

// Contact returns the member of the global that was heard last, and when; zero
// where it never was.
func (s *Store) Contact() (member string, at time.Time) {
	c := s.contact.Load()
	return c.member, c.at
}

// writeContact makes a contact durable. s.disk is held.
func (s *Store) writeContact(c *contact) error {
	if err := s.fault("contact"); err != nil {
		return err
	}
	next := s.state.head
	next.setContact(c)
	if err := s.file.writeHead(&next); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.head = next
	return nil
}

func (h *head) setContact(c *contact) {
	h.member = c.member
	if !c.at.IsZero() {
		h.contact = c.at.UnixMilli()
	}
}

// publish makes visible what is durable, narrowed by what is not. s.mu is held.
func (s *Store) publish() {
	v := s.state.view(s.hash)
	if s.ahead != nil {
		v.narrowTo(s.ahead)
	}
	s.view.Store(v)
	close(s.changed)
	s.changed = make(chan struct{})
}
