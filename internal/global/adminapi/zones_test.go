package adminapi

import (
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/fleet"
)

func TestZoneLifecycle(t *testing.T) {
	e := newEnv(t)
	e.refused(404, "GET", "/zones/west", nil)
	e.refused(404, "DELETE", "/zones/west", nil)

	var z apitypes.Zone
	e.want(201, "PUT", "/zones/west", `{"type":"Zone","name":"west"}`, &z)
	if z.Type != "Zone" || z.Name != "west" || z.Enabled == nil || !*z.Enabled || z.CreationTime == nil || z.Auth != nil || z.Relay != nil {
		t.Errorf("made zone %+v", z)
	}
	whole := `{"enabled":false,"auth":"cpToken","relay":{"meshes":["default"],"maxValidity":"12h"},
		"creationTime":"0001-01-01T00:00:00Z","modificationTime":"0001-01-01T00:00:00Z"}`
	e.want(200, "PUT", "/v1/zones/west", whole, &z)
	has := func(what string, z apitypes.Zone, enabled bool, auth string, relays bool) {
		t.Helper()
		var got string
		if z.Auth != nil {
			got = *z.Auth
		}
		if *z.Enabled != enabled || got != auth || (z.Relay != nil) != relays || relays && (z.Relay.MaxValidity != "12h0m0s" || len(z.Relay.Meshes) != 1) {
			t.Errorf("%s left %+v", what, z)
		}
	}
	has("the whole record", z, false, "token", true)
	record, _ := e.store.Zone("west")
	if record.Enabled || record.Auth != federation.AuthToken || record.Relay.MaxValidity != 12*time.Hour {
		t.Errorf("record %+v", record)
	}

	// Kuma's API changes what Kuma's zones have. Who read the record may send it back.
	for _, body := range []string{
		`{"type":"Zone","name":"west","enabled":true}`, `{}`, `{"auth":null,"relay":null,"enabled":null}`,
		`{"enabled":true,"auth":"token","relay":{"meshes":["default"],"maxValidity":"12h0m0s"}}`,
	} {
		z = apitypes.Zone{}
		e.want(200, "PUT", "/zones/west", body, &z)
		has(body, z, true, "token", true)
	}
	e.badField("auth", "PUT", "/zones/west", `{"auth":"certificate"}`)
	e.badField("auth", "PUT", "/zones/west", `{"auth":""}`)
	e.badField("relay", "PUT", "/zones/west", `{"relay":{}}`)
	e.badField("relay", "PUT", "/zones/west", `{"relay":{"meshes":["default"],"maxValidity":"13h"}}`)
	e.want(200, "PUT", "/zones/west", `{"enabled":false}`, &z)
	has("disabling", z, false, "token", true)

	// A whole record replaces. What protects the zone must be in it.
	e.badField("auth", "PUT", "/v1/zones/west", `{"enabled":true}`)
	e.badField("auth", "PUT", "/v1/zones/west", `{"enabled":true,"auth":null}`)
	e.badField("enabled", "PUT", "/v1/zones/west", `{"auth":"token"}`)
	for _, body := range []string{`{"enabled":true,"auth":"token"}`, `{"auth":"token","relay":null}`, `{"auth":"token","relay":{}}`} {
		z = apitypes.Zone{}
		e.want(200, "PUT", "/v1/zones/west", body, &z)
		has(body, z, true, "token", false)
		e.want(200, "PUT", "/v1/zones/west", `{"auth":"token","relay":{"meshes":["default"],"maxValidity":"12h"}}`, nil)
	}
	z = apitypes.Zone{}
	e.want(200, "PUT", "/v1/zones/west", `{"auth":""}`, &z)
	has("nothing", z, true, "", false)
	z = apitypes.Zone{}
	e.want(200, "PUT", "/v1/zones/west", `{}`, &z)
	has("nothing at all", z, true, "", false)
	e.want(200, "PUT", "/v1/zones/west", `{"auth":"token","relay":{"meshes":["default"]}}`, nil)

	e.want(200, "DELETE", "/zones/west", nil, nil)
	e.refused(404, "GET", "/zones/west", nil)
	e.refused(404, "DELETE", "/zones/west", nil)
	if record, ok := e.store.Zone("west"); !ok || !record.Deleted {
		t.Errorf("record %+v, want a tombstone", record)
	}
	var list apitypes.List[apitypes.Zone]
	e.want(200, "GET", "/zones", nil, &list)
	if list.Total != 0 {
		t.Errorf("a deleted zone is listed: %+v", list)
	}
	e.want(201, "PUT", "/zones/west", `{}`, nil)
	if record, _ := e.store.Zone("west"); record.Deleted || record.Auth != "" || len(record.Relay.Meshes) != 0 {
		t.Errorf("applied again, the zone is %+v, want a new one", record)
	}
}

