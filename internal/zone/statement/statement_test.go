package statement_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/zone/statement"
)

// facts are what a token proves, as the model has it: written down for each token by
// hand, apart from the code under test.
type facts struct {
	method   keyring.Method // by which it is good
	types    []string
	mesh     string
	name     string
	services []string
}

// presented are the tokens of the model. nil claims are a service account's token, or
// none of ours.
var presented = []struct {
	token  string // where claims are nil
	claims map[string]any
	facts  facts
}{
	{"", nil, facts{}},
	{"garbage", nil, facts{}},
	{"", claims{"Zone": "west", "Scope": list{"egress"}}, facts{method: keyring.ZoneToken, types: list{"egress"}}},
	{"", claims{"Zone": "west", "Scope": list{"ingress"}}, facts{method: keyring.ZoneToken, types: list{"ingress"}}},
	{"", claims{"Zone": "west", "Scope": list{"egress", "ingress"}}, facts{method: keyring.ZoneToken, types: list{"egress", "ingress"}}},
	{"", claims{"Zone": "west", "Scope": list{"dataplane"}}, facts{method: keyring.ZoneToken, types: list{"dataplane"}}},
	{"", claims{"Zone": "west", "Scope": list{"cp"}}, facts{method: keyring.ZoneToken}},
	{"", claims{"Zone": "east", "Scope": list{"egress", "ingress", "dataplane"}}, facts{method: keyring.ZoneToken}},
	{"", claims{"Mesh": "default"}, facts{method: keyring.DataplaneToken, types: list{"dataplane"}, mesh: "default"}},
	{"", claims{"Mesh": "default", "Name": "backend-1"}, facts{method: keyring.DataplaneToken, types: list{"dataplane"}, mesh: "default", name: "backend-1"}},
	{"", claims{"Mesh": "default", "Tags": tags("backend")}, facts{method: keyring.DataplaneToken, types: list{"dataplane"}, mesh: "default", services: list{"backend"}}},
	{"", claims{"Mesh": "default", "Tags": tags("backend", "web")}, facts{method: keyring.DataplaneToken, types: list{"dataplane"}, mesh: "default", services: list{"backend", "web"}}},
	{"", claims{"Mesh": "default", "Name": "backend-1", "Tags": tags("backend")}, facts{method: keyring.DataplaneToken, types: list{"dataplane"}, mesh: "default", name: "backend-1", services: list{"backend"}}},
	{"", claims{"Mesh": "default", "Tags": tags()}, facts{method: keyring.DataplaneToken, types: list{"dataplane"}, mesh: "default"}},
	{"", claims{"Mesh": "payments", "Name": "backend-1", "Tags": tags("backend")}, facts{method: keyring.DataplaneToken, types: list{"dataplane"}, mesh: "payments", name: "backend-1", services: list{"backend"}}},
	{"", claims{"Mesh": "default", "Name": "web-1", "Tags": tags("web")}, facts{method: keyring.DataplaneToken, types: list{"dataplane"}, mesh: "default", name: "web-1", services: list{"web"}}},
	{"", claims{"Mesh": "default", "Type": "ingress"}, facts{method: keyring.DataplaneToken}},
	{"entry", nil, facts{method: keyring.ServiceAccountToken, types: list{"dataplane"}, mesh: "default", services: list{"backend"}}},
	{"egress-entry", nil, facts{method: keyring.ServiceAccountToken, types: list{"egress"}}},
	{"no-entry", nil, facts{method: keyring.ServiceAccountToken, types: list{"dataplane"}}},
}

type (
	claims = map[string]any
	list   = []string
)

func tags(services ...string) map[string][]string {
	return map[string][]string{"kuma.io/service": append(list{}, services...)}
}

var accounts = reviewer{
	"entry":        {Types: list{"dataplane"}, Mesh: "default", Services: list{"backend"}},
	"egress-entry": {Types: list{"egress"}},
	"no-entry":     nil,
}

// methodOf is how a zone authenticates a type of proxy.
func (w *world) methodOf(proxyType string) keyring.Method {
	if proxyType == "dataplane" {
		return w.dataplane
	}
	return w.zoneProxy
}

// allows is the model: whether a token that proves f is whom the statement names.
func (w *world) allows(stated map[string]string, f facts) bool {
	is := func(proxyType string) bool {
		return w.methodOf(proxyType) == f.method && slices.Contains(f.types, proxyType)
	}
	if len(stated) == 0 {
		return w.zoneProxy == keyring.None && w.dataplane == keyring.None || slices.ContainsFunc(list{"dataplane", "egress", "ingress"}, is)
	}
	proxyType := stated["proxyType"]
	if proxyType == "" {
		proxyType = "dataplane"
	}
	if !is(proxyType) {
		return false
	}
	for key, value := range stated {
		ok := true
		switch key {
		case "mesh":
			ok = f.mesh == value
		case "name":
			ok = f.name == value
		case "tag/kuma.io/service":
			ok = len(f.services) > 0
			for _, service := range f.services {
				ok = ok && slices.Contains(strings.Split(value, ","), service)
			}
		case "bound":
			ok = (!strings.Contains(value, "name") || f.name != "") && (!strings.Contains(value, "service") || len(f.services) > 0)
		}
		if !ok {
			return false
		}
	}
	return true
}

