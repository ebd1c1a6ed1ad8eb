package tlsutil

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/disk"
)

// ReloadEvery is how often a running node looks at its TLS files: a connection of a CA that
// was dropped lives that long.
const ReloadEvery = time.Second

// Options are what a [Source] is opened with. The zero value is good.
type Options struct {
	// Accept refuses a certificate that the program cannot work with, for
	// example another node's; nil: any.
	Accept func(leaf *x509.Certificate) error
	// Renew makes the files anew where their end is near. It is called once a
	// day by Run; nil: somebody else renews them.
	Renew  func() error
	Logger *slog.Logger     // nil: no log
	Now    func() time.Time // nil: time.Now
}

// Source is TLS material that may be replaced while it is used: the
// configurations that it makes take the material of the moment at each
// handshake. Connections that are open are held against new material too, see
// [Source.Review].
//
// Its methods are safe for concurrent use.
type Source struct {
	files   Files
	options Options
	current atomic.Pointer[Material]
	changed atomic.Pointer[chan struct{}] // closed when current is another one
	follow  *disk.Follower[contents]      // nil if there are no files

	refuse atomic.Pointer[func(*x509.Certificate) error] // nil: nobody

	mu     sync.Mutex
	warned time.Time // when expiry was last looked at
	broken string    // what was last said of material that the clock does not allow

	openMu sync.Mutex
	open   map[*held]struct{}
}

// OpenSource reads the files. What cannot be used is an error that says why;
// later, in [Source.Check], it keeps what was good before.
func OpenSource(files Files, o Options) (*Source, error) {
	s := newSource(files, o)
	var err error
	s.follow, err = disk.Follow(disk.Following[contents]{
		Read: files.read,
		Same: func(a, b contents) bool { return a.sum == b.sum },
		Use:  s.use,
		Failed: func(err error) {
			s.options.Logger.Warn("new TLS material cannot be used, the former stays in use",
				"error", err, "hint", federation.AsError(err).Hint)
		},
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// OpenSelfMade opens what [LoadOrMake] keeps in dir, and renews it there.
func OpenSelfMade(dir string, id Identity, hosts []string, o Options) (*Source, error) {
	s := newSource(SelfMadeFiles(dir), o)
	s.options.Renew = func() error {
		_, _, err := LoadOrMake(dir, id, hosts, s.options.Now())
		return err
	}
	if err := s.options.Renew(); err != nil {
		return nil, err
	}
	return OpenSource(s.files, s.options)
}

// Static returns a source that never changes. pool may be nil.
func Static(cert tls.Certificate, pool *x509.CertPool) *Source {
	s := newSource(Files{}, Options{})
	m := newMaterial()
	m.Certificate, m.Pool = &cert, pool
	s.replace(m)
	return s
}

func newSource(files Files, o Options) *Source {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Accept == nil {
		o.Accept = func(*x509.Certificate) error { return nil }
	}
	return &Source{files: files, options: o, open: map[*held]struct{}{}}
}

// Files are where the material comes from.
func (s *Source) Files() Files { return s.files }

// Current is the material of this moment.
func (s *Source) Current() *Material { return s.current.Load() }

// Changed is closed when the material of this moment has been replaced. Ask for it
// before Current.
func (s *Source) Changed() <-chan struct{} { return *s.changed.Load() }

// replace puts material in place, ends the connections that are not good with it, and
// tells those who wait for it.
func (s *Source) replace(m *Material) {
	next := make(chan struct{})
	s.current.Store(m)
	if before := s.changed.Swap(&next); before != nil {
		close(*before)
	}
	s.Review()
}

// Run follows the files until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	s.watchExpiry()
	return disk.Poll(ctx, ReloadEvery, func() {
		s.Check()
		s.watchClock()
		s.watchExpiry()
	})
}

// Check reads the files once and takes over what changed in them. What cannot be
// used is logged, once.
func (s *Source) Check() {
	if s.follow != nil {
		s.follow.Check()
	}
}

// use makes contents the material of the moment.
func (s *Source) use(c contents) error {
	m, err := s.load(c)
	if err != nil {
		return err
	}
	first := s.Current() == nil
	s.replace(m)
	if first {
		return nil
	}
	s.mu.Lock()
	s.warned = time.Time{}
	s.mu.Unlock()
	s.options.Logger.Info("TLS material was replaced", s.describe(m)...)
	return nil
}

// load makes material of contents that this program can work with.
func (s *Source) load(c contents) (*Material, error) {
	m, err := s.files.parse(c)
	if err != nil {
		return nil, err
	}
	if m.Certificate == nil {
		return m, nil
	}
	old, now := s.Current(), s.options.Now()
	if end := m.Certificate.Leaf.NotAfter; old != nil && !old.sameCertificate(m) && clock.Ended(end, now) {
		return nil, federation.Errorf(federation.Invalid, "%s ended at %s", s.files.Cert, end.UTC().Format(time.RFC3339))
	}
	if err := m.checkChain(now); err != nil {
		return nil, federation.Errorf(federation.Invalid, "%s is not of a CA in %s: %w", s.files.Cert, s.files.CA, err).
			WithHint("while a CA is being replaced %s holds the old and the new one", s.files.CA)
	}
	return m, s.options.Accept(m.Certificate.Leaf)
}

func (s *Source) describe(m *Material) []any {
	var attrs []any
	if m.Certificate != nil {
		attrs = append(attrs, "cert", s.files.Cert, "serial", m.Certificate.Leaf.SerialNumber.Text(16),
			"expires", m.Certificate.Leaf.NotAfter)
	}
	if m.Pool != nil {
		attrs = append(attrs, "ca", s.files.CA, "cas", len(m.CAs))
	}
	return attrs
}
