package tlsutil

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/test/loopback"
)

// hold opens a connection to a server and keeps it, both ends past the handshake.
func hold(t *testing.T, server, client *tls.Config) net.Conn {
	t.Helper()
	below, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := tls.NewListener(Follow(below), server)
	raw, err := net.Dial("tcp", below.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := loopback.AcceptFrom(listener, raw.LocalAddr())
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.Copy(conn, conn)
	}()
	client = client.Clone()
	client.ServerName = "localhost"
	conn := tls.Client(raw, client)
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		listener.Close()
		<-done
	})
	if !lives(t, conn) {
		t.Fatal("the connection does not live")
	}
	return conn
}

// lives reports whether a byte comes back.
func lives(t *testing.T, conn net.Conn) bool {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	_, err := conn.Write([]byte("x"))
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1))
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatal("the connection hangs")
	}
	return err == nil
}

// TestConnectionsEndWithTheirCA: when CA files are replaced, a connection whose
// certificate is of none of them is ended and its session is worth nothing; all others go on.
func TestConnectionsEndWithTheirCA(t *testing.T) {
	former, next := mustAuthority(t), mustAuthority(t)
	member := Static(mustIssue(t, next, Identity{"prod", RoleNode, "a"}), nil)
	trust := func(cas ...*Authority) {
		m := newMaterial()
		m.Certificate, m.Pool = member.Current().Certificate, x509.NewCertPool()
		for _, ca := range cas {
			m.Pool.AddCert(ca.Certificate())
		}
		member.replace(m)
	}
	trust(former, next)
	server := member.ServerOptionalClient()
	client := func(cert tls.Certificate) *tls.Config { return Static(cert, next.Pool()).Client() }
	stolen := client(mustIssue(t, former, Identity{"prod", RoleUser, "ann"}))
	thief := hold(t, server, stolen)
	good := hold(t, server, client(mustIssue(t, next, Identity{"prod", RoleUser, "ann"})))
	token := hold(t, server, Client(next.Pool()))
	trust(former, next)
	for name, conn := range map[string]net.Conn{"the former CA's": thief, "the next CA's": good, "one without a certificate": token} {
		if !lives(t, conn) {
			t.Errorf("%s was ended while its CA is trusted", name)
		}
	}
	trust(next)
	if lives(t, thief) {
		t.Error("a connection outlives the CA of its certificate")
	}
	if !lives(t, good) || !lives(t, token) {
		t.Error("a connection that is still good was ended")
	}
	if _, err := talk(t, server, stolen); err == nil {
		t.Error("it came back with the session of before")
	}

	// One that is expelled ends alike.
	eve, gone := mustIssue(t, next, Identity{"prod", RoleUser, "eve"}), errors.New("expelled")
	expelled := KeyOf(eve.Leaf)
	conn := hold(t, server, client(eve))
	member.Refuse(func(cert *x509.Certificate) error {
		if KeyOf(cert) == expelled {
			return gone
		}
		return nil
	})
	member.Review()
	if lives(t, conn) {
		t.Error("a connection outlives the expulsion of its certificate")
	}
	if !lives(t, good) {
		t.Error("somebody else's connection was ended")
	}
	if _, err := talk(t, server, client(eve)); err == nil {
		t.Error("it came back")
	}
	if n := len(member.open); n != 1 {
		t.Errorf("%d connections are remembered, want that of the user who is good", n)
	}
}

// TestTicketsEndWithTheirMaterial: a session that began with other material is not
// resumed, on a port that takes certificates and on one that takes tokens.
func TestTicketsEndWithTheirMaterial(t *testing.T) {
	ca := mustAuthority(t)
	member := Static(mustIssue(t, ca, Identity{"prod", RoleNode, "a"}), ca.Pool())
	for name, server := range map[string]*tls.Config{"tokens": member.Server(), "certificates": member.ServerOptionalClient()} {
		client := Static(mustIssue(t, ca, Identity{"prod", RoleZone, "west"}), ca.Pool()).Client()
		resumes := func() bool {
			resumed, err := talk(t, server, client)
			if err != nil {
				t.Fatal(err)
			}
			return resumed
		}
		if resumes() || !resumes() {
			t.Errorf("%s: no session is resumed", name)
		}
		m := newMaterial()
		m.Certificate, m.Pool = member.Current().Certificate, ca.Pool()
		member.replace(m)
		if resumes() {
			t.Errorf("%s: a session of before was resumed", name)
		}
	}
}

// TestCallersLeaveADroppedCA: whoever this end calls is left when its CA is trusted no more
// or when it is expelled, and a session with it that was begun before is not resumed.
func TestCallersLeaveADroppedCA(t *testing.T) {
	former, next := mustAuthority(t), mustAuthority(t)
	server := Static(mustIssue(t, former, Identity{"prod", RoleNode, "a"}), nil)
	for name, turn := range map[string]func(caller *Source){
		"its CA is dropped": func(caller *Source) {
			m := newMaterial()
			m.Pool = next.Pool()
			caller.replace(m)
		},
		"it is expelled": func(caller *Source) {
			caller.Refuse(func(*x509.Certificate) error { return errors.New("expelled") })
			caller.Review()
		},
	} {
		t.Run(name, func(t *testing.T) {
			caller := Static(mustIssue(t, former, Identity{"prod", RoleZone, "west"}), former.Pool())
			ended := make(chan error, 8)
			config, done := caller.ClientFollowed(func(why error) { ended <- why })
			conn := hold(t, server.Server(), config)
			if resumed, err := talk(t, server.Server(), config); err != nil || !resumed {
				t.Fatalf("before: resumed %v, %v", resumed, err)
			}
			caller.Review()
			select {
			case why := <-ended:
				t.Fatalf("it was ended while it was good: %v", why)
			default:
			}
			if !lives(t, conn) {
				t.Fatal("it does not live")
			}
			turn(caller)
			select {
			case <-ended:
			case <-time.After(time.Minute):
				t.Fatal("it was not ended")
			}
			if _, err := talk(t, server.Server(), config); err == nil {
				t.Error("it is called again, with the session of before")
			}
			anew := Static(*server.Current().Certificate, nil) // it knows no session
			if _, err := talk(t, anew.Server(), config); err == nil {
				t.Error("it is called again, without a session")
			}
			done()
			if n := len(caller.open); n != 0 {
				t.Errorf("%d connections are remembered when all are over", n)
			}
		})
	}
}
