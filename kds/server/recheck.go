package server

import (
	"context"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/kds"
)

// Recheck asks about every open connection whether its admission still holds, and
// ends those of which it does not, with the reason; the others notice nothing.
// Whoever changes zones, control plane and zone keys, or what is revoked of them,
// calls it. A call about which cannot be decided now stays.
//
// The Authenticator is asked as a [Judge] where it is one. Otherwise it
// authenticates every call anew.
func (s *Server) Recheck(ctx context.Context) {
	s.epoch.Add(1)
	var zone string
	var verdicts []*verdict // of that zone, whose calls come one after the other
	for _, c := range s.registry.all("") {
		if c.creds.Zone != zone {
			s.cutAll(verdicts)
			zone, verdicts = c.creds.Zone, verdicts[:0]
		}
		v := verdictOn(verdicts, c)
		if v == nil {
			v = &verdict{call: c, err: s.judge(ctx, c)}
			verdicts = append(verdicts, v)
		}
		if v.err != nil {
			c.kick(v.err, s.limits.Linger)
			v.calls++
		}
	}
	s.cutAll(verdicts)
}

// verdict is what was decided about all calls that share a connection and an
// admission.
type verdict struct {
	call  *call // one of them
	err   error // nil: go on
	calls int   // ended
}

func verdictOn(verdicts []*verdict, c *call) *verdict {
	for _, v := range verdicts {
		if v.call.conn == c.conn && v.call.admission == c.admission {
			return v
		}
	}
	return nil
}

func (s *Server) cutAll(verdicts []*verdict) {
	for _, v := range verdicts {
		if v.err != nil {
			s.cut(v.call, v.err, v.calls)
		}
	}
}

// judge returns why an admission holds no longer, or nil.
func (s *Server) judge(ctx context.Context, c *call) error {
	judge, ok := s.cfg.Authenticator.(kds.Judge)
	if !ok {
		return s.holds(ctx, c)
	}
	if clock.Ended(c.admission.Expires, s.cfg.Now()) {
		return federation.Errorf(federation.Unauthenticated, "the credential of the session expired").WithReason(string(cptoken.Expired))
	}
	err := judge.Judge(c.admission)
	if code := federation.CodeOf(err); code == federation.Unauthenticated || code == federation.Forbidden {
		return err
	}
	return nil
}

// holds authenticates a call once more that was admitted. The error is why it
// must end; where the Authenticator cannot decide, there is none.
func (s *Server) holds(ctx context.Context, c *call) error {
	a, err := s.authenticate(ctx, c.creds)
	switch code := federation.CodeOf(err); {
	case code == federation.Unauthenticated || code == federation.Forbidden:
		return err
	case err == nil && a.Authenticated != c.admission.Authenticated:
		return kds.AuthChanged(c.creds.Zone)
	}
	return nil
}

// cut logs and counts a connection of a zone whose admission ended, with the
// number of calls that went with it.
func (s *Server) cut(c *call, err error, calls int) {
	e := federation.AsError(err)
	s.stats.end(e.Reason)
	suppressed, ok := s.lines.Allow("sessions that ended")
	if !ok {
		return
	}
	attrs := []any{"zone", c.creds.Zone, "reason", e.Reason, "detail", e.Error(), "remote", c.remote(), "calls", calls}
	if c.creds.Instance != "" {
		attrs = append(attrs, "instance", c.creds.Instance)
	}
	if c.admission.TokenID != "" {
		attrs = append(attrs, "tokenId", c.admission.TokenID)
	}
	if suppressed > 0 {
		attrs = append(attrs, "suppressed", suppressed)
	}
	s.cfg.Logger.Warn("Remote CP session ended", attrs...)
}
