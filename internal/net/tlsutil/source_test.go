package tlsutil

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// desk is a folder of TLS files, a clock and a log.
type desk struct {
	t     *testing.T
	dir   string
	files Files
	clock atomic.Pointer[time.Time]
	log   *bytes.Buffer
}

func (d *desk) now() time.Time  { return *d.clock.Load() }
func (d *desk) set(t time.Time) { d.clock.Store(&t) }

func newDesk(t *testing.T) *desk {
	d := &desk{t: t, dir: t.TempDir(), log: &bytes.Buffer{}}
	d.set(time.Now().Truncate(time.Second))
	d.files = SelfMadeFiles(d.dir)
	return d
}

func (d *desk) options() Options {
	return Options{
		Accept: KeepIdentity(RoleNode), Now: d.now,
		Logger: slog.New(slog.NewTextHandler(d.log, nil)),
	}
}

func (d *desk) open() *Source {
	d.t.Helper()
	s, err := OpenSource(d.files, d.options())
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

func (d *desk) write(path string, data []byte) {
	d.t.Helper()
	if err := WriteFile(path, data, 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// issue makes a certificate and returns it with its key, PEM both.
func (d *desk) issue(a *Authority, id Identity) (cert, key []byte) {
	d.t.Helper()
	cert, key, err := a.Issue(id, []string{"localhost"}, d.now())
	if err != nil {
		d.t.Fatal(err)
	}
	return cert, key
}

// put issues a certificate and puts it into the folder.
func (d *desk) put(a *Authority, id Identity) {
	cert, key := d.issue(a, id)
	d.write(d.files.Cert, cert)
	d.write(d.files.Key, key)
}

// said counts the lines of the log with the text.
func (d *desk) said(text string) int { return strings.Count(d.log.String(), text) }

var nodeA = Identity{"prod", RoleNode, "a"}

func serial(s *Source) string { return s.Current().Certificate.Leaf.SerialNumber.String() }

func TestSourceTakesOverWhatChanged(t *testing.T) {
	d, ca := newDesk(t), mustAuthority(t)
	d.write(d.files.CA, ca.CertPEM())
	d.put(ca, nodeA)
	s := d.open()
	first := s.Current()
	s.Check()
	if s.Current() != first || d.log.Len() > 0 {
		t.Error("nothing changed, and yet something happened")
	}

	d.put(ca, nodeA)
	s.Check()
	if s.Current().sameCertificate(first) || d.said("TLS material was replaced") != 1 {
		t.Errorf("a renewed certificate was not taken over\n%s", d.log)
	}

	other := mustAuthority(t)
	d.write(d.files.CA, append(ca.CertPEM(), other.CertPEM()...))
	s.Check()
	if len(s.Current().CAs) != 2 {
		t.Error("a second CA was not taken over")
	}
	d.put(other, nodeA)
	s.Check()
	d.write(d.files.CA, other.CertPEM())
	s.Check()
	if m := s.Current(); len(m.CAs) != 1 || m.Certificate.Leaf.CheckSignatureFrom(other.cert) != nil {
		t.Errorf("the CA was not replaced\n%s", d.log)
	}
}

func TestSourceKeepsTheLastGoodMaterial(t *testing.T) {
	ca, other := mustAuthority(t), mustAuthority(t)
	for name, tc := range map[string]struct {
		spoil func(d *desk)
		says  string
	}{
		"a key of another certificate": {func(d *desk) { _, key := d.issue(ca, nodeA); d.write(d.files.Key, key) }, "private key does not match"},
		"half a file":                  {func(d *desk) { d.write(d.files.Cert, []byte("-----BEGIN CERTIFICATE-----\nMII")) }, "node.crt"},
		"no file":                      {func(d *desk) { os.Remove(d.files.Key) }, "no such file"},
		"an empty CA file":             {func(d *desk) { d.write(d.files.CA, nil) }, "holds no PEM certificate"},
		"a damaged CA":                 {func(d *desk) { d.write(d.files.CA, bytes.Replace(ca.CertPEM(), []byte("MII"), []byte("AAA"), 1)) }, "holds no PEM certificate"},
		"a CA that did not sign":       {func(d *desk) { d.write(d.files.CA, other.CertPEM()) }, "is not of a CA in"},
		"another CA's certificate":     {func(d *desk) { d.put(other, nodeA) }, "is not of a CA in"},
		"another node's":               {func(d *desk) { d.put(ca, Identity{"prod", RoleNode, "b"}) }, "this process runs as meridian://prod/node/a"},
		"another cluster's":            {func(d *desk) { d.put(ca, Identity{"test", RoleNode, "a"}) }, "this process runs as"},
		"a zone's":                     {func(d *desk) { d.put(ca, Identity{"prod", RoleZone, "a"}) }, "names the zone a"},
		"one that has ended": {func(d *desk) {
			now := d.now()
			d.set(now.Add(-2 * LeafLifetime))
			d.put(ca, nodeA)
			d.set(now)
		}, "ended at"},
		"a huge file": {func(d *desk) { d.write(d.files.CA, bytes.Repeat([]byte("x"), maxPEMFile+1)) }, "that is no TLS material"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.write(d.files.CA, ca.CertPEM())
			d.put(ca, nodeA)
			s := d.open()
			good := s.Current()
			goodCert, goodKey := read(t, d.files.Cert), read(t, d.files.Key)
			tc.spoil(d)
			s.Check()
			if d.log.Len() > 0 {
				t.Errorf("the first look complains: it may have come between two replacements\n%s", d.log)
			}
			for range 5 {
				s.Check()
			}
			if s.Current() != good {
				t.Error("the good material was given up")
			}
			if d.said("the former stays in use") != 1 || d.said(tc.says) == 0 {
				t.Errorf("want one warning that says %q, got\n%s", tc.says, d.log)
			}
			if strings.Contains(d.log.String(), "PRIVATE") {
				t.Error("the log holds a key")
			}
			// What was there before is no news; what is new is taken.
			d.write(d.files.CA, ca.CertPEM())
			d.write(d.files.Cert, goodCert)
			d.write(d.files.Key, goodKey)
			s.Check()
			d.put(ca, nodeA)
			s.Check()
			if s.Current() == good || d.said("TLS material was replaced") != 1 {
				t.Errorf("good files are not taken over after bad ones\n%s", d.log)
			}
		})
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A Kubernetes volume shows its files through a symlink to a symlink that is
// swapped; the files' own names never change.
func TestSourceFollowsSymlinkSwaps(t *testing.T) {
	d, ca := newDesk(t), mustAuthority(t)
	volume := d.dir
	version := func(n string) string {
		dir := filepath.Join(volume, n)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		d.files = SelfMadeFiles(dir)
		d.write(d.files.CA, ca.CertPEM())
		d.put(ca, nodeA)
		return dir
	}
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, name+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(volume, "..data")
	link(version("1"), data)
	d.files = SelfMadeFiles(volume)
	for _, path := range []string{d.files.Cert, d.files.Key, d.files.CA} {
		link(filepath.Join("..data", filepath.Base(path)), path)
	}
	s := d.open()
	before, files := serial(s), d.files
	link(version("2"), data)
	d.files = files
	s.Check()
	if serial(s) == before {
		t.Errorf("the swap was not seen\n%s", d.log)
	}
}

// Every configuration that was handed out before shows and trusts the new
// material.
func TestConfigurationsFollowTheSource(t *testing.T) {
	d, ca, next := newDesk(t), mustAuthority(t), mustAuthority(t)
	d.write(d.files.CA, ca.CertPEM())
	d.put(ca, nodeA)
	s := d.open()
	web, kds := s.Server(), s.ServerOptionalClient(ALPNHTTP2)
	peerServer, peerClient := s.PeerServer("prod", ALPNRaft).Config, s.PeerClient("prod", ALPNRaft).Config

	d.write(d.files.CA, append(ca.CertPEM(), next.CertPEM()...))
	d.put(next, nodeA)
	s.Check()

	trusting := Client(next.Pool())
	if server, client := handshake(t, web, trusting); server != nil || client != nil {
		t.Errorf("a server: %v, %v", server, client)
	}
	trusting.NextProtos = []string{ALPNHTTP2}
	zone := mustIssue(t, next, Identity{"prod", RoleZone, "west"})
	trusting.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &zone, nil }
	if server, client := handshake(t, kds, trusting); server != nil || client != nil {
		t.Errorf("a server that takes client certificates: %v, %v", server, client)
	}
	peer := Static(mustIssue(t, next, Identity{"prod", RoleNode, "b"}), next.Pool())
	otherServer, otherClient := peer.PeerServer("prod", ALPNRaft).Config, peer.PeerClient("prod", ALPNRaft).Config
	if server, client := handshake(t, peerServer, otherClient); server != nil || client != nil {
		t.Errorf("the peer port: %v, %v", server, client)
	}
	if server, client := handshake(t, otherServer, peerClient); server != nil || client != nil {
		t.Errorf("dialling a peer: %v, %v", server, client)
	}

	// What was withdrawn is refused, in a session that is resumed too.
	former := mustIssue(t, ca, Identity{"prod", RoleZone, "west"})
	trusting.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &former, nil }
	trusting.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for range 2 {
		if server, client := handshake(t, kds, trusting); server != nil || client != nil {
			t.Fatalf("the former CA is still there: %v, %v", server, client)
		}
	}
	d.write(d.files.CA, next.CertPEM())
	s.Check()
	for range 2 {
		if server, _ := handshake(t, kds, trusting); server == nil {
			t.Error("a client of a CA that was withdrawn was taken")
		}
	}
	if _, client := handshake(t, web, Client(ca.Pool())); client == nil {
		t.Error("the former certificate is still shown")
	}
}

func TestClientOfTheMoment(t *testing.T) {
	d, ca, next := newDesk(t), mustAuthority(t), mustAuthority(t)
	d.write(d.files.CA, ca.CertPEM())
	d.files = Files{CA: d.files.CA}
	s := d.open()
	server := Static(mustIssue(t, next, nodeA), nil).Server()
	if _, err := handshake(t, server, s.Client()); err == nil {
		t.Error("a stranger was trusted")
	}
	d.write(d.files.CA, next.CertPEM())
	s.Check()
	if _, err := handshake(t, server, s.Client()); err != nil {
		t.Errorf("the new CA is not trusted: %v", err)
	}
}

// follow runs the source until it has looked once after its start.
func follow(t *testing.T, s *Source) (tick func()) {
	return func() {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), ReloadEvery+time.Second)
			defer cancel()
			if err := s.Run(ctx); err != nil {
				t.Errorf("following: %v", err)
			}
		})
	}
}

