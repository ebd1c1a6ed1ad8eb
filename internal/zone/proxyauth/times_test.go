package proxyauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/internal/keyring"
)

// timesView is a View with a cut-off over everything.
type timesView struct {
	cptoken.View
	timesKnown
}

// timesKnown are the times that a view has: a cut-off, and up to when it was pruned.
type timesKnown struct{ cutOff, pruned time.Time }

func (v timesView) CutOff(cptoken.Kind, string, string) time.Time { return v.cutOff }

func (v timesView) Pruned() time.Time { return v.pruned }

// timesVerifier is one way in which a token of some key is verified.
type timesVerifier struct {
	claims      map[string]any
	sign        func(t *testing.T, claims map[string]any) string
	verify      func(raw string, known timesKnown, now time.Time) error
	signed      func(token *cptoken.Token) error
	maxLifetime time.Duration
	optional    bool // exp and iat may be missing
}

// timesVerifiers are all of them: each kind of key that the global has, keys that
// it only registered, those of a zone's settings, and control plane keys, whose
// verifier is another one.
func timesVerifiers(t *testing.T) map[string]timesVerifier {
	t.Helper()
	const bound = time.Hour
	der, err := x509.MarshalPKIXPublicKey(&globalKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	source := newCopy(t)
	public := func(id cptoken.KeyID, c *cptoken.Constraints) {
		if source.view.keys[id], err = cptoken.NewPublicKey(id, cptoken.AlgRS256, cptoken.Active, der, c); err != nil {
			t.Fatal(err)
		}
	}
	public(cptoken.KeyID{Kind: cptoken.User, KID: "1"}, nil)
	public(cptoken.KeyID{Kind: cptoken.Zone, KID: "ci"}, &cptoken.Constraints{MaxLifetime: bound})
	public(cptoken.KeyID{Kind: cptoken.Zone, KID: "ci-free"}, &cptoken.Constraints{AllowNoExpiry: true, AllowNoID: true})
	settings := keyring.Settings{}
	settings.Authn.DPProxy.DPToken.Validator.PublicKeys = []keyring.PublicKey{
		{KID: "own", Mesh: "default", Key: publicPEM(globalKey()), MaxLifetime: bound.String()},
	}
	if err := settings.Complete(); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.New(keyring.Config{Source: source, Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	zone := map[string]any{"Zone": "west", "Scope": []string{"egress"}, "jti": "a"}
	cp := map[string]any{"Zone": "west", "Scope": []string{"cp"}, "jti": "a"}
	dataplane := map[string]any{"Mesh": "default", "jti": "a"}
	public256 := func(kind cptoken.Kind, kid string, claims map[string]any, most time.Duration, optional bool) timesVerifier {
		return timesVerifier{
			claims: claims, maxLifetime: most, optional: optional,
			sign: func(t *testing.T, claims map[string]any) string { return sign(t, globalKey(), kid, claims) },
			verify: func(raw string, known timesKnown, now time.Time) error {
				v := cptoken.NewVerifier(cptoken.VerifierOptions{Now: func() time.Time { return now }, CacheBytes: -1})
				_, err := v.Verify(timesView{ring.View(), known}, kind, raw)
				return err
			},
			signed: func(token *cptoken.Token) error { return cptoken.Signed(ring.View(), kind, token) },
		}
	}
	all := map[string]timesVerifier{
		"zone":                     public256(cptoken.Zone, "1", zone, 0, false),
		"zone, scope cp":           public256(cptoken.Zone, "1", cp, 0, false),
		"dataplane":                public256(cptoken.Dataplane, "1", dataplane, 0, false),
		"user":                     public256(cptoken.User, "1", map[string]any{"Name": "jane", "jti": "a"}, 0, false),
		"registered, bounded":      public256(cptoken.Zone, "ci", zone, bound, false),
		"registered, no expiry":    public256(cptoken.Zone, "ci-free", zone, 0, true),
		"in the settings, bounded": public256(cptoken.Dataplane, "own", dataplane, bound, false),
	}
	for name, imported := range map[string]bool{"control plane": false, "control plane, imported": true} {
		secret := []byte("0123456789abcdef0123456789abcdef")
		key, err := issue.Import(issue.Ref{Kind: cptoken.ControlPlane, Serial: 1}, secret)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = timesVerifier{
			claims: map[string]any{"Zone": "west", "TokenSerialNumber": 1, "jti": "a"}, optional: imported,
			sign: func(t *testing.T, claims map[string]any) string { return hs256(t, secret, claims) },
			verify: func(raw string, known timesKnown, now time.Time) error {
				_, err := issue.VerifyControlPlane(raw, oneSecret{key, imported}, timesView{source.View(), known}, now)
				return err
			},
			signed: func(token *cptoken.Token) error { return issue.SignedControlPlane(token, oneSecret{key, imported}) },
		}
	}
	return all
}

type oneSecret struct {
	key      *issue.SigningKey
	imported bool
}

func (s oneSecret) ControlPlaneKey(uint64) (*issue.SigningKey, bool) { return s.key, s.imported }

func hs256(t *testing.T, secret []byte, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding
	input := enc.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + enc.EncodeToString(payload)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + enc.EncodeToString(mac.Sum(nil))
}

// dates are those of one token, in seconds after testNow; absent where the token
// has none.
type dates struct{ iat, nbf, exp int64 }

const (
	absent  = int64(-1 << 62)
	in2099  = int64(72 * 365 * 86400)
	maxSkew = int64(cptoken.MaxSkew / time.Second)
)

// eachDates yields the combinations of dates around every boundary.
func eachDates(yield func(dates) bool) {
	for _, iat := range []int64{absent, -7200, -3600, -600, 0, maxSkew, maxSkew + 1, 3600, in2099} {
		nbfs := []int64{-300, 1}
		if iat == absent {
			nbfs = append(nbfs, absent)
		}
		for _, nbf := range nbfs {
			exps := []int64{absent, -1, 0, 1, 1800, 3600, 3601, in2099 + 3600}
			if iat != absent {
				exps = append(exps, iat-1, iat, iat+3600)
			}
			for _, exp := range exps {
				if !yield(dates{iat, nbf, exp}) {
					return
				}
			}
		}
	}
}

// sound says, from the dates alone, whether a token may be accepted.
func (d dates) sound(v timesVerifier) bool {
	has := func(n int64) bool { return n != absent }
	bound := int64(v.maxLifetime / time.Second)
	switch {
	case !has(d.exp) && !v.optional, !has(d.iat) && bound > 0,
		has(d.exp) && d.exp <= 0, has(d.nbf) && d.nbf > 0, has(d.iat) && d.iat > maxSkew,
		has(d.exp) && has(d.iat) && d.exp <= d.iat,
		bound > 0 && (d.exp-d.iat > bound || d.exp > bound):
		return false
	}
	return true
}

// TestDatesCannotBeTalkedAround holds every verifier against tokens whose dates lie
// around each boundary: what is accepted is within every bound, a cut-off later
// than the allowed skew ends it. What is refused can be revoked by showing it all the
// same: a Kuma zone may accept it.
func TestDatesCannotBeTalkedAround(t *testing.T) {
	for name, v := range timesVerifiers(t) {
		t.Run(name, func(t *testing.T) {
			accepted := 0
			for d := range eachDates {
				claims := map[string]any{}
				for k, value := range v.claims {
					claims[k] = value
				}
				for k, at := range map[string]int64{"iat": d.iat, "nbf": d.nbf, "exp": d.exp} {
					if at != absent {
						claims[k] = testNow.Unix() + at
					}
				}
				if name == "control plane" && d.iat == absent {
					continue // tokens of this kind that are made here have it
				}
				raw := v.sign(t, claims)
				token, err := cptoken.Parse(raw)
				if err != nil {
					t.Fatal(err)
				}
				if err := v.signed(token); err != nil {
					t.Errorf("%+v: could not be revoked: %v", d, err)
				}
				err = v.verify(raw, timesKnown{}, testNow)
				if want := d.sound(v); (err == nil) != want {
					t.Fatalf("%+v: %v, want accepted: %t", d, err, want)
				}
				if err != nil {
					continue
				}
				accepted++
				after := testNow.Add(cptoken.MaxSkew + time.Second)
				if err := v.verify(raw, timesKnown{cutOff: after}, testNow); cptoken.ReasonOf(err) != cptoken.IssuedBeforeCutOff {
					t.Errorf("%+v: a cut-off at %s lets it through: %v", d, after, err)
				}
			}
			if accepted < 4 {
				t.Errorf("%d combinations were accepted: the test proves little", accepted)
			}
		})
	}
}

// TestAClockThatIsSetBackBringsNothingBack holds every verifier, and the session that was
// opened before, against a clock that was set back: what expired before the view was last
// pruned has expired, because nobody remembers any more whether it was revoked.
func TestAClockThatIsSetBackBringsNothingBack(t *testing.T) {
	for name, v := range timesVerifiers(t) {
		t.Run(name, func(t *testing.T) {
			const life = 30 * time.Minute
			claims := map[string]any{"iat": testNow.Unix(), "nbf": testNow.Unix(), "exp": testNow.Add(life).Unix()}
			for k, value := range v.claims {
				claims[k] = value
			}
			raw := v.sign(t, claims)
			for _, pruned := range []time.Duration{-time.Hour, 0, life - 1, life, life + time.Second, 24 * time.Hour, 365 * 24 * time.Hour} {
				for _, now := range []time.Duration{0, time.Minute, life - time.Second, life} {
					err := v.verify(raw, timesKnown{pruned: testNow.Add(pruned)}, testNow.Add(now))
					if want := pruned >= life || now >= life; want != (cptoken.ReasonOf(err) == cptoken.Expired) || !want && err != nil {
						t.Errorf("pruned at %s, now %s: %v", pruned, now, err)
					}
				}
			}
		})
	}
}
