package server

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"unique"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/wire"
)

// admitStream is the interceptor that every call of every service passes:
// nothing on this port reads a byte of, or answers, a caller that was not admitted, but
// for the question of balancers whether it is there.
func (s *Server) admitStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if info.FullMethod == kds.RPCHealth {
		return handler(srv, ss)
	}
	ctx := ss.Context()
	epoch := s.epoch.Load()
	c, err := s.admit(ctx, info.FullMethod)
	if err != nil {
		return err
	}
	if err := s.registry.enter(c); err != nil {
		return wire.StatusOf(err)
	}
	defer s.registry.leave(c)
	if s.epoch.Load() != epoch {
		if err := s.holds(ctx, c); err != nil {
			s.refuse(c, err)
			return wire.StatusOf(err)
		}
	}

	// Shared bytes are sent as they are: compressing them anew for every stream
	// would cost more processor and memory than it saves on the wire.
	if err := grpc.SetSendCompressor(ctx, "identity"); err != nil {
		return wire.StatusOf(err)
	}
	cluster, _ := s.cfg.Source.Head()
	header := metadata.Pairs(kds.MDMember, s.cfg.Member, kds.MDCluster, cluster, kds.MDContact, strconv.FormatInt(s.cfg.LeaderContact().Milliseconds(), 10))
	if every := s.cfg.Keepalive.Stream; every > 0 {
		header.Set(kds.MDStreamKeepalive, strconv.FormatInt(every.Milliseconds(), 10))
	}
	if err := ss.SendHeader(header); err != nil {
		return wire.StatusOf(federation.Errorf(federation.Unavailable, "the caller left"))
	}
	return handler(srv, &callStream{ServerStream: ss, ctx: withCall(ctx, c)})
}

// admit authenticates a call. The error is a status, ready for the caller; the
// reason in full is in the log.
func (s *Server) admit(ctx context.Context, method string) (*call, error) {
	c := &call{method: method, kicked: make(chan struct{})}
	c.conn = callerOf(ctx, &c.creds)
	md, _ := metadata.FromIncomingContext(ctx)
	defer c.conn.under().Call(md)()
	err := readMetadata(ctx, &c.creds)
	if err == nil {
		c.admission, err = s.authenticate(ctx, c.creds)
	}
	if err == nil {
		err = c.conn.proved(c.admission)
	}
	if err != nil {
		s.refuse(c, err)
		if s.cfg.Refused != nil {
			if instead := s.cfg.Refused(ctx, Refusal{Zone: c.creds.Zone, Remote: c.remote(), Method: method, Position: c.creds.Position, Err: err}); instead != nil {
				err = instead
			}
		}
		return nil, wire.StatusOf(err)
	}
	s.stats.authenticated.Add(1)
	s.logAdmission(c)
	return c, nil
}

// authenticate asks the Authenticator and holds it to its word: whatever it
// admitted, a caller speaks for the zone that its credential names and no other.
func (s *Server) authenticate(ctx context.Context, creds kds.Credentials) (kds.Admission, error) {
	ctx, cancel := context.WithTimeout(ctx, s.limits.Authenticate)
	defer cancel()
	a, err := s.cfg.Authenticator.Authenticate(ctx, creds)
	if err != nil {
		return kds.Admission{}, err
	}
	if a.Zone != creds.Zone {
		return kds.Admission{}, federation.Errorf(federation.Forbidden,
			"the credential is for zone %.80q, the call is for zone %s", a.Zone, creds.Zone).WithReason(string(cptoken.WrongZone))
	}
	if clock.Ended(a.Expires, s.cfg.Now()) {
		return kds.Admission{}, federation.Errorf(federation.Unauthenticated, "the credential expired").WithReason(string(cptoken.Expired))
	}
	return a, nil
}

