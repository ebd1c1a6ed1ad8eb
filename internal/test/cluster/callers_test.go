package cluster

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/access"
	globalnode "github.com/meridiankds/meridian/internal/global/node"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/raftstore"
)

// callerRow is a row of the table of callers in the documentation of internal/global/peer.
var callerRow = regexp.MustCompile(`(?m)^//\t([a-z() ]+?)  +(.*?)  +([a-z ]+), via ([a-z]+)$`)

// TestEachCallersWayToTheLeader has each caller of that table ask a member that does not lead
// for a change. The leader acts as that caller and notes how the member recognised it. A way
// that has no row, or a row that is tried by nobody here, fails.
func TestEachCallersWayToTheLeader(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "global", "peer", "doc.go"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(TempDir(t), "roles.yaml")
	if err := os.WriteFile(file, []byte(`bindings: [{role: revoker, users: [ann, jane]}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	roles, err := access.OpenFile(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c := NewGlobals(t, quiet, 2)
	c.Configure = func(cfg *globalnode.Config) { cfg.Roles = roles }
	c.Launch(2)
	leader, follower := c.Leader(), c.Followers()[0]
	token := leader.Issue(cptoken.Claims{Kind: cptoken.User, Name: "ann"}, time.Hour)
	cert := c.Certificate(tlsutil.Identity{Cluster: clusterName, Role: tlsutil.RoleUser, Name: "jane"})
	ends := follower.Node.Endpoints()
	post := func(client *http.Client, base string, header ...string) func(id string) {
		return func(id string) {
			t.Helper()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/v1/revocations", strings.NewReader(`{"kind":"zone","ids":["`+id+`"]}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			for i := 0; i < len(header); i += 2 {
				req.Header.Set(header[i], header[i+1])
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", base, resp.Status)
			}
		}
	}
	plain := &http.Client{Timeout: Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	socket := &http.Client{Timeout: Patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", ends.AdminSocket)
	}}}
	tries := map[string]struct {
		name string
		ask  func(id string)
	}{
		"bearer token":       {"ann", post(plain, "http://"+ends.API, "Authorization", "Bearer "+token)},
		"client certificate": {"jane", post(c.tlsClient(&cert), "https://"+ends.APITLS)},
		"admin socket":       {"admin socket", post(socket, "http://localhost")},
		"loopback (dev)":     {"localhost", post(plain, "http://"+ends.API)},
	}
	var ways []string
	for _, row := range callerRow.FindAllStringSubmatch(string(doc), -1) {
		caller, via := row[1], row[4]
		try, ok := tries[caller]
		if !ok {
			t.Errorf("the caller %q of the table is tried by nobody here", caller)
			continue
		}
		delete(tries, caller)
		ways = append(ways, via)
		id := uuid.NewString()
		try.ask(id)
		if r := leader.Node.Store().Revocations(cptoken.Zone, "", "", 0); !slices.ContainsFunc(r, func(r raftstore.Revocation) bool { return r.ID == id && r.By == try.name }) {
			t.Errorf("%s: the leader did not act as %s: %+v", caller, try.name, r)
		}
		Eventually(t, caller+" to be in the audit log as "+via, func() bool {
			var page struct {
				Items []struct {
					User, Via string
					About     map[string]string
				}
			}
			leader.want(t, 200, "GET", "/v1/audit?limit=1000", nil, &page)
			for _, r := range page.Items {
				if r.User == try.name && r.Via == via {
					return true
				}
			}
			return false
		})
	}
	for caller := range tries {
		t.Errorf("%s has no row in the table", caller)
	}
	slices.Sort(ways)
	known := slices.Sorted(slices.Values(access.Ways[:]))
	if !slices.Equal(ways, known) {
		t.Errorf("the table has the ways %q, package access knows %q", ways, known)
	}
	// Who asserts another way, or none, is believed nothing, whatever it has proved.
	for _, via := range []string{"", "kds", "invented", "TOKEN"} {
		header := http.Header{}
		access.Caller{Name: "invented", Groups: []string{"admin"}, Via: via}.SetHeader(header)
		if _, err := (access.Policy{Forwarded: true}).Authenticate(&http.Request{Header: header}); err == nil {
			t.Errorf("a caller that came via %q is taken", via)
		}
	}
}
