package cptoken_test

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
)

// vectorNow is the time at which the vectors have their verdicts.
var vectorNow = time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)

// vectorKeys names the keys of the vectors; testdata/README.md says what each is.
var vectorKeys = []struct {
	file       string // in testdata/keys, without ".pub.pem"
	id         cptoken.KeyID
	registered *cptoken.Constraints
}{
	{"zone-1", cptoken.KeyID{Kind: cptoken.Zone, KID: "1"}, nil},
	{"dataplane-default-1", cptoken.KeyID{Kind: cptoken.Dataplane, Mesh: "default", KID: "1"}, nil},
	{"dataplane-other-1", cptoken.KeyID{Kind: cptoken.Dataplane, Mesh: "other", KID: "1"}, nil},
	{"user-1", cptoken.KeyID{Kind: cptoken.User, KID: "1"}, nil},
	// One key registered for two kinds, with bounds.
	{"offline", cptoken.KeyID{Kind: cptoken.Zone, KID: "key-1"}, &cptoken.Constraints{
		Zones: []string{"west"}, Scopes: []cptoken.Scope{cptoken.ScopeEgress}, AllowNoExpiry: true, AllowNoID: true,
	}},
	{"offline", cptoken.KeyID{Kind: cptoken.Dataplane, Mesh: "default", KID: "key-1"}, &cptoken.Constraints{MaxLifetime: 24 * time.Hour}},
}

// vectorProxy is the data plane proxy that dataplane tokens are held against.
var vectorProxy = cptoken.Proxy{Mesh: "default", Name: "dp-1", Tags: map[string][]string{
	"kuma.io/service": {"backend", "backend-admin"}, "version": {"1"},
}, Workload: "backend"}

// vectorView is what the vectors are verified against.
type vectorView struct {
	keys    map[cptoken.KeyID]*cptoken.PublicKey
	revoked []string
	cutOff  time.Time // of user tokens
}

func (v *vectorView) Key(id cptoken.KeyID) *cptoken.PublicKey { return v.keys[id] }

func (v *vectorView) Revoked(_ cptoken.Kind, _, id string) bool {
	return slices.Contains(v.revoked, id)
}

func (v *vectorView) CutOff(kind cptoken.Kind, _, _ string) time.Time {
	if kind == cptoken.User {
		return v.cutOff
	}
	return time.Time{}
}

func (*vectorView) Pruned() (none time.Time) { return none }

// vectorSecrets are the control plane keys: 1 was imported, 2 was made here.
type vectorSecrets map[uint64]*issue.SigningKey

func (s vectorSecrets) ControlPlaneKey(serial uint64) (*issue.SigningKey, bool) {
	return s[serial], serial == 1
}

func loadVectorWorld(t *testing.T) (*vectorView, vectorSecrets) {
	t.Helper()
	view := &vectorView{keys: map[cptoken.KeyID]*cptoken.PublicKey{}}
	for _, k := range vectorKeys {
		block, _ := pem.Decode(readFile(t, "keys", k.file+".pub.pem"))
		if block == nil {
			t.Fatalf("%s is not PEM", k.file)
		}
		key, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if view.keys[k.id], err = cptoken.NewPublicKey(k.id, cptoken.AlgRS256, cptoken.Active, der, k.registered); err != nil {
			t.Fatal(err)
		}
	}
	view.cutOff = time.Date(2027, 1, 10, 0, 0, 0, 0, time.UTC)
	view.revoked = strings.Fields(string(readFile(t, "revoked.txt")))
	return view, loadVectorSecrets(t)
}

func loadVectorSecrets(t *testing.T) vectorSecrets {
	t.Helper()
	secrets := vectorSecrets{}
	for _, serial := range []uint64{1, 2} {
		raw, err := hex.DecodeString(strings.TrimSpace(string(readFile(t, "keys", "control-plane-"+cptoken.SerialKID(serial)+".test-only.hex"))))
		if err != nil {
			t.Fatal(err)
		}
		secrets[serial], err = issue.Import(issue.Ref{Kind: cptoken.ControlPlane, Serial: serial}, raw)
		if err != nil {
			t.Fatal(err)
		}
	}
	return secrets
}

