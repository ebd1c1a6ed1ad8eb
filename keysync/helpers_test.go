package keysync

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

const testCluster = "6f9b52a8-3b6f-4d0c-9d0a-5f2f6b2f8f11"

var (
	history1 = federation.History{ID: "00000000000000a1", Created: 1000}
	history2 = federation.History{ID: "00000000000000b2", Created: 2000}
)

// testDERs are public keys to make test keys of: making an RSA key is slow.
var testDERs = sync.OnceValue(func() (ders [3][]byte) {
	for i := range ders {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		if ders[i], err = x509.MarshalPKIXPublicKey(&k.PublicKey); err != nil {
			panic(err)
		}
	}
	return ders
})

func testKey(t testing.TB, kind cptoken.Kind, mesh, kid string, der int, state cptoken.KeyState) *cptoken.PublicKey {
	t.Helper()
	k, err := cptoken.NewPublicKey(cptoken.KeyID{Kind: kind, Mesh: mesh, KID: kid}, cptoken.AlgRS256, state, testDERs()[der], nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func zoneKey(kid string) cptoken.KeyID { return cptoken.KeyID{Kind: cptoken.Zone, KID: kid} }

func rev(h federation.History, index uint64) federation.Revision {
	return federation.Revision{History: h, Index: index}
}

func full(h federation.History, to uint64, changes ...cptoken.Change) cptoken.Part {
	return cptoken.Part{Cluster: testCluster, To: rev(h, to), Full: true, Last: true, Changes: changes}
}

func delta(h federation.History, from, to uint64, changes ...cptoken.Change) cptoken.Part {
	return cptoken.Part{Cluster: testCluster, From: rev(h, from), To: rev(h, to), Last: true, Changes: changes}
}

func revoked(index uint64, ids ...string) cptoken.Change {
	return cptoken.Change{Index: index, Revoked: run(ids...)}
}

func revokedUntil(index uint64, id string, expires int64) cptoken.Change {
	r := run(id)
	r.IDs[0].Expires = expires
	return cptoken.Change{Index: index, Revoked: r}
}

func withdrawn(index uint64, ids ...string) cptoken.Change {
	return cptoken.Change{Index: index, Withdrawn: run(ids...)}
}

func run(ids ...string) *cptoken.RevokedRun {
	r := &cptoken.RevokedRun{Kind: cptoken.Zone}
	for _, id := range ids {
		r.IDs = append(r.IDs, cptoken.RevokedID{ID: id})
	}
	return r
}

func keyed(index uint64, k *cptoken.PublicKey) cptoken.Change {
	return cptoken.Change{Index: index, Key: k}
}

func removed(index uint64, id cptoken.KeyID) cptoken.Change {
	return cptoken.Change{Index: index, RemovedKey: &id}
}

func cutOffAt(index uint64, before int64) cptoken.Change {
	return cptoken.Change{Index: index, CutOff: &cptoken.CutOff{
		CutOffID: cptoken.CutOffID{Kind: cptoken.Zone}, Before: time.Unix(before, 0),
	}}
}

func cutOffWithdrawn(index uint64) cptoken.Change {
	return cptoken.Change{Index: index, CutOffWithdrawn: &cptoken.CutOffID{Kind: cptoken.Zone}}
}

// uuidOf returns a different UUID for each i.
func skipped(index uint64, name string, key *cptoken.KeyID) cptoken.Change {
	return cptoken.Change{Index: index, Skipped: &cptoken.Skipped{Name: name, Key: key}}
}

func uuidOf(i int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(i)*2654435761, i) }

func testOptions(tb testing.TB) Options {
	return Options{Zone: "west", Logger: slog.New(slog.NewTextHandler(tb.Output(), nil)), LockTimeout: time.Millisecond}
}

func openAt(tb testing.TB, path string) *Store {
	tb.Helper()
	s, err := Open(path, testOptions(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

func openNew(tb testing.TB) *Store {
	tb.Helper()
	return openAt(tb, filepath.Join(tb.TempDir(), "zone.db"))
}

func reopened(tb testing.TB, s *Store) *Store {
	tb.Helper()
	if err := s.Close(); err != nil {
		tb.Fatal(err)
	}
	return openAt(tb, s.path)
}

func mustApply(tb testing.TB, s *Store, parts ...cptoken.Part) {
	tb.Helper()
	for _, p := range parts {
		if err := s.Apply(tb.Context(), p); err != nil {
			tb.Fatalf("part %d to %s: %v", p.Number, p.To, err)
		}
	}
}

func wantReason(tb testing.TB, err error, reason string) {
	tb.Helper()
	if err == nil || federation.AsError(err).Reason != reason {
		tb.Fatalf("got %v, want an error with the reason %s", err, reason)
	}
}

func wantRevoked(tb testing.TB, s *Store, want bool, ids ...string) {
	tb.Helper()
	for _, id := range ids {
		if got := s.View().Revoked(cptoken.Zone, "", id); got != want {
			tb.Errorf("revoked(%s) = %v, want %v", id, got, want)
		}
	}
}
