package kds_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/server"
	"github.com/meridiankds/meridian/kds/wire"
)

// TestJudgeEndsOneZoneOnly: a judge is asked once a connection, ends all calls of
// the zone it is against and none of another.
func TestJudgeEndsOneZoneOnly(t *testing.T) {
	auth := &kdstest.JudgingAuth{}
	m := start(t, func(c *server.Config) { c.Authenticator = auth })
	const calls = 3
	open := func(zone string) []*raw {
		conn := dialRaw(t, m.addr)
		r := openRaw(t, conn, kds.RPCGlobalToZone, as(zone)...)
		r.send(subscription(zone, "Mesh", ""))
		r.must()
		all := []*raw{r}
		for _, method := range []string{"StreamStats", "StreamClusters"} {
			side := openRaw(t, conn, "/"+kds.GlobalService+"/"+method, as(zone)...)
			if _, err := side.stream.Header(); err != nil {
				t.Fatal(err)
			}
			all = append(all, side)
		}
		return all
	}
	west, east := open("west"), open("east")
	m.Recheck(context.Background())
	if n := auth.Judged.Load(); n != 2 {
		t.Errorf("two connections were judged by %d questions", n)
	}
	auth.Verdict.Store(&map[string]error{
		"west": cptoken.Refuse(cptoken.KeyRemoved, "the key was removed"),
		"east": federation.Errorf(federation.Unavailable, "cannot tell"),
	})
	m.Recheck(context.Background())
	for _, r := range west {
		_, err := r.recv()
		if status.Code(err) != codes.Unauthenticated || wire.ErrorOf(err).Reason != "key_removed" {
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

// TestBusyConnectionsAreLogged: zones that share a connection have a line each.
func TestBusyConnectionsAreLogged(t *testing.T) {
	m := start(t, nil)
	conn := dialRaw(t, m.addr)
	const zones = 21
	for i := range zones {
		if err := callOnce(t, conn, kds.RPCHealthCheck, as(fmt.Sprint("zone-", i))...); err != nil {
			t.Fatal(err)
		}
	}
	for i := range zones {
		if !strings.Contains(m.log.String(), fmt.Sprint("zone=zone-", i, " ")) {
			t.Errorf("zone-%d is not in the log", i)
		}
	}
}