func TestExpiryIsSaidADayApart(t *testing.T) {
	d, ca := newDesk(t), mustAuthority(t)
	d.write(d.files.CA, ca.CertPEM())
	d.put(ca, nodeA)
	start := d.now()
	s := d.open()
	tick := follow(t, s)
	at := func(days float64) {
		t.Helper()
		d.set(start.Add(time.Duration(days * 24 * float64(time.Hour))))
		tick()
	}
	at(334)
	if d.said("level=WARN") != 0 {
		t.Errorf("said too early:\n%s", d.log)
	}
	for i, tc := range []struct {
		days       float64
		warn, fail int
	}{{335.5, 1, 0}, {335.9, 1, 0}, {336.6, 2, 0}, {337.7, 3, 0}, {365.1, 3, 1}, {366.2, 3, 2}} {
		at(tc.days)
		if d.said("ends soon") != tc.warn || d.said("has ended") != tc.fail {
			t.Fatalf("step %d, day %v: want %d warnings and %d errors, got\n%s", i, tc.days, tc.warn, tc.fail, d.log)
		}
	}
	list := s.Expiries()
	if len(list) != 2 || list[0].Subject != "meridian://prod/node/a" || list[0].DaysLeft(start) != 365 ||
		list[0].DaysLeft(start.Add(LeafLifetime+time.Hour)) != -1 || !list[1].CA || list[1].CA == list[0].CA {
		t.Errorf("expiries: %+v", list)
	}
	// A new certificate ends the warnings.
	d.put(ca, nodeA)
	d.log.Reset()
	at(367)
	if d.said("TLS material was replaced") != 1 || d.said("level=WARN")+d.said("level=ERROR") != 0 {
		t.Errorf("after the renewal:\n%s", d.log)
	}
	// A clock that is set back is believed at once too, and not when the day comes again.
	for i, days := range []float64{715, 710, 705} {
		at(days)
		if said := d.said("ends soon"); said != i+1 {
			t.Errorf("day %v: %d warnings:\n%s", days, said, d.log)
		}
	}
}