func readFile(t *testing.T, parts ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", filepath.Join(parts...)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// present does with a token what the one who is asked to accept it does.
func present(as, raw string, view cptoken.View, secrets vectorSecrets, v *cptoken.Verifier) error {
	kind := cptoken.Kind(as)
	if as == "cp" {
		kind = cptoken.Zone
	}
	var claims *cptoken.Claims
	var err error
	if kind == cptoken.ControlPlane {
		claims, err = issue.VerifyControlPlane(raw, secrets, view, vectorNow)
	} else {
		claims, err = v.Verify(view, kind, raw)
	}
	if err != nil {
		return err
	}
	switch as {
	case "zone":
		return claims.CheckZoneProxy("west", cptoken.ScopeEgress)
	case "control-plane", "cp":
		return claims.CheckControlPlane("west")
	case "dataplane":
		return claims.CheckDataplane(vectorProxy)
	}
	return nil
}

// TestVectors holds every vector against the verdict in its name:
// <verdict>.<presented as>.<what it is>.jwt.
func TestVectors(t *testing.T) {
	view, secrets := loadVectorWorld(t)
	files, err := filepath.Glob(filepath.Join("testdata", "*.jwt"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		name := filepath.Base(file)
		parts := strings.SplitN(strings.TrimSuffix(name, ".jwt"), ".", 3)
		if len(parts) != 3 {
			t.Errorf("%s: want <verdict>.<presented as>.<what it is>.jwt", name)
			continue
		}
		seen[parts[0]] = true
		t.Run(name, func(t *testing.T) {
			v := cptoken.NewVerifier(cptoken.VerifierOptions{Now: func() time.Time { return vectorNow }})
			raw := strings.TrimSuffix(string(readFile(t, name)), "\n")
			for range 2 { // again, from the cache
				err := present(parts[1], raw, view, secrets, v)
				verdict := "accepted"
				if err != nil {
					verdict = string(cptoken.ReasonOf(err))
				}
				if verdict != parts[0] {
					t.Fatalf("verdict %s (%v)", verdict, err)
				}
			}
		})
	}
	for _, must := range []cptoken.Reason{"accepted", cptoken.Malformed, cptoken.TooLarge, cptoken.UnsupportedAlgorithm, cptoken.MissingKID,
		cptoken.UnknownKey, cptoken.BadSignature, cptoken.WrongKind, cptoken.Expired, cptoken.NotYetValid, cptoken.MissingExpiry, cptoken.MissingID,
		cptoken.Revoked, cptoken.IssuedBeforeCutOff, cptoken.WrongZone, cptoken.OutOfScope, cptoken.WrongMesh, cptoken.WrongName,
		cptoken.WrongType, cptoken.TagMismatch, cptoken.WrongWorkload, cptoken.UnknownClaim, cptoken.NotAllowed} {
		if !seen[string(must)] {
			t.Errorf("no vector has the verdict %s", must)
		}
	}
}

// TestExampleControlPlaneToken: the token in the documents of Kong Mesh's users
// is read, and one of exactly its shape, signed with a secret that we know, is
// accepted.
func TestExampleControlPlaneToken(t *testing.T) {
	view, secrets := loadVectorWorld(t)
	example := strings.TrimSpace(string(readFile(t, "bad_signature.control-plane.example.jwt")))
	tok, err := cptoken.Inspect(example)
	if err != nil {
		t.Fatal(err)
	}
	c := tok.Claims
	if tok.Alg != "HS256" || tok.HasKID || c.Kind != cptoken.ControlPlane || c.Zone != "west" || c.TokenSerialNumber != 1 ||
		c.ID != "" || !c.ExpiresAt.IsZero() || !c.IssuedAt.IsZero() {
		t.Errorf("read as %q %v %+v", tok.Alg, tok.HasKID, c)
	}
	if !strings.HasPrefix(tok.RevocationID(), "sha256:") {
		t.Errorf("revoked as %s", tok.RevocationID())
	}
	ours := strings.TrimSpace(string(readFile(t, "accepted.control-plane.example-shape.jwt")))
	same, err := cptoken.Inspect(ours)
	if err != nil {
		t.Fatal(err)
	}
	if same.SigningInput() != tok.SigningInput() {
		t.Fatal("the vector has not exactly the example's shape")
	}
	claims, err := issue.VerifyControlPlane(ours, secrets, view, vectorNow)
	if err != nil {
		t.Fatal(err)
	}
	if claims.Zone != "west" || claims.TokenSerialNumber != 1 {
		t.Errorf("claims %+v", claims)
	}
	// Without its jti it is still revocable.
	view.revoked = append(view.revoked, same.RevocationID())
	if _, err := issue.VerifyControlPlane(ours, secrets, view, vectorNow); cptoken.ReasonOf(err) != cptoken.Revoked {
		t.Errorf("revoked by hash: %v", err)
	}
}
