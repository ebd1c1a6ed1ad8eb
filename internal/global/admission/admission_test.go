package admission

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
)

// fakeStore is replicated state with two keys.
type fakeStore struct {
	controlPlane, zone *issue.SigningKey
	public             *cptoken.PublicKey
	zones              map[string]federation.Zone
	revoked            map[string]bool
	seen               []string
	count              int
	seeErr             error
	disabled           bool // by the time that the zone is recorded
}

func newStore(t *testing.T) *fakeStore {
	t.Helper()
	s := &fakeStore{zones: map[string]federation.Zone{}, revoked: map[string]bool{}}
	var err error
	if s.controlPlane, err = issue.Generate(issue.Ref{Kind: cptoken.ControlPlane, Serial: 1}); err != nil {
		t.Fatal(err)
	}
	if s.zone, err = issue.Generate(issue.Ref{Kind: cptoken.Zone, Serial: 1}); err != nil {
		t.Fatal(err)
	}
	if s.public, err = s.zone.Public(cptoken.Active); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *fakeStore) VerifyingKeys() cptoken.View { return s }

func (s *fakeStore) Key(id cptoken.KeyID) *cptoken.PublicKey {
	if id == s.public.ID {
		return s.public
	}
	return nil
}

func (s *fakeStore) Revoked(_ cptoken.Kind, _, id string) bool { return s.revoked[id] }

func (s *fakeStore) CutOff(cptoken.Kind, string, string) time.Time { return time.Time{} }

func (*fakeStore) Pruned() (none time.Time) { return none }

func (s *fakeStore) ControlPlaneKey(serial uint64) (*issue.SigningKey, bool) {
	if serial == 1 {
		return s.controlPlane, false
	}
	return nil, false
}

func (s *fakeStore) Zone(name string) (federation.Zone, bool) {
	z, ok := s.zones[name]
	return z, ok
}

func (s *fakeStore) Zones() []federation.Zone { return make([]federation.Zone, s.count) }

func (s *fakeStore) RecordZone(_ context.Context, name string) (federation.Zone, error) {
	s.seen = append(s.seen, name)
	return federation.Zone{Name: name, Enabled: !s.disabled}, s.seeErr
}

