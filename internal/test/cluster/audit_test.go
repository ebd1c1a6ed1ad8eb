package cluster

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// TestAuditOfACluster: what was done through any member is read at each, also after
// restarts, and a member that is away is named.
func TestAuditOfACluster(t *testing.T) {
	c := StartGlobals(t, slog.New(slog.DiscardHandler), 3)
	leader, followers := c.Leader(), c.Followers()
	plain := c.tlsClient(nil)
	read := func(g *Global, query string) (list apitypes.Audit) {
		t.Helper()
		got, err := ask(t, plain, "GET", "http://"+g.Node.Endpoints().API+"/v1/audit?size=1000&"+query, "")
		if err != nil || got.status != 200 {
			t.Fatalf("%d %s, %v", got.status, got.body, err)
		}
		if err := json.Unmarshal([]byte(got.body), &list); err != nil {
			t.Fatal(err)
		}
		return list
	}
	do := func(g *Global, method, path, body string, want int) {
		t.Helper()
		var got said
		Eventually(t, "an answer to "+path, func() (ok bool) {
			var err error
			got, err = ask(t, plain, method, "http://"+g.Node.Endpoints().API+path, body)
			return err == nil && got.status != 503 // nobody leads yet
		})
		if got.status != want {
			t.Fatalf("%s %s: %d %s", method, path, got.status, got.body)
		}
	}
	do(followers[0], "PUT", "/zones/west", `{}`, 201)
	do(followers[1], "POST", "/tokens/zone", `{"zone":"west"}`, 200)
	do(leader, "POST", "/v1/revocations", `{"kind":"zone","ids":["a"]}`, 200)
	cert := c.Certificate(tlsutil.Identity{Cluster: clusterName, Role: tlsutil.RoleUser, Name: "eve"})
	if got, err := ask(t, c.tlsClient(&cert), "PUT", "https://"+followers[0].Node.Endpoints().APITLS+"/zones/east", `{}`); err != nil || got.status != 403 {
		t.Fatalf("%d %s, %v", got.status, got.body, err)
	}
	// A zone with a token that is none is refused, and that is written too.
	zone := leader.StartZone("north", followers[1].KDS())
	zone.Stop()
	zone.Token = "e30.e30.e30"
	zone.Start()
	Eventually(t, "the zone's refusal in the audit log", func() bool {
		return len(read(leader, "outcome=refused&about=north").Items) > 0
	})
	zone.Stop()

	id := func(g *Global) string { return g.Node.Store().NodeID() }
	expect := func(list apitypes.Audit) {
		t.Helper()
		seen := map[string]string{}
		for _, r := range list.Items {
			if _, known := seen[r.Action]; !known {
				seen[r.Action] = r.Member + " " + r.User + " " + r.Outcome + " " + r.Class
			}
		}
		for action, want := range map[string]string{
			"apply zone":          id(followers[0]) + " eve refused refusal", // its change is the leader's
			"generate zone-token": id(followers[1]) + " localhost done issue",
			"revoke":              id(leader) + " localhost done revocation",
		} {
			if seen[action] != want {
				t.Errorf("%s: %s, want %s", action, seen[action], want)
			}
		}
	}
	for _, g := range c.Members {
		list := read(g, "")
		if len(list.Silent) != 0 {
			t.Errorf("silent: %v", list.Silent)
		}
		expect(list)
		changes := read(g, "class=change&about=west").Items
		if len(changes) != 1 || changes[0].Member != id(leader) || changes[0].User != "localhost" || !strings.HasPrefix(changes[0].Remote, "127.0.0.1:") || changes[0].Revision == "" {
			t.Errorf("the change that was forwarded: %+v", changes)
		}
	}
	gone := id(followers[1])
	followers[1].Stop()
	if list := read(leader, ""); len(list.Silent) != 1 || list.Silent[0] != gone {
		t.Errorf("silent: %v, want %s", list.Silent, gone)
	}
	followers[1].Launch()
	followers[1].AwaitReady()
	Eventually(t, "the member that was away tells its part", func() bool { return len(read(leader, "").Silent) == 0 })
	expect(read(followers[1], ""))
}
