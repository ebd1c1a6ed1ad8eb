package cluster

import (
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	globalnode "github.com/meridiankds/meridian/internal/global/node"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// TestAnExpelledMemberIsRefused: a member that is removed and expelled loses its connections
// and is no peer again, under its id or with its certificate, until it is readmitted. A plain
// removal expels nobody.
func TestAnExpelledMemberIsRefused(t *testing.T) {
	log, sources := &journal{}, map[string]*tlsutil.Source{}
	c := NewGlobals(t, slog.New(slog.NewTextHandler(log, nil)), 3)
	c.Configure = func(cfg *globalnode.Config) { sources[cfg.Advertise] = cfg.TLS }
	c.Launch(3)
	leader, stolen := c.Leader(), c.Followers()[0]
	id, key := stolen.Node.Store().NodeID(), tlsutil.KeyOf(sources[stolen.Name].Current().Certificate.Leaf)
	var removed apitypes.RemovedMember
	leader.want(t, 200, "POST", "/v1/cluster/remove", apitypes.RemoveMemberRequest{ID: stolen.Name, Expel: true, Reason: "stolen"}, &removed)
	if !slices.Equal(removed.Expelled, []string{id, key}) {
		t.Fatalf("expelled %v, want the node %s and its certificate %s", removed.Expelled, id, key)
	}
	Eventually(t, "the expelled node to be refused", func() bool { return log.Has("a peer was refused", "was expelled") })
	var list apitypes.ExpelledList
	leader.want(t, 200, "GET", "/v1/expelled", nil, &list)
	if list.Total != 2 || list.Items[0].Reason != "stolen" || list.Items[0].By == "" {
		t.Errorf("the list: %+v", list)
	}
	stolen.once.Do(func() { _ = stolen.run.stop() }) // it may have heard of its removal

	// Readmitted, it is an ordinary removed node: it joins with an empty directory.
	for _, expelled := range []string{strings.TrimSuffix(stolen.Name, ":5683"), key} {
		leader.want(t, 204, "DELETE", "/v1/expelled/"+expelled, nil, nil)
	}
	stolen.Empty()
	stolen.Start()
	c.AwaitVoters(3)
}

// TestAnExpelledCertificateIsRefused expels the certificate of a user and that of a zone:
// what they hold open ends, on the API's port and on that of KDS, nobody else's does, and
// readmitted they are served again.
func TestAnExpelledCertificateIsRefused(t *testing.T) {
	g := StartGlobal(t, slog.New(slog.DiscardHandler))
	ca, err := tlsutil.LoadAuthority(filepath.Dir(g.TLS.Files().CA))
	if err != nil {
		t.Fatal(err)
	}
	node, err := tlsutil.IdentityOf(g.TLS.Current().Certificate.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	for _, zone := range []string{"north", "south"} {
		if _, err := g.Node.Store().ApplyZone(t.Context(), operator, federation.Zone{Name: zone, Enabled: true, Auth: federation.AuthCertificate}); err != nil {
			t.Fatal(err)
		}
	}
	for name, hold := range map[string]func(who string) (key string, open, again func() bool){
		"a user": func(who string) (string, func() bool, func() bool) {
			cert := certificate(t, ca, tlsutil.Identity{Cluster: node.Cluster, Role: tlsutil.RoleUser, Name: who})
			dial := func() func() bool { return holdsAPI(t, g.Node.Endpoints().APITLS, ca.Pool(), cert) }
			return tlsutil.KeyOf(cert.Leaf), dial(), func() bool { return dial()() }
		},
		"a zone": func(who string) (string, func() bool, func() bool) {
			cert := certificate(t, ca, tlsutil.Identity{Cluster: node.Cluster, Role: tlsutil.RoleZone, Name: who})
			dial := func() func() bool { return holdsKDS(t, g.KDS(), ca.Pool(), who, cert) }
			return tlsutil.KeyOf(cert.Leaf), dial(), func() bool { return dial()() }
		},
	} {
		t.Run(name, func(t *testing.T) {
			key, stolen, again := hold("north")
			_, other, _ := hold("south")
			if !stolen() || !other() {
				t.Fatal("not served before")
			}
			g.want(t, 200, "POST", "/v1/expelled", apitypes.ExpelRequest{ID: key, Subject: "north", Reason: "stolen"}, nil)
			Eventually(t, "the connection to end", func() bool { return !stolen() })
			if again() {
				t.Error("served again")
			}
			if !other() {
				t.Error("somebody else's connection was ended")
			}
			g.want(t, 204, "DELETE", "/v1/expelled/"+key, nil, nil)
			Eventually(t, "it to be served again", again)
			g.want(t, 404, "DELETE", "/v1/expelled/"+key, nil, nil)
			g.want(t, 400, "POST", "/v1/expelled", apitypes.ExpelRequest{ID: "sha256:short"}, nil)
		})
	}
}

// TestAZoneComesBackToANewCertificate: the leader does not expel what it shows itself unless
// that is said. A zone that then refuses the only member hears that it was readmitted once
// the member shows a certificate of another key.
func TestAZoneComesBackToANewCertificate(t *testing.T) {
	g := StartGlobal(t, slog.New(slog.DiscardHandler))
	files := g.TLS.Files()
	ca, err := tlsutil.LoadAuthority(filepath.Dir(files.CA))
	if err != nil {
		t.Fatal(err)
	}
	leaf := g.TLS.Current().Certificate.Leaf
	id, err := tlsutil.IdentityOf(leaf)
	if err != nil {
		t.Fatal(err)
	}
	west, key := g.StartZone("west", g.KDS()), tlsutil.KeyOf(leaf)
	west.WaitCurrent(g)
	g.want(t, 409, "POST", "/v1/expelled", apitypes.ExpelRequest{ID: key, Reason: "stolen"}, nil)
	g.want(t, 200, "POST", "/v1/expelled", apitypes.ExpelRequest{ID: key, Reason: "stolen", Force: true}, nil)
	refused := func() bool {
		link := west.Node.Link()
		return !link.Connected && strings.Contains(link.LastError, "was expelled")
	}
	Eventually(t, "the zone to leave the global, and to say why", refused)
	g.want(t, 204, "DELETE", "/v1/expelled/"+key, nil, nil)
	if !refused() {
		t.Error("a zone without a connection has heard that the certificate was readmitted")
	}
	cert, private, err := ca.Issue(id, []string{"127.0.0.1", "localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string][]byte{files.Key: private, files.Cert: cert} {
		if err := tlsutil.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g.TLS.Check()
	west.WaitCurrent(g)
	if west.Node.Store().View().Revoked(cptoken.Certificate, "", key) {
		t.Error("the zone has not heard that the former certificate was readmitted")
	}
}
