package resource

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
)

const backend = `type: Dataplane
mesh: default
name: backend-1
labels: {team: a}
networking:
  address: 10.0.0.1
  inbound:
  - port: 8080
    servicePort: 80
    tags: {kuma.io/service: backend, version: 1.10}
  - port: 8081
    address: 10.0.0.2
    serviceAddress: 10.0.0.3
    tags: {kuma.io/service: backend-admin}
    health: {ready: true}
  outbound:
  - {port: 9000, tags: {kuma.io/service: redis}}
  - {port: 9001, backendRef: {kind: MeshService, name: x}}
  admin: {port: 9901}
  transparentProxying: {redirectPortInbound: 15006}
probes: {port: 9000}
`

func TestDataplane(t *testing.T) {
	r, err := ParseFile([]byte(backend))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"kuma.io/service": {"backend", "backend-admin"}, "version": {"1.10"}}
	if got := r.Tags(); !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("tags %v", got)
	}
	if r.String() != "Dataplane default/backend-1" || r.Kind.ProxyType() != "dataplane" || r.AdminPort != 9901 || !r.TransparentProxy {
		t.Errorf("%+v", r)
	}
	a, b := r.Inbounds[0], r.Inbounds[1]
	if a.Address != "10.0.0.1" || a.Port != 8080 || a.ServiceAddress != "127.0.0.1" || a.ServicePort != 80 ||
		b.Address != "10.0.0.2" || b.ServiceAddress != "10.0.0.3" || b.ServicePort != 8081 {
		t.Errorf("inbounds %+v", r.Inbounds)
	}
	// What is sent on says the same to who reads it.
	again, err := ParseRequest(r.JSON())
	if err != nil || again.String() != r.String() || !maps.EqualFunc(again.Tags(), want, slices.Equal) {
		t.Errorf("sent on: %+v, %v", again, err)
	}
	if !strings.Contains(string(r.JSON()), `"probes":{"port":9000}`) {
		t.Errorf("something was lost: %s", r.JSON())
	}
}

func TestGatewayAndZoneProxies(t *testing.T) {
	for in, want := range map[string]string{
		"{type: Dataplane, name: gw, networking: {address: 10.0.0.1, gateway: {tags: {kuma.io/service: edge}}}}":                                                                                                  "Dataplane default/gw",
		"{type: Dataplane, mesh: m, name: cron, networking: {address: host.example}}":                                                                                                                             "Dataplane m/cron",
		"{type: ZoneIngress, name: in, zone: west, networking: {address: 10.0.0.1, port: 10001, advertisedPort: 2}, availableServices: [{tags: {a: b}, instances: 2, mesh: default}]}":                            "ZoneIngress in",
		`{"type":"ZoneEgress","name":"eg","creationTime":"0001-01-01T00:00:00Z","modificationTime":"0001-01-01T00:00:00Z","networking":{"address":"::1","port":10002,"admin":{"port":9901}}}`:                     "ZoneEgress eg",
		`{"type":"Dataplane","mesh":"default","name":"a","networking":{"address":"10.0.0.1","inbound":[{"port":80,"tags":{"kuma.io/service":"a"},"health":{"ready":true},"state":"Ready","serviceProbe":null}]}}`: "Dataplane default/a",
	} {
		r, err := ParseFile([]byte(in))
		if err != nil || r.String() != want {
			t.Errorf("%s: %v, %v", in, r, err)
		}
	}
}

// TestListeners: a Dataplane with listeners is a zone proxy, beside inbounds or without.
func TestListeners(t *testing.T) {
	const in = `{"type":"Dataplane","mesh":"default","name":"zp","networking":{"address":"10.0.0.1","inbound":[{"port":80,"tags":{"a":"b"}}],` +
		`"listeners":[{"type":"ZoneIngress","port":10001,"name":"in","state":"NotReady"},{"type":"ZoneEgress","port":10001,"address":"10.0.0.2"},{"type":"ZoneIngress","port":10003}]}}`
	r, err := ParseFile([]byte(in))
	if err != nil || r.Kind != Dataplane || !slices.Equal(r.Listening(), []string{"egress", "ingress"}) {
		t.Fatalf("%+v, %v", r, err)
	}
	want := []Listener{
		{Name: "in", Kind: ZoneIngress, Address: "10.0.0.1", Port: 10001, State: "NotReady"},
		{Name: "10001", Kind: ZoneEgress, Address: "10.0.0.2", Port: 10001}, {Name: "10003", Kind: ZoneIngress, Address: "10.0.0.1", Port: 10003},
	}
	if !slices.Equal(r.Listeners, want) || string(r.JSON()) != in {
		t.Errorf("%+v, passed on as %s", r.Listeners, r.JSON())
	}
	if again, err := ParseRequest([]byte(`{"type":"Dataplane","name":"zp","networking":{"address":"10.0.0.1"}}`)); err != nil || again.Listening() != nil {
		t.Errorf("without listeners: %+v, %v", again, err)
	}
}

