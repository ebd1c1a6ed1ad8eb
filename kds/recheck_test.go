package kds

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// judgingAuth admits like fakeAuth, and judges on its own.
type judgingAuth struct {
	fakeAuth
	judged  atomic.Int64
	verdict atomic.Pointer[map[string]error]
}

func (a *judgingAuth) Judge(ad Admission) error {
	a.judged.Add(1)
	if v := a.verdict.Load(); v != nil {
		return (*v)[ad.Zone]
	}
	return nil
}

// TestJudgeEndsOneZoneOnly: a judge is asked once a connection, ends all calls of
// the zone it is against and none of another.
func TestJudgeEndsOneZoneOnly(t *testing.T) {
	auth := &judgingAuth{}
	m := start(t, func(c *ServerConfig) { c.Authenticator = auth })
	const calls = 3
	open := func(zone string) []*raw {
		conn := dialRaw(t, m.addr)
		r := openRaw(t, conn, methodGlobalToZone, as(zone)...)
		r.send(subscription(zone, "Mesh", ""))
		r.must()
		all := []*raw{r}
		for _, method := range []string{"StreamStats", "StreamClusters"} {
			side := openRaw(t, conn, "/"+globalService+"/"+method, as(zone)...)
			if _, err := side.stream.Header(); err != nil {
				t.Fatal(err)
			}
			all = append(all, side)
		}
		return all
	}
	west, east := open("west"), open("east")
	m.Recheck(context.Background())
	if n := auth.judged.Load(); n != 2 {
		t.Errorf("two connections were judged by %d questions", n)
	}
	auth.verdict.Store(&map[string]error{
		"west": cptoken.Refuse(cptoken.KeyRemoved, "the key was removed"),
		"east": federation.Errorf(federation.Unavailable, "cannot tell"),
	})
	m.Recheck(context.Background())
	for _, r := range west {
		_, err := r.recv()
		if status.Code(err) != codes.Unauthenticated || errorOf(err).Reason != "key_removed" {
			t.Errorf("a call of west ends with %v", err)
		}
	}
	east[0].send(subscription("east", "Config", ""))
	east[0].must()
	if got := m.Stats().Ended; got["key_removed"] != 1 || len(got) != 1 {
		t.Errorf("counted %v", got)
	}
	if log := m.log.String(); strings.Count(log, "Remote CP session ended") != 1 || !strings.Contains(log, "calls=3") {
		t.Errorf("the log does not tell once of %d calls:\n%s", calls, log)
	}
}

func BenchmarkRecheck(b *testing.B) {
	auth := &judgingAuth{}
	s := NewServer(ServerConfig{Source: newSource(), Authenticator: auth, Logger: (&logBuffer{}).logger(), Member: "m"})
	for i := range 8000 {
		c := &call{conn: &connection{}, kicked: make(chan struct{})}
		c.creds.Zone = "zone-" + strings.Repeat("x", i%40)
		c.admission = Admission{Zone: c.creds.Zone, TokenSerial: uint64(i)}
		if err := s.registry.enter(c); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		s.Recheck(context.Background())
	}
}
