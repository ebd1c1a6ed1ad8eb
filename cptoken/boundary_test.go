package cptoken

import (
	"testing"

	"github.com/meridiankds/meridian/federation"
)

// verdict fails the test unless err is nil, where want is empty, or has the reason.
func verdict(t *testing.T, what string, err error, want Reason) {
	t.Helper()
	if got := ReasonOf(err); got != want || (err == nil) != (want == "") {
		t.Errorf("%s: %v (%s), want %q", what, err, got, want)
	}
}

func TestCheckZoneProxy(t *testing.T) {
	both := []Scope{ScopeIngress, ScopeEgress}
	for what, test := range map[string]struct {
		c     Claims
		zone  string
		scope Scope
		want  Reason
	}{
		"egress":                  {Claims{Kind: Zone, Zone: "west", Scope: both}, "west", ScopeEgress, ""},
		"ingress":                 {Claims{Kind: Zone, Zone: "west", Scope: both}, "west", ScopeIngress, ""},
		"dataplane":               {Claims{Kind: Zone, Zone: "west", Scope: []Scope{ScopeDataplane}}, "west", ScopeDataplane, ""},
		"another zone":            {Claims{Kind: Zone, Zone: "west", Scope: both}, "east", ScopeEgress, WrongZone},
		"a zone in capitals":      {Claims{Kind: Zone, Zone: "West", Scope: both}, "west", ScopeEgress, WrongZone},
		"a prefix of the zone":    {Claims{Kind: Zone, Zone: "west", Scope: both}, "west-2", ScopeEgress, WrongZone},
		"no zone":                 {Claims{Kind: Zone, Scope: both}, "west", ScopeEgress, WrongZone},
		"no zone on either side":  {Claims{Kind: Zone, Scope: both}, "", ScopeEgress, WrongZone},
		"the verifier has none":   {Claims{Kind: Zone, Zone: "west", Scope: both}, "", ScopeEgress, WrongZone},
		"out of scope":            {Claims{Kind: Zone, Zone: "west", Scope: []Scope{ScopeEgress}}, "west", ScopeIngress, OutOfScope},
		"no dataplane":            {Claims{Kind: Zone, Zone: "west", Scope: both}, "west", ScopeDataplane, OutOfScope},
		"no scope":                {Claims{Kind: Zone, Zone: "west"}, "west", ScopeEgress, OutOfScope},
		"an unknown scope":        {Claims{Kind: Zone, Zone: "west", Scope: []Scope{"all", "*", ""}}, "west", ScopeEgress, OutOfScope},
		"an unknown use":          {Claims{Kind: Zone, Zone: "west", Scope: []Scope{"all"}}, "west", "all", OutOfScope},
		"an empty use":            {Claims{Kind: Zone, Zone: "west", Scope: []Scope{""}}, "west", "", OutOfScope},
		"cp is no use of a proxy": {Claims{Kind: Zone, Zone: "west", Scope: []Scope{ScopeCP}}, "west", ScopeCP, OutOfScope},
		"a control plane token":   {Claims{Kind: ControlPlane, Zone: "west"}, "west", ScopeEgress, WrongKind},
		"a user token":            {Claims{Kind: User, Name: "west"}, "west", ScopeEgress, WrongKind},
		"nothing":                 {Claims{}, "", "", WrongKind},
	} {
		verdict(t, what, test.c.CheckZoneProxy(test.zone, test.scope), test.want)
	}
}

func TestCheckControlPlane(t *testing.T) {
	zone := func(scopes ...Scope) Claims { return Claims{Kind: Zone, Zone: "west", Scope: scopes} }
	for what, test := range map[string]struct {
		c    Claims
		zone string
		want Reason
	}{
		"its zone":                {Claims{Kind: ControlPlane, Zone: "west"}, "west", ""},
		"another zone":            {Claims{Kind: ControlPlane, Zone: "west"}, "east", WrongZone},
		"no zone":                 {Claims{Kind: ControlPlane}, "west", WrongZone},
		"no zone on either side":  {Claims{Kind: ControlPlane}, "", WrongZone},
		"zone token, cp":          {zone(ScopeCP), "west", ""},
		"zone token, cp twice":    {zone(ScopeCP, ScopeCP), "west", ""},
		"zone token, cp and more": {zone(ScopeCP, ScopeEgress), "west", OutOfScope},
		"zone token, more and cp": {zone(ScopeEgress, ScopeCP), "west", OutOfScope},
		"zone token, cp and odd":  {zone(ScopeCP, "x"), "west", OutOfScope},
		"zone token, egress":      {zone(ScopeEgress), "west", OutOfScope},
		"zone token, no scope":    {zone(), "west", OutOfScope},
		"zone token, other zone":  {zone(ScopeCP), "east", WrongZone},
		"a dataplane token":       {Claims{Kind: Dataplane, Mesh: "default"}, "west", WrongKind},
		"nothing":                 {Claims{}, "", WrongKind},
	} {
		verdict(t, what, test.c.CheckControlPlane(test.zone), test.want)
	}
}

