package tlsutil

import (
	"crypto/x509"
	"math"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
)

// WarnAhead is how long before a certificate's end its node begins to say so,
// once a day.
const WarnAhead = 30 * 24 * time.Hour

// expiryEvery is how often a node looks at the ends of its certificates.
const expiryEvery = 24 * time.Hour

// Expiry tells when a certificate in use ends.
type Expiry struct {
	File     string // where it came from
	Subject  string // its identity, or its subject where it has none
	CA       bool
	NotAfter time.Time
}

// DaysLeft returns the whole days until the end, negative after it.
func (e Expiry) DaysLeft(now time.Time) int {
	return int(math.Floor(clock.Left(e.NotAfter, now).Hours() / 24))
}

// Expiries tells of every certificate in use, the own one first.
func (s *Source) Expiries() []Expiry {
	m := s.Current()
	var list []Expiry
	if m.Certificate != nil {
		list = append(list, Expiry{File: s.files.Cert, Subject: SubjectOf(m.Certificate.Leaf), NotAfter: m.Certificate.Leaf.NotAfter})
	}
	for _, ca := range m.CAs {
		list = append(list, Expiry{File: s.files.CA, Subject: SubjectOf(ca), CA: true, NotAfter: ca.NotAfter})
	}
	return list
}

// SubjectOf names a certificate for operators: its identity, or what its subject
// says where it has none.
func SubjectOf(cert *x509.Certificate) string {
	if id, err := IdentityOf(cert); err == nil {
		return id.URI().String()
	}
	return cert.Subject.String()
}

// Unready returns why what this program made itself cannot be used: by the clock, which
// was set, the certificate or its CA is not valid. It is nil where the files are
// somebody else's, who is told of their end.
func (s *Source) Unready() error {
	m := s.Current()
	if s.options.Renew == nil || m.Certificate == nil {
		return nil
	}
	now := s.options.Now()
	for _, cert := range append([]*x509.Certificate{m.Certificate.Leaf}, m.CAs...) {
		if err := dated(cert, now); err != nil {
			return federation.AsError(err).WithHint("it is made anew within %s; set this machine's clock right", ReloadEvery)
		}
	}
	return nil
}

// watchClock makes anew what by the clock is not valid any more, or not yet, and says so
// once.
func (s *Source) watchClock() {
	err := s.Unready()
	said := ""
	if err != nil {
		said = federation.AsError(err).Reason
	}
	s.mu.Lock()
	first := said != s.broken
	s.broken = said
	s.mu.Unlock()
	if err == nil {
		return
	}
	if first {
		s.options.Logger.Error("the clock was set, and TLS material that was made here is not valid by it: it is made anew", "error", err)
	}
	if err := s.options.Renew(); err != nil && first {
		s.options.Logger.Error("TLS material could not be made anew, which will be tried again", "in", ReloadEvery, "error", err)
	}
	s.Check()
}

// watchExpiry renews what it can and says what ends soon, once a day and anew
// when the material was replaced.
func (s *Source) watchExpiry() {
	s.mu.Lock()
	now := s.options.Now()
	due := s.warned.IsZero() || clock.Span(s.warned, now).Abs() >= expiryEvery
	if due {
		s.warned = now
	}
	s.mu.Unlock()
	if !due {
		return
	}
	if s.options.Renew != nil {
		if err := s.options.Renew(); err != nil {
			s.options.Logger.Warn("renewing a certificate will be tried again in a day", "error", err)
		}
		s.Check()
	}
	for _, e := range s.Expiries() {
		attrs := []any{"file", e.File, "subject", e.Subject, "ca", e.CA, "notAfter", e.NotAfter, "daysLeft", e.DaysLeft(now)}
		switch {
		case clock.Ended(e.NotAfter, now):
			s.options.Logger.Error("a certificate has ended: connections that need it fail", attrs...)
		case clock.Ended(e.NotAfter, now.Add(WarnAhead)):
			s.options.Logger.Warn("a certificate ends soon: replace the file, it is taken over without a restart", attrs...)
		}
	}
}