func TestUnknownFields(t *testing.T) {
	in := strings.Replace(backend, "servicePort", "servisePort", 1)
	_, err := ParseFile([]byte(in))
	if federation.CodeOf(err) != federation.Invalid || !strings.Contains(err.Error(), "line 9: networking.inbound[0].servisePort: is not known here") {
		t.Errorf("in a file: %v", err)
	}
	if _, err := ParseRequest([]byte(in)); err != nil {
		t.Errorf("in a request: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	dp := func(networking string) string { return "{type: Dataplane, name: a, networking: {" + networking + "}}" }
	for name, tc := range map[string]struct{ in, want string }{
		"no type":            {"name: a", "line 1: type: is missing"},
		"unknown type":       {"name: a\ntype: Mesh", "line 2: type: \"Mesh\" is not the type of a proxy"},
		"a list":             {"- a", "a resource is a map"},
		"no name":            {"{type: Dataplane, networking: {address: 10.0.0.1}}", "name: must not be empty"},
		"a path as a name":   {"{type: ZoneEgress, name: ../a, networking: {address: 10.0.0.1, port: 1}}", "name: \"../a\" is not the name"},
		"dots as a name":     {"{type: ZoneEgress, name: .., networking: {address: 10.0.0.1, port: 1}}", "name: \"..\" is not the name"},
		"bad mesh":           {"{type: Dataplane, mesh: A/b, name: a, networking: {address: 10.0.0.1}}", "mesh: \"A/b\" is not a name"},
		"no address":         {"type: Dataplane\nname: a\nnetworking:\n  inbound: []\n", "line 4: networking.address: must not be empty"},
		"no networking":      {"{type: Dataplane, name: a}", "networking.address: must not be empty"},
		"address of none":    {dp("address: 0.0.0.0"), "is not the address of a machine"},
		"address with blank": {dp("address: 'a b'"), "is neither an IP address nor a host name"},
		"port too large":     {"type: Dataplane\nname: a\nnetworking:\n  address: 10.0.0.1\n  inbound:\n  - {port: 80}\n  - {port: 70000}\n", "line 7: networking.inbound[1].port: 70000 is not a port"},
		"no port":            {dp("address: 10.0.0.1, inbound: [{tags: {a: b}}]"), "inbound[0].port: 0 is not a port"},
		"port of a zone":     {"{type: ZoneIngress, name: a, networking: {address: 10.0.0.1}}", "networking.port: must not be empty"},
		"a port twice":       {dp("address: 10.0.0.1, inbound: [{port: 1}, {port: 1, address: 10.0.0.1}]"), "inbound[1]: has the address and port of inbound[0]"},
		"empty tag":          {dp("address: 10.0.0.1, inbound: [{port: 1, tags: {a: ''}}]"), "the tag a has the value \"\""},
		"both":               {dp("address: 10.0.0.1, inbound: [{port: 1}], gateway: {}"), "one or the other"},
		"type of a gateway":  {dp("address: 10.0.0.1, gateway: {type: X}"), "is not a type of gateway"},
		"ingress inbound":    {"{type: ZoneIngress, name: a, networking: {address: 10.0.0.1, port: 1, inbound: []}}", "networking.inbound: is not known here"},
		"no listener type":   {dp("address: 10.0.0.1, listeners: [{port: 1}]"), "listeners[0].type: \"\" is not a type of listener"},
		"a listener's type":  {dp("address: 10.0.0.1, listeners: [{port: 1, type: ingress}]"), "listeners[0].type: \"ingress\" is not a type of listener"},
		"a listener's port":  {dp("address: 10.0.0.1, listeners: [{type: ZoneIngress}]"), "listeners[0].port: 0 is not a port"},
		"a listener's state": {dp("address: 10.0.0.1, listeners: [{type: ZoneIngress, port: 1, state: Up}]"), "listeners[0].state: \"Up\" is not a state"},
		"a listener's host":  {dp("address: 10.0.0.1, listeners: [{type: ZoneIngress, port: 1, address: 0.0.0.0}]"), "listeners[0].address: \"0.0.0.0\" is not the address"},
		"a listener's name":  {dp("address: 10.0.0.1, listeners: [{type: ZoneIngress, port: 1, name: a b}]"), "listeners[0].name: \"a b\" is not the name of a listener"},
		"a name twice":       {dp("address: 10.0.0.1, listeners: [{type: ZoneIngress, port: 1, name: '2'}, {type: ZoneEgress, port: 2}]"), "listeners[1]: has the name of listeners[0]"},
		"on an inbound":      {dp("address: 10.0.0.1, inbound: [{port: 1}], listeners: [{type: ZoneIngress, port: 1}]"), "listeners[0]: has the address and port of inbound[0]"},
		"ingress listeners":  {"{type: ZoneIngress, name: a, networking: {address: 10.0.0.1, port: 1, listeners: []}}", "networking.listeners: is not known here"},
		"two documents":      {backend + "---\n" + backend, "a second document begins"},
	} {
		_, err := ParseFile([]byte(tc.in))
		if federation.CodeOf(err) != federation.Invalid || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	if _, err := ParseFile([]byte(backend + "# " + strings.Repeat("x", 10<<20))); federation.CodeOf(err) != federation.TooLarge {
		t.Errorf("10 MB: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(backend))
	f.Add([]byte(`{"type":"ZoneIngress","name":"in","networking":{"address":"10.0.0.1","port":1},"availableServices":[{"tags":{"a":"b"}}]}`))
	f.Add([]byte("type: ZoneEgress\nname: e\nnetworking: {address: a.b, port: '7'}\n"))
	f.Add([]byte("{type: Dataplane, name: gw, networking: {address: 10.0.0.1, gateway: {tags: {a: b}}}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		strict, strictErr := ParseFile(data)
		r, err := ParseRequest(data)
		if strictErr == nil && (err != nil || r.String() != strict.String()) {
			t.Fatalf("strict accepts %v, lenient says %v, %v", strict, r, err)
		}
		if err != nil {
			if c := federation.CodeOf(err); c != federation.Invalid && c != federation.TooLarge {
				t.Fatalf("an error of code %s: %v", c, err)
			}
			return
		}
		again, err := ParseRequest(r.JSON())
		if err != nil {
			t.Fatalf("reading what is sent on: %v\n%s", err, r.JSON())
		}
		if again.String() != r.String() || !maps.EqualFunc(again.Tags(), r.Tags(), slices.Equal) || len(again.Inbounds) != len(r.Inbounds) {
			t.Fatalf("%+v became %+v", r, again)
		}
	})
}