func TestCheckDataplane(t *testing.T) {
	tags := func(kv ...string) map[string][]string {
		m := map[string][]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = append(m[kv[i]], kv[i+1])
		}
		return m
	}
	backend := Proxy{Mesh: "default", Name: "dp-1", Tags: tags("service", "backend", "version", "1")}
	two := Proxy{Mesh: "default", Name: "dp-1", Tags: tags("service", "backend", "service", "backend-admin")}
	zoneProxy := Proxy{Mesh: "default", Name: "dp-1", Tags: tags("service", "backend"), Listening: []string{TypeIngress}}
	for what, test := range map[string]struct {
		c    Claims
		p    Proxy
		want Reason
	}{
		"only the mesh":              {Claims{Mesh: "default"}, backend, ""},
		"another mesh":               {Claims{Mesh: "other"}, backend, WrongMesh},
		"no mesh":                    {Claims{}, backend, WrongMesh},
		"no mesh on either side":     {Claims{}, Proxy{}, WrongMesh},
		"its name":                   {Claims{Mesh: "default", Name: "dp-1"}, backend, ""},
		"another name":               {Claims{Mesh: "default", Name: "dp-2"}, backend, WrongName},
		"a proxy without name":       {Claims{Mesh: "default", Name: "dp-2"}, Proxy{Mesh: "default"}, WrongName},
		"its tag":                    {Claims{Mesh: "default", Tags: tags("service", "backend")}, backend, ""},
		"another value":              {Claims{Mesh: "default", Tags: tags("service", "web")}, backend, TagMismatch},
		"a tag that it lacks":        {Claims{Mesh: "default", Tags: tags("team", "a")}, backend, TagMismatch},
		"one of two tags":            {Claims{Mesh: "default", Tags: tags("service", "backend", "version", "2")}, backend, TagMismatch},
		"more values than it has":    {Claims{Mesh: "default", Tags: tags("service", "backend", "service", "web")}, backend, ""},
		"both its services":          {Claims{Mesh: "default", Tags: tags("service", "backend", "service", "backend-admin")}, two, ""},
		"one of its services":        {Claims{Mesh: "default", Tags: tags("service", "backend")}, two, TagMismatch},
		"a tag without value":        {Claims{Mesh: "default", Tags: map[string][]string{"service": nil}}, backend, TagMismatch},
		"a nameless tag":             {Claims{Mesh: "default", Tags: map[string][]string{"": {"x"}}}, backend, TagMismatch},
		"its tag has no value":       {Claims{Mesh: "default", Tags: tags("service", "backend")}, Proxy{Mesh: "default", Tags: map[string][]string{"service": nil}}, TagMismatch},
		"type dataplane":             {Claims{Mesh: "default", Type: "dataplane"}, backend, ""},
		"type unsaid by token":       {Claims{Mesh: "default"}, Proxy{Mesh: "default", Type: "dataplane"}, ""},
		"type ingress":               {Claims{Mesh: "default", Type: "ingress"}, Proxy{Mesh: "default", Type: "ingress"}, ""},
		"ingress, is dataplane":      {Claims{Mesh: "default", Type: "ingress"}, backend, WrongType},
		"unsaid, is ingress":         {Claims{Mesh: "default"}, Proxy{Mesh: "default", Type: "ingress"}, WrongType},
		"all of it":                  {Claims{Mesh: "default", Name: "dp-1", Type: "dataplane", Tags: tags("service", "backend", "version", "1")}, backend, ""},
		"a zone proxy":               {Claims{Mesh: "default", Name: "dp-1"}, zoneProxy, ""},
		"a zone proxy, with tags":    {Claims{Mesh: "default", Tags: tags("service", "backend")}, zoneProxy, WrongType},
		"mesh before name":           {Claims{Mesh: "other", Name: "dp-2"}, backend, WrongMesh},
		"many tags of it, one wrong": {Claims{Mesh: "default", Tags: tags("a", "1", "b", "2", "version", "1")}, backend, TagMismatch},
	} {
		test.c.Kind = Dataplane
		verdict(t, what, test.c.CheckDataplane(test.p), test.want)
	}
	wrong := Claims{Kind: Zone, Zone: "west", Mesh: "default"}
	verdict(t, "a zone token", wrong.CheckDataplane(backend), WrongKind)
}

// TestTagMismatchIsStable: which of several tags is named must not change from
// call to call, or one misconfiguration looks like many in a log.
func TestTagMismatchIsStable(t *testing.T) {
	c := Claims{Kind: Dataplane, Mesh: "m", Tags: map[string][]string{"z": {"1"}, "a": {"1"}, "k": {"1"}}}
	first := c.CheckDataplane(Proxy{Mesh: "m"}).Error()
	for range 50 {
		if again := c.CheckDataplane(Proxy{Mesh: "m"}).Error(); again != first {
			t.Fatalf("%q, then %q", first, again)
		}
	}
}

func TestBoundariesAreForbidden(t *testing.T) {
	c := Claims{Kind: Zone, Zone: "west", Scope: []Scope{ScopeEgress}}
	err := c.CheckZoneProxy("east", ScopeEgress)
	if e := federation.AsError(err); e.Code != federation.Forbidden || e.Reason != "wrong_zone" || e.Hint == "" {
		t.Errorf("%+v", e)
	}
}