func TestBadZones(t *testing.T) {
	e := newEnv(t)
	tests := []struct{ name, body, field string }{
		{"another type", `{"type":"Mesh"}`, "type"},
		{"another name", `{"name":"east"}`, "name"},
		{"unknown way to authenticate", `{"auth":"password"}`, "auth"},
		{"enabled is a string", `{"enabled":"yes"}`, "enabled"},
		{"bad mesh", `{"relay":{"meshes":["A"]}}`, "relay.meshes"},
		{"bad validity", `{"relay":{"meshes":["a"],"maxValidity":"a day"}}`, "relay.maxValidity"},
		{"negative validity", `{"relay":{"meshes":["a"],"maxValidity":"-1h"}}`, "relay.maxValidity"},
		{"a validity that would be rounded to the default", `{"relay":{"meshes":["a"],"maxValidity":"500ms"}}`, "relay.maxValidity"},
		{"unknown field in depth", `{"relay":{"mesh":"a"}}`, "relay.mesh"},
		{"misspelled field", `{"enabeld":false}`, "enabeld"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := &env{T: t, admin: e.admin}
			e.badField(tt.field, "PUT", "/v1/zones/west", tt.body)
		})
	}
	if len(e.store.Zones()) != 0 {
		t.Error("a bad request made a zone")
	}
}

func TestMeshLifecycle(t *testing.T) {
	e := newEnv(t)
	e.refused(404, "GET", "/meshes/demo", nil)
	e.refused(404, "GET", "/meshes/demo/secrets", nil)
	e.refused(404, "DELETE", "/meshes/demo", nil)
	var m apitypes.Mesh
	e.want(201, "PUT", "/meshes/demo", `{"type":"Mesh","name":"demo","creationTime":"0001-01-01T00:00:00Z","modificationTime":"0001-01-01T00:00:00Z"}`, &m)
	if m.Type != "Mesh" || m.Name != "demo" || m.CreationTime == nil {
		t.Errorf("made mesh %+v", m)
	}
	e.want(200, "PUT", "/meshes/demo", `{}`, nil)
	var secrets apitypes.List[apitypes.Secret]
	e.want(200, "GET", "/meshes/demo/secrets", nil, &secrets)
	if secrets.Total != 1 || secrets.Items[0].Name != "dataplane-token-signing-key-demo-1" || secrets.Items[0].Mesh != "demo" {
		t.Errorf("secrets of a new mesh: %+v", secrets)
	}
	e.badField("mtls", "PUT", "/meshes/demo", `{"name":"demo","mtls":{"enabledBackend":"ca-1"}}`)
	e.badField("name", "PUT", "/meshes/demo", `{"name":"other"}`)
	e.want(200, "DELETE", "/meshes/demo", nil, nil)
	e.refused(404, "GET", "/meshes/demo", nil)

	// A serial is used once, whatever became of the mesh.
	e.want(201, "PUT", "/meshes/demo", `{}`, nil)
	e.want(200, "GET", "/meshes/demo/secrets", nil, &secrets)
	if secrets.Total != 1 || secrets.Items[0].Name != "dataplane-token-signing-key-demo-2" {
		t.Errorf("secrets of the mesh made again: %+v", secrets)
	}
}

