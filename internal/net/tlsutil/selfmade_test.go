package tlsutil

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSelfMadeMaterialFollowsTheClock sets the clock to every side of what was made: until
// it is made anew the source says so, and then it holds by the clock. A CA that holds stays.
func TestSelfMadeMaterialFollowsTheClock(t *testing.T) {
	const day = 24 * time.Hour
	for name, tt := range map[string]struct {
		step    time.Duration
		unready bool
		newCA   bool
	}{
		"a second":           {time.Second, false, false},
		"four minutes back":  {-4 * time.Minute, false, false},
		"an hour back":       {-time.Hour, true, true},
		"a year back":        {-365 * day, true, true},
		"to the last moment": {LeafLifetime - time.Second, false, false},
		"to the leaf's end":  {LeafLifetime, true, false},
		"five years on":      {5 * 365 * day, true, false},
		"to the CA's end":    {CALifetime, true, true},
		"a century on":       {100 * 365 * day, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			began := d.now()
			s, err := OpenSelfMade(d.dir, nodeA, []string{"localhost"}, d.options())
			if err != nil {
				t.Fatal(err)
			}
			s.watchExpiry() // what is done once a day is done
			read := func() []byte {
				data, err := os.ReadFile(filepath.Join(d.dir, CAFile))
				if err != nil {
					t.Fatal(err)
				}
				return data
			}
			before := read()
			if err := s.Unready(); err != nil {
				t.Fatal(err)
			}
			d.set(began.Add(tt.step))
			if err := s.Unready(); (err != nil) != tt.unready {
				t.Fatalf("by the new clock: %v", err)
			}
			s.watchClock()
			s.watchClock()
			if err := s.Unready(); err != nil {
				t.Errorf("it was not made anew: %v\n%s", err, d.log)
			}
			if n := d.said("the clock was set"); (n == 1) != tt.unready {
				t.Errorf("it was said %d times:\n%s", n, d.log)
			}
			if kept := bytes.Equal(read(), before); kept == tt.newCA {
				t.Errorf("the CA was kept: %v", kept)
			}
			m := s.Current()
			if _, err := m.Certificate.Leaf.Verify(x509.VerifyOptions{Roots: m.Pool, CurrentTime: d.now(), DNSName: "localhost"}); err != nil {
				t.Errorf("it does not verify: %v", err)
			}
			if _, err := OpenSelfMade(d.dir, nodeA, []string{"localhost"}, d.options()); err != nil {
				t.Errorf("the next start: %v", err)
			}
		})
	}
}

// TestALeafThatIsNotValidYetIsMadeAnew: it was made when the clock was ahead, by a CA that
// holds, which stays.
func TestALeafThatIsNotValidYetIsMadeAnew(t *testing.T) {
	d := newDesk(t)
	began := d.now()
	s, err := OpenSelfMade(d.dir, nodeA, nil, d.options())
	if err != nil {
		t.Fatal(err)
	}
	ca := s.Current().CAs[0]
	d.set(began.Add(LeafLifetime))
	s.watchClock()
	d.set(began.Add(24 * time.Hour))
	if s.Unready() == nil {
		t.Fatal("the leaf is valid: the test proves nothing")
	}
	s.watchClock()
	if err := s.Unready(); err != nil || !s.Current().CAs[0].Equal(ca) {
		t.Errorf("%v, CA kept: %v", err, s.Current().CAs[0].Equal(ca))
	}
}

// TestGivenMaterialIsNotMadeAnew: what an operator gave is told of, and left alone.
func TestGivenMaterialIsNotMadeAnew(t *testing.T) {
	d := newDesk(t)
	if _, _, err := LoadOrMake(d.dir, nodeA, nil, d.now()); err != nil {
		t.Fatal(err)
	}
	s := d.open()
	before := s.Current()
	d.set(d.now().Add(-365 * 24 * time.Hour))
	s.watchClock()
	if err := s.Unready(); err != nil || s.Current() != before || strings.Contains(d.log.String(), "anew") {
		t.Errorf("%v\n%s", err, d.log)
	}
}

// TestKilledWhileACAIsMadeAnew: a process that was killed between any two of the steps in
// which a CA is replaced starts again.
func TestKilledWhileACAIsMadeAnew(t *testing.T) {
	now := time.Now()
	for n := range 4 {
		dir := t.TempDir()
		if _, _, err := LoadOrMake(dir, nodeA, nil, now); err != nil {
			t.Fatal(err)
		}
		if err := removeSelfMade(dir, []string{certFile, keyFile, CAFile}[:n]...); err != nil {
			t.Fatal(err)
		}
		later := now.Add(CALifetime)
		a, cert, err := LoadOrMake(dir, nodeA, nil, later)
		if err != nil {
			t.Fatalf("killed after %d: %v", n, err)
		}
		if dated(a.cert, later) != nil || !a.stillGood(cert, nodeA, nil, later) {
			t.Errorf("killed after %d it does not hold", n)
		}
	}
}

// TestSelfMadeAuthorityNamesItsCluster: so that `global certs zone` makes certificates
// with the CA of `global dev`.
func TestSelfMadeAuthorityNamesItsCluster(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := LoadOrMake(dir, Identity{Cluster: "dev", Role: RoleNode, Name: "dev"}, []string{"localhost"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	authority, err := LoadAuthority(dir)
	if err != nil || authority.Cluster() != "dev" {
		t.Errorf("cluster %q, %v", authority.Cluster(), err)
	}
}

// TestACAKeyThatOthersMayReadIsRefused: also of a CA that this program made itself.
func TestACAKeyThatOthersMayReadIsRefused(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := LoadOrMake(dir, nodeA, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, caKeyFile)
	for mode, want := range map[os.FileMode]bool{0o644: false, 0o602: false, 0o600: true} {
		if err := os.Chmod(key, mode); err != nil {
			t.Fatal(err)
		}
		if _, _, err := LoadOrMake(dir, nodeA, nil, time.Now()); (err == nil) != want || tooOpen(err) == want {
			t.Errorf("mode %o: %v", mode, err)
		}
		if _, err := LoadAuthority(dir); (err == nil) != want || tooOpen(err) == want {
			t.Errorf("mode %o, to issue with it: %v", mode, err)
		}
	}
}

// TestANodesKeyThatOthersMayReadIsNotMadeAnew: who read it has it for as long as its
// certificate lasts, and nobody would be told.
func TestANodesKeyThatOthersMayReadIsNotMadeAnew(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := LoadOrMake(dir, nodeA, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, keyFile)
	before, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	_, _, err = LoadOrMake(dir, nodeA, nil, time.Now())
	if after, _ := os.ReadFile(key); !tooOpen(err) || !bytes.Equal(before, after) {
		t.Errorf("%v, or the key was replaced", err)
	}
}