func (s *fakeStore) token(t *testing.T, claims cptoken.Claims) string {
	t.Helper()
	key := s.zone
	if claims.Kind == cptoken.ControlPlane {
		key = s.controlPlane
	}
	token, _, err := key.Issue(claims, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func authenticator(s *fakeStore, mode federation.AuthMode) *Authenticator {
	return New(Config{
		Store: s, Verifier: cptoken.NewVerifier(cptoken.VerifierOptions{}), Default: mode,
		Cluster: "prod", Logger: slog.New(slog.DiscardHandler),
	})
}

func TestTokens(t *testing.T) {
	s := newStore(t)
	own := s.token(t, cptoken.Claims{Kind: cptoken.ControlPlane, Zone: "west"})
	lost := s.token(t, cptoken.Claims{Kind: cptoken.ControlPlane, Zone: "west"})
	parsed, err := cptoken.Parse(lost)
	if err != nil {
		t.Fatal(err)
	}
	s.revoked[parsed.RevocationID()] = true
	zoneToken := func(zone string, scopes ...cptoken.Scope) string {
		return "Bearer " + s.token(t, cptoken.Claims{Kind: cptoken.Zone, Zone: zone, Scope: scopes})
	}
	for _, tc := range []struct {
		name, header, method, reason string
	}{
		{"its control plane token", "Bearer " + own, kds.MethodControlPlaneToken, ""},
		{"the scheme in another case", "bearer " + own, kds.MethodControlPlaneToken, ""},
		{"its zone token of scope cp", zoneToken("west", cptoken.ScopeCP), kds.MethodZoneToken, ""},
		{"a zone token without cp", zoneToken("west", cptoken.ScopeEgress), "", "out_of_scope"},
		{"another zone's scope cp", zoneToken("east", cptoken.ScopeCP), "", "wrong_zone"},
		{"another zone's token", "Bearer " + s.token(t, cptoken.Claims{Kind: cptoken.ControlPlane, Zone: "east"}), "", "wrong_zone"},
		{"a revoked token", "Bearer " + lost, "", "revoked"},
		{"nothing", "", "", "missing_token"},
		{"no scheme", own, "", "malformed"},
		{"basic", "Basic " + own, "", "malformed"},
		{"rubbish", "Bearer x.y.z", "", "malformed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.seen = nil
			got, err := authenticator(s, federation.AuthToken).Authenticate(context.Background(), kds.Credentials{Zone: "west", Authorization: tc.header})
			if tc.reason != "" {
				e := federation.AsError(err)
				if e == nil || e.Reason != tc.reason || (e.Code != federation.Unauthenticated && e.Code != federation.Forbidden) {
					t.Errorf("got %+v, %#v, want a refusal for %s", got, e, tc.reason)
				}
				if len(s.seen) != 0 {
					t.Error("a refused caller was recorded")
				}
				return
			}
			if err != nil || got.Method != tc.method || !got.Authenticated || got.Zone != "west" || got.TokenID == "" || got.Expires.IsZero() {
				t.Errorf("got %+v, %v", got, err)
			}
			if len(s.seen) != 1 || s.seen[0] != "west" {
				t.Errorf("recorded %v", s.seen)
			}
		})
	}
}

func TestTheRecordDecides(t *testing.T) {
	s := newStore(t)
	header := "Bearer " + s.token(t, cptoken.Claims{Kind: cptoken.ControlPlane, Zone: "west"})
	ask := func(z federation.Zone) error {
		z.Name = "west"
		s.zones["west"] = z
		_, err := authenticator(s, federation.AuthToken).Authenticate(context.Background(), kds.Credentials{Zone: "west", Authorization: header})
		return err
	}
	for reason, zone := range map[string]federation.Zone{
		"zone_disabled":       {Enabled: false},
		"zone_deleted":        {Enabled: true, Deleted: true},
		"missing_certificate": {Enabled: true, Auth: federation.AuthCertificate},
	} {
		if e := federation.AsError(ask(zone)); e == nil || e.Reason != reason {
			t.Errorf("%+v: %v, want %s", zone, e, reason)
		}
	}
	s.zones["west"] = federation.Zone{Name: "west", Deleted: true}
	_, err := authenticator(s, federation.AuthToken).Authenticate(context.Background(), kds.Credentials{Zone: "west"})
	if e := federation.AsError(err); e == nil || e.Reason != "missing_token" {
		t.Errorf("a stranger learns of a deleted zone: %v", err)
	}
	s.seen = nil
	if err := ask(federation.Zone{Enabled: true, FirstSeen: time.Now()}); err != nil || len(s.seen) != 0 {
		t.Errorf("a zone seen before: %v, recorded %v", err, s.seen)
	}
	s.disabled = true
	if e := federation.AsError(ask(federation.Zone{Enabled: true})); e == nil || e.Reason != "zone_disabled" {
		t.Errorf("disabled while it was admitted: %v", e)
	}
	s.seeErr = errors.New("no leader")
	if err := ask(federation.Zone{Enabled: true}); !errors.Is(err, s.seeErr) {
		t.Errorf("a failure to record was swallowed: %v", err)
	}
}

func TestCertificates(t *testing.T) {
	s := newStore(t)
	ask := func(uri string) error {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		_, err = authenticator(s, federation.AuthCertificate).Authenticate(context.Background(),
			kds.Credentials{Zone: "west", Certificate: &x509.Certificate{URIs: []*url.URL{u}}})
		return err
	}
	if err := ask("meridian://prod/zone/west"); err != nil {
		t.Errorf("its own certificate: %v", err)
	}
	for uri, reason := range map[string]string{
		"meridian://prod/zone/east": "wrong_zone",
		"meridian://test/zone/west": "wrong_zone",
		"meridian://prod/node/west": "wrong_zone",
		"meridian://prod/user/west": "wrong_zone",
		"https://west.example.com/": "bad_identity",
	} {
		if e := federation.AsError(ask(uri)); e == nil || e.Reason != reason {
			t.Errorf("%s: %v, want %s", uri, e, reason)
		}
	}
}

func TestNoneAdmitsAnybodyAndTellsTheVerdict(t *testing.T) {
	s := newStore(t)
	ask := func(header string) kds.Admission {
		got, err := authenticator(s, federation.AuthNone).Authenticate(context.Background(), kds.Credentials{Zone: "west", Authorization: header})
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		return got
	}
	if got := ask(""); got.Authenticated || got.Method != kds.MethodNone || got.Verdict != "" {
		t.Errorf("nothing presented: %+v", got)
	}
	if got := ask("Bearer " + s.token(t, cptoken.Claims{Kind: cptoken.ControlPlane, Zone: "east"})); got.Authenticated || got.Verdict != "wrong_zone" {
		t.Errorf("another zone's token: %+v", got)
	}
	if got := ask("Bearer " + s.token(t, cptoken.Claims{Kind: cptoken.ControlPlane, Zone: "west"})); !got.Authenticated {
		t.Errorf("its own token: %+v", got)
	}
	s.count = maxUnproven
	if _, err := authenticator(s, federation.AuthNone).Authenticate(context.Background(), kds.Credentials{Zone: "new"}); err == nil {
		t.Error("strangers can have any number of records made")
	}
}

func TestStrangersCannotFillTheLog(t *testing.T) {
	s := newStore(t)
	var log bytes.Buffer
	now := time.Now()
	a := New(Config{
		Store: s, Verifier: cptoken.NewVerifier(cptoken.VerifierOptions{}), Default: federation.AuthNone,
		Cluster: "prod", Logger: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return now },
	})
	ask := func() {
		if _, err := a.Authenticate(context.Background(), kds.Credentials{Zone: "west", Authorization: "Bearer x.y.z"}); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 {
		ask()
	}
	if n := strings.Count(log.String(), "\n"); n == 0 || n > 50 {
		t.Errorf("%d lines for 1000 calls", n)
	}
	now = now.Add(time.Minute)
	ask()
	if !strings.Contains(log.String(), "suppressed=") {
		t.Error("the log does not say that lines were left out")
	}
}