func TestZoneStates(t *testing.T) {
	e := newEnv(t)
	for _, name := range []string{"east", "north", "south", "west"} {
		e.want(201, "PUT", "/zones/"+name, `{}`, nil)
	}
	e.want(200, "POST", "/v1/revocations", `{"kind":"zone","ids":["a"]}`, nil)
	elsewhere := e.session("south", 0)
	elsewhere.Acked.History.ID = "fedcba9876543210"
	elsewhere.Nack = "the set is of another cluster"
	ended := e.session("north", 0)
	ended.Disconnected = ended.Connected.Add(time.Second)
	second := e.session("west", 1)
	second.Instance, second.Authenticated, second.Method, second.TokenSerial, second.TokenID = "west-b", false, "none", 0, ""
	second.Connected = second.Connected.Add(time.Second)
	e.report(e.session("west", 0), second, elsewhere, ended)

	var list apitypes.List[apitypes.ZoneState]
	e.want(200, "GET", "/v1/zones", nil, &list)
	if list.Total != 4 {
		t.Fatalf("%d zones, want 4", list.Total)
	}
	east, north, south, west := list.Items[0], list.Items[1], list.Items[2], list.Items[3]
	if east.Online || len(east.Sessions) != 0 || east.Sessions == nil || east.LastSeen != nil {
		t.Errorf("east, never seen: %+v", east)
	}
	if north.Online || len(north.Sessions) != 1 || north.Sessions[0].Disconnected == nil || north.LastSeen == nil || !north.LastSeen.Equal(ended.Disconnected) {
		t.Errorf("north, gone: %+v", north)
	}
	if !south.Online || south.Sessions[0].Behind != nil || south.Sessions[0].Nack == "" {
		t.Errorf("south, of another history: %+v", south)
	}
	if !west.Online || len(west.Sessions) != 2 {
		t.Fatalf("west: %+v", west)
	}
	a, b := west.Sessions[0], west.Sessions[1]
	if a.Behind == nil || *a.Behind != 0 || a.Revision != e.head().String() || !a.Authenticated || a.TokenSerial != 1 || a.TokenExpires == nil {
		t.Errorf("west-a: %+v", a)
	}
	if b.Behind == nil || *b.Behind != 1 || b.Authenticated || b.Member != e.store.NodeID() {
		t.Errorf("west-b: %+v", b)
	}

	var overviews apitypes.List[apitypes.ZoneOverview]
	e.want(200, "GET", "/zones/_overview", nil, &overviews)
	for _, o := range overviews.Items {
		subs := o.ZoneInsight.Subscriptions
		online := len(subs) > 0 && subs[len(subs)-1].DisconnectTime == nil
		if want := o.Name == "west" || o.Name == "south"; online != want {
			t.Errorf("%s shows online %t, want %t: %+v", o.Name, online, want, subs)
		}
	}
}

// An open session that comes before a closed one must not make a zone look gone.
func TestOverviewPutsOnlineLast(t *testing.T) {
	now := time.Now()
	o := fleet.Zone{Sessions: []fleet.Session{
		{Zone: "west", Instance: "a", Connected: now, LastHeard: now, Online: true},
		{Zone: "west", Instance: "b", Connected: now.Add(time.Second), Disconnected: now.Add(2 * time.Second)},
		{Zone: "west", Instance: "c", Connected: now.Add(time.Second), LastHeard: now.Add(3 * time.Second)}, // member silent
	}}.Overview(federation.Zone{Name: "west", Enabled: true})
	subs := o.ZoneInsight.Subscriptions
	if len(subs) != 3 || subs[2].ID != "a" || subs[2].DisconnectTime != nil {
		t.Fatalf("subscriptions %+v, want the online one last", subs)
	}
	for i, want := range []time.Time{now.Add(2 * time.Second), now.Add(3 * time.Second)} {
		if subs[i].DisconnectTime == nil || !subs[i].DisconnectTime.Equal(want) {
			t.Errorf("subscription %s ended %v, want %v", subs[i].ID, subs[i].DisconnectTime, want)
		}
	}
}
