package kds_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/client"
	"github.com/meridiankds/meridian/kds/server"
)

// tokenAuth admits who shows one of its tokens, whatever the zone.
type tokenAuth struct {
	mu   sync.Mutex
	good map[string]bool
}

func (a *tokenAuth) accept(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.good[token] = true
}

func (a *tokenAuth) Authenticate(_ context.Context, c kds.Credentials) (kds.Admission, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	token := strings.TrimPrefix(c.Authorization, "Bearer ")
	if !a.good[token] {
		return kds.Admission{}, federation.Errorf(federation.Unauthenticated, "refused").WithReason(string(cptoken.Expired))
	}
	return kds.Admission{Zone: c.Zone, Method: kds.MethodControlPlaneToken, TokenID: token, Authenticated: true}, nil
}

// tokenFile is a token that a test replaces.
type tokenFile struct {
	mu    sync.Mutex
	token string
	err   error
}

func (f *tokenFile) write(token string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.token, f.err = token, err
}

func (f *tokenFile) read() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.token + "\n", f.err
}

// TestTokenIsFollowed: a zone moves to a new token without a gap, keeps to the old
// one while the new one is not good, and loses no change on the way.
func TestTokenIsFollowed(t *testing.T) {
	auth, file := &tokenAuth{good: map[string]bool{"one": true, "two": true}}, &tokenFile{token: "one"}
	m := start(t, func(c *server.Config) { c.Authenticator = auth })
	z := join(t, "west", func(c *client.Config) {
		c.Token, c.TokenEvery, c.Supersede = file.read, 2*time.Millisecond, kdstest.Patience
	}, m.addr)
	shows := func(token string) func() bool {
		return func() bool {
			for _, s := range m.Sessions() {
				if s.Online() && s.Admission.TokenID == token {
					return true
				}
			}
			return false
		}
	}
	kdstest.Eventually(t, "the zone to join", shows("one"))
	rev := m.source.Add("x")
	kdstest.Eventually(t, "the zone to be current", func() bool { return z.sink.Holds(rev) })
	since := z.Status().Since

	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // Changes all the while
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				m.source.Add("busy")
			}
		}
	}()
	file.write("two", nil)
	kdstest.Eventually(t, "the zone to show its new token", shows("two"))
	file.write("three", nil)
	kdstest.Eventually(t, "the refusal to be logged", func() bool {
		return strings.Contains(z.log.String(), "does not admit the zone with its new token or CAs")
	})
	file.write("", kdstest.ErrTest)
	auth.accept("four")
	file.write("four", nil)
	kdstest.Eventually(t, "the zone to show the fourth token", shows("four"))
	close(stop)
	<-done
	head := m.source.Add("last")
	kdstest.Eventually(t, "the zone to hold everything", func() bool { return z.sink.Holds(head) })

	if s := z.Status(); !s.Connected || !s.Since.Equal(since) {
		t.Errorf("the zone was not connected all the time: %+v", s)
	}
	log := z.log.String()
	if strings.Contains(log, "no connection to the global") {
		t.Errorf("the zone lost its connection:\n%s", log)
	}
	if n := strings.Count(log, "does not admit the zone with its new token or CAs"); n != 1 {
		t.Errorf("one refused token left %d lines", n)
	}
	if !strings.Contains(log, "reason=expired") || strings.Count(log, "connected to the global anew") != 2 {
		t.Errorf("log:\n%s", log)
	}
	if n := m.Stats().Displaced; n != 2 {
		t.Errorf("%d sessions were displaced, want 2: the old one goes when the new one begins", n)
	}
	kdstest.Eventually(t, "one session to be left", func() bool { return len(m.Sessions()) == 1 })
}