// readMetadata fills in what the caller says about itself.
func readMetadata(ctx context.Context, c *kds.Credentials) error {
	md, _ := metadata.FromIncomingContext(ctx)
	zones := md.Get(kds.MDZone)
	if len(zones) != 1 {
		return federation.Errorf(federation.Unauthenticated,
			"the call has %d %s metadata, want exactly one", len(zones), kds.MDZone).WithReason(kds.ReasonNoZone)
	}
	if err := federation.ValidateName(kds.MDZone, zones[0]); err != nil {
		return federation.Errorf(federation.Unauthenticated, "%w", err).WithReason(kds.ReasonNoZone)
	}
	c.Zone = zones[0]
	connection, position := "", ""
	c.Meridian = slices.Contains(md.Get(kds.MDFeatures), kds.FeatureMeridian)
	for _, f := range []struct {
		key   string
		limit int
		into  *string
	}{
		{kds.MDAuthorization, kds.MaxAuthorization, &c.Authorization},
		{kds.MDVersion, kds.MaxVersionLen, &c.Version},
		{kds.MDInstance, kds.MaxInstanceLen, &c.Instance},
		{kds.MDVocabulary, kds.MaxVocabularyLen, &c.Vocabulary},
		{kds.MDTrusts, kds.MaxTrustsLen, &c.Trusts},
		{kds.MDConnection, kds.MaxConnectionLen, &connection},
		{kds.MDPosition, kds.MaxPositionLen, &position},
	} {
		values := md.Get(f.key)
		switch {
		case len(values) == 0:
			continue
		case len(values) > 1:
			return federation.Errorf(federation.Unauthenticated,
				"the call has %d %s metadata, want at most one", len(values), f.key).WithReason(kds.ReasonBadMetadata)
		case len(values[0]) > f.limit:
			return federation.Errorf(federation.Unauthenticated,
				"the call's %s metadata has %d bytes, want at most %d", f.key, len(values[0]), f.limit).WithReason(kds.ReasonBadMetadata)
		}
		*f.into = values[0]
	}
	c.Version, c.Instance, c.Vocabulary = wire.Printable(c.Version), wire.Printable(c.Instance), wire.Printable(c.Vocabulary)
	c.Connection, _ = strconv.ParseUint(connection, 10, 64)   // it orders what is shown, and nothing else
	c.Position, _ = base64.StdEncoding.DecodeString(position) // it proves itself, or nothing
	// Thousands of zones trust the same CAs: they share one text.
	c.Trusts = unique.Make(wire.Printable(c.Trusts)).Value()
	return nil
}

// refusedLine is the line of a refusal, and its kind for the limiter.
const refusedLine = "Remote CP refused"

// refuse logs and counts a call that was not admitted, or a session that lost
// its admission.
func (s *Server) refuse(c *call, err error) {
	e := federation.AsError(err)
	reason := e.Reason
	if reason == "" {
		reason = string(e.Code)
	}
	s.stats.refuse(reason)
	// A zone of Kuma's makes six calls at once, which are one event to an operator.
	if c.conn != nil {
		if first, certain := c.conn.firstTime("refused\x00" + c.creds.Zone + "\x00" + reason); certain && !first {
			return
		}
	}
	suppressed, ok := s.lines.Allow(refusedLine)
	if !ok {
		return
	}
	attrs := []any{
		"zone", c.creds.Zone, "reason", reason, "detail", e.Error(),
		"remote", c.remote(), "method", c.method,
	}
	if e.Hint != "" {
		attrs = append(attrs, "hint", e.Hint)
	}
	if e.Code == federation.Internal {
		attrs = append(attrs, "err", err)
	}
	if suppressed > 0 {
		attrs = append(attrs, "suppressed", suppressed)
	}
	s.cfg.Logger.Warn(refusedLine, attrs...)
}

// logAdmission writes the line that operators wait for when they roll out
// tokens; once a connection, not for each of the six calls that a zone makes. On
// a connection that speaks for very many zones or tokens some calls are logged
// again, and no more of them than a log can take.
func (s *Server) logAdmission(c *call) {
	a := &c.admission
	level := slog.LevelInfo
	var suppressed uint64
	if c.conn != nil {
		first, certain := c.conn.firstTime(fmt.Sprintf("%s\x00%s\x00%s\x00%d\x00%s", c.creds.Zone, a.Method, a.TokenID, a.TokenSerial, a.Verdict))
		if !certain {
			suppressed, first = s.lines.Allow("admissions of busy connections")
		}
		if !first {
			level = slog.LevelDebug
		}
	}
	attrs := []slog.Attr{slog.String("zone", a.Zone), slog.String("remote", c.remote())}
	if c.creds.Instance != "" {
		attrs = append(attrs, slog.String("instance", c.creds.Instance))
	}
	if suppressed > 0 {
		attrs = append(attrs, slog.Uint64("suppressed", suppressed))
	}
	if !a.Authenticated {
		if a.Verdict != "" {
			attrs = append(attrs, slog.String("verdict", a.Verdict))
		}
		s.cfg.Logger.LogAttrs(context.Background(), level, "Remote CP connected without authentication", attrs...)
		return
	}
	if a.Method == kds.MethodControlPlaneToken {
		attrs = append([]slog.Attr{slog.Uint64("tokenSerialNumber", a.TokenSerial)}, attrs...)
	}
	if a.TokenID != "" {
		attrs = append(attrs, slog.String("tokenId", a.TokenID))
	}
	s.cfg.Logger.LogAttrs(context.Background(), level, "Remote CP successfully authenticated using "+a.Method, attrs...)
}
