package cluster

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// impostor stands between zones and a global, with a certificate of the global's CA that
// somebody stole: it ends the zones' TLS and passes everything on.
type impostor struct {
	listener net.Listener
	wait     sync.WaitGroup

	mu     sync.Mutex
	open   []net.Conn
	closed bool
}

func startImpostor(t *testing.T, stolen tls.Certificate, target string, dial *tls.Config) *impostor {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{stolen}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	i := &impostor{listener: listener}
	i.wait.Go(func() {
		for {
			zone, err := listener.Accept()
			if err != nil {
				return
			}
			i.wait.Go(func() { i.between(zone.(*tls.Conn), target, dial) })
		}
	})
	t.Cleanup(i.close)
	return i
}

// between passes on what a zone and the global say to each other.
func (i *impostor) between(zone *tls.Conn, target string, dial *tls.Config) {
	if !i.keep(zone) || zone.Handshake() != nil {
		zone.Close()
		return
	}
	global, err := tls.Dial("tcp", target, dial)
	if err != nil || !i.keep(global) {
		zone.Close()
		return
	}
	var both sync.WaitGroup
	pass := func(from, to net.Conn) {
		_, _ = io.Copy(to, from)
		from.Close()
		to.Close()
	}
	both.Go(func() { pass(zone, global) })
	both.Go(func() { pass(global, zone) })
	both.Wait()
}

// keep remembers connections for the end; false: it has come.
func (i *impostor) keep(conns ...net.Conn) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.open = append(i.open, conns...)
	if i.closed {
		for _, c := range conns {
			c.Close()
		}
	}
	return !i.closed
}

func (i *impostor) close() {
	i.listener.Close()
	i.mu.Lock()
	i.closed = true
	for _, c := range i.open {
		c.Close()
	}
	i.mu.Unlock()
	i.wait.Wait()
}

// TestAZoneRefusesAnExpelledGlobal: a zone that is connected through somebody who stole a
// node's certificate leaves them once it is expelled, and does not come back, also after a
// restart and while no global can be reached.
func TestAZoneRefusesAnExpelledGlobal(t *testing.T) {
	g := StartGlobal(t, slog.New(slog.DiscardHandler))
	ca, err := tlsutil.LoadAuthority(filepath.Dir(g.TLS.Files().CA))
	if err != nil {
		t.Fatal(err)
	}
	node, err := tlsutil.IdentityOf(g.TLS.Current().Certificate.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	stolen := certificate(t, ca, node)
	thief := startImpostor(t, stolen, g.KDS(), &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
	west := g.StartZone("west", thief.listener.Addr().String())
	west.WaitCurrent(g)

	key := tlsutil.KeyOf(stolen.Leaf)
	g.want(t, 200, "POST", "/v1/expelled", apitypes.ExpelRequest{ID: key, Subject: "global-3", Reason: "stolen"}, nil)
	refused := func() bool {
		link := west.Node.Link()
		return !link.Connected && strings.Contains(link.LastError, "was expelled")
	}
	Eventually(t, "the zone to leave the thief, and to say why", refused)
	_, rev := g.Node.Store().Head()
	west.WaitFor(rev) // it is durable, though it could not be acknowledged
	g.Stop()
	west.Stop()
	west.Start()
	Eventually(t, "the zone to refuse the thief after a restart, without a global", refused)

	// Another way to the same global is as good as before.
	g.Start()
	direct := NewRelay(t, g.KDS())
	west.Stop()
	west.globals = []string{direct.Addr()}
	west.Start()
	Eventually(t, "the zone to be connected", func() bool { return west.Node.Link().Connected })
	g.want(t, 204, "DELETE", "/v1/expelled/"+key, nil, nil)
	west.WaitCurrent(g)
	west.Stop()
	thief2 := startImpostor(t, stolen, g.KDS(), &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
	west.globals = []string{thief2.listener.Addr().String()}
	west.Start()
	Eventually(t, "whom an administrator readmitted to be a global again", func() bool { return west.Node.Link().Connected })
}

// TestAZoneLeavesAGlobalWhoseCAIsDropped: a zone's connection ends when the CA of the member's
// certificate leaves the zone's CA file, and not before.
func TestAZoneLeavesAGlobalWhoseCAIsDropped(t *testing.T) {
	g := StartGlobal(t, slog.New(slog.DiscardHandler))
	former, err := tlsutil.LoadAuthority(filepath.Dir(g.TLS.Files().CA))
	if err != nil {
		t.Fatal(err)
	}
	next, err := tlsutil.NewAuthority("next", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	trusted := filepath.Join(TempDir(t), tlsutil.CAFile)
	trust := func(pem ...[]byte) {
		t.Helper()
		var all []byte
		for _, p := range pem {
			all = append(all, p...)
		}
		if err := tlsutil.WriteFile(trusted, all, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trust(former.CertPEM())
	west := g.StartZone("west", g.KDS())
	west.Stop()
	west.ca = trusted
	west.Start()
	Eventually(t, "the zone to be connected", func() bool { return west.Node.Link().Connected })
	told := func(cas string) func() bool {
		return func() bool {
			for _, s := range g.Node.Fleet().Sessions() {
				if s.Zone == "west" && s.Open() && s.Trusts == cas {
					return west.Node.Link().Connected
				}
			}
			return false
		}
	}
	was := tlsutil.Fingerprint(former.Certificate())
	Eventually(t, "the zone to say which CA it trusts", told(was))
	trust(former.CertPEM(), next.CertPEM())
	west.Node.CheckTLS()
	Eventually(t, "the zone to say that it trusts both", told(was+" "+tlsutil.Fingerprint(next.Certificate())))
	trust(next.CertPEM())
	west.Node.CheckTLS()
	Eventually(t, "the zone to leave the global", func() bool {
		link := west.Node.Link()
		return !link.Connected && strings.Contains(link.LastError, "no CA that is trusted here")
	})
}