// combinations calls f with every combination of stated and unstated. That a value is
// another one is up to the tokens.
func combinations(f func(stated map[string]string)) {
	dimensions := []struct {
		key    string
		values []string
	}{
		{"proxyType", list{"dataplane", "egress", "ingress"}},
		{"mesh", list{"default"}},
		{"name", list{"backend-1"}},
		{"tag/kuma.io/service", list{"backend", "web,backend"}},
		{"bound", list{"name", "service,name"}},
	}
	var choose func(i int, stated map[string]string)
	choose = func(i int, stated map[string]string) {
		if i == len(dimensions) {
			f(stated)
			return
		}
		choose(i+1, stated)
		for _, v := range dimensions[i].values {
			with := maps.Clone(stated)
			with[dimensions[i].key] = v
			choose(i+1, with)
		}
	}
	choose(0, map[string]string{})
}

// TestWhatIsStatedIsProved holds every combination of a statement, a token and a way
// to authenticate against the model, for every way to ask.
func TestWhatIsStatedIsProved(t *testing.T) {
	var tokens []string
	for _, p := range presented {
		if p.claims != nil {
			p.token = sign(t, p.claims)
		}
		tokens = append(tokens, p.token)
	}
	const sa, none, zoneToken, dpToken = keyring.ServiceAccountToken, keyring.None, keyring.ZoneToken, keyring.DataplaneToken
	yes := 0
	for _, methods := range [][2]keyring.Method{{zoneToken, dpToken}, {zoneToken, zoneToken}, {sa, sa}, {none, none}, {none, dpToken}, {zoneToken, none}, {sa, dpToken}, {zoneToken, sa}} {
		w := newWorld(t, methods[0], methods[1], accounts)
		combinations(func(stated map[string]string) {
			proxyType := stated["proxyType"]
			mistake := (proxyType == "egress" || proxyType == "ingress") && len(stated) > 1
			for way, ask := range ways {
				for i, got := range ask(t, w, stated, tokens) {
					want := !mistake && w.allows(stated, presented[i].facts)
					if (got.status == 200) != want || (got.reason == "misconfigured") != mistake || got.status == 503 {
						t.Errorf("%v, %s, stated %v, token %d (%v): %d %s, want %v", methods, way, stated, i, presented[i].claims, got.status, got.reason, want)
					}
					if want {
						yes++
					}
				}
			}
		})
		if t.Failed() {
			return // the other worlds would repeat it
		}
	}
	if yes < 500 {
		t.Errorf("%d were allowed: the test would prove little", yes)
	}
}

// TestOnlyTokensOfProxiesProve: a statement does not rely on who verified a token to have
// asked for the right kind.
func TestOnlyTokensOfProxiesProve(t *testing.T) {
	for _, c := range []cptoken.Claims{
		{Kind: cptoken.User, Name: "ann"}, {Kind: cptoken.User, Mesh: "default"}, {Kind: cptoken.ControlPlane, Zone: "west"}, {Mesh: "default"}, {Kind: cptoken.Dataplane},
		{Kind: cptoken.Dataplane, Mesh: "default", Type: "egress"}, {Kind: cptoken.Zone, Zone: "west"}, {Kind: cptoken.Zone, Scope: []cptoken.Scope{"dataplane"}},
	} {
		if err := new(statement.Statement).CheckToken("west", cptoken.TypeDataplane, &c); err == nil {
			t.Errorf("%+v proves a data plane proxy", c)
		}
	}
}

// TestAnEmptyServiceIsNone, where one is demanded.
func TestAnEmptyServiceIsNone(t *testing.T) {
	for service, want := range map[string]bool{"": false, "backend": true} {
		c := cptoken.Claims{Kind: cptoken.Dataplane, Mesh: "default", Tags: map[string][]string{statement.ServiceTag: {"backend", service}}}
		if err := (&statement.Statement{Type: cptoken.TypeDataplane, BoundService: true}).CheckToken("west", cptoken.TypeDataplane, &c); (err == nil) != want {
			t.Errorf("%q: %v", service, err)
		}
	}
}

// TestMistakes lists statements that nobody can meet.
func TestMistakes(t *testing.T) {
	for _, stated := range []map[string]string{
		{"proxytype": "egress"}, {"Name": "x"}, {"tags/kuma.io/service": "x"}, {"service": "x"}, {"scope": "cp"}, {"zone": "west"},
		{"proxyType": ""}, {"mesh": ""}, {"name": ""}, {"tag/x": ""}, {"bound": ""}, {"": ""}, {"": "x"}, {"tag/": "x"}, {"tag/ x": "y"}, {"tag/x ": "y"}, {"tag/\u00a0": "y"},
		{"proxyType": "Egress"}, {"proxyType": "gateway"}, {"proxyType": " egress"}, {"mesh": "A B"}, {"name": "x "},
		{"tag/x": "a,,b"}, {"tag/x": "a, b"}, {"tag/x": ","}, {"bound": "mesh"}, {"bound": "name,"}, {"bound": "name, service"},
		{"proxyType": "egress", "name": "x"}, {"proxyType": "ingress", "mesh": "x"}, {"proxyType": "egress", "bound": "name"}, {"proxyType": "egress", "tag/x": "y"},
	} {
		s, err := statement.Parse(stated)
		var m *statement.Misconfigured
		if !asMistake(err, &m) || s.Stated() {
			t.Errorf("%v: %+v, %v", stated, s, err)
			continue
		}
		if _, there := stated[m.Key]; !there || stated[m.Key] != m.Value {
			t.Errorf("%v: blamed %q %q", stated, m.Key, m.Value)
		}
		// What the caller reads has nothing of it.
		told := m.Unwrap().Error()
		for key, value := range stated {
			if len(key) > 1 && strings.Contains(told, key) || len(value) > 1 && strings.Contains(told, value) {
				t.Errorf("%v: the caller is told %q", stated, told)
			}
		}
	}
}

func asMistake(err error, into **statement.Misconfigured) bool { return errors.As(err, into) }