func TestSelfMadeMaterialRenewsItself(t *testing.T) {
	d := newDesk(t)
	s, err := OpenSelfMade(d.dir, nodeA, []string{"localhost"}, d.options())
	if err != nil {
		t.Fatal(err)
	}
	tick := follow(t, s)
	tick()
	before := serial(s)
	d.set(d.now().Add(340 * 24 * time.Hour))
	tick()
	if serial(s) == before || d.said("ends soon") != 0 {
		t.Errorf("the certificate was not renewed\n%s", d.log)
	}
	if _, err := s.Current().Certificate.Leaf.Verify(x509.VerifyOptions{Roots: s.Current().Pool, DNSName: "localhost", CurrentTime: d.now()}); err != nil {
		t.Error(err)
	}
}

func TestOpenSourceRefusesWhatCannotWork(t *testing.T) {
	d, ca, other := newDesk(t), mustAuthority(t), mustAuthority(t)
	d.write(d.files.CA, other.CertPEM())
	d.put(ca, nodeA)
	if _, err := OpenSource(d.files, d.options()); err == nil || !strings.Contains(err.Error(), "is not of a CA in "+d.files.CA) {
		t.Errorf("a certificate of another CA: %v", err)
	}
	d.write(d.files.CA, ca.CertPEM())
	d.put(ca, Identity{"prod", RoleUser, "jo"})
	if _, err := OpenSource(d.files, d.options()); err == nil || !strings.Contains(err.Error(), "names the user jo") {
		t.Errorf("a user's certificate for a node: %v", err)
	}
}
