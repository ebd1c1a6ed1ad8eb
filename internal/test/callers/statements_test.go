package callers

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/internal/test/doctable"
)

// mistaken are statements that nobody can meet, in many spellings.
var mistaken = []map[string]string{
	{"proxytype": "egress"}, {"ProxyType": "egress"}, {"proxy-type": "egress"}, {"type": "egress"}, {"Mesh": "payments"}, {"meshes": "payments"}, {" mesh": "payments"},
	{"Name": "ledger-1"}, {"names": "ledger-1"}, {"tags/kuma.io/service": "ledger"}, {"tag": "ledger"}, {"tag/": "ledger"}, {"Tag/kuma.io/service": "ledger"},
	{"service": "ledger"}, {"scope": "egress"}, {"zone": "west"}, {"Bound": "name"}, {"workload": "w"}, {"": "x"},
	{"proxyType": ""}, {"mesh": ""}, {"name": ""}, {"bound": ""}, {"tag/kuma.io/service": ""},
	{"proxyType": "Egress"}, {"proxyType": "egress "}, {"proxyType": "gateway"}, {"proxyType": "ingress,egress"}, {"mesh": "Payments"}, {"mesh": "payments,default"},
	{"name": " ledger-1"}, {"tag/kuma.io/service": "ledger,"}, {"tag/kuma.io/service": "ledger, web"}, {"bound": "mesh"}, {"bound": "Name"}, {"bound": "name, service"},
	{"proxyType": "egress", "name": "egress-1"}, {"proxyType": "ingress", "mesh": "payments"}, {"proxyType": "egress", "bound": "name"}, {"proxyType": "ingress", "tag/x": "y"},
}

// route states something about a place of its own, in a virtual host that states
// something or not.
type route struct{ host, stated map[string]string }

// routed returns the documented configuration with a virtual host and a route for each
// statement: the host "hN", the path "/".
func routed(t *testing.T, config string, routes []route) string {
	t.Helper()
	perRoute := func(indent string, stated map[string]string) string {
		if stated == nil {
			return ""
		}
		extensions, err := json.Marshal(stated)
		if err != nil {
			t.Fatal(err)
		}
		return indent + "typed_per_filter_config:\n" + indent + "  envoy.filters.http.ext_authz:\n" +
			indent + "    \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute\n" +
			indent + "    check_settings: {context_extensions: " + string(extensions) + "}\n"
	}
	var hosts strings.Builder
	for i, r := range routes {
		fmt.Fprintf(&hosts, "            - name: h%d\n              domains: [h%d]\n%s              routes:\n              - match: {prefix: /}\n                route: {cluster: app}\n%s",
			i, i, perRoute("              ", r.host), perRoute("                ", r.stated))
	}
	const place = "            virtual_hosts:\n"
	if strings.Count(config, place) != 1 {
		t.Fatalf("the configuration has %q %d times", place, strings.Count(config, place))
	}
	return strings.Replace(config, place, place+hosts.String(), 1)
}

// TestStatementsThroughEnvoy walks the table of statements in the documentation, and
// statements that are mistakes, through a real Envoy; also what a virtual host and its
// route state together.
func TestStatementsThroughEnvoy(t *testing.T) {
	needEnvoy(t)
	z, a, port := startZone(t), startApp(t), freePort(t)
	type question struct {
		route
		token  string
		status int
		reason string
	}
	ledger := sign(t, map[string]any{"Mesh": "payments", "Name": "ledger-1", "Tags": map[string]any{"kuma.io/service": []string{"ledger"}}})
	egress := sign(t, map[string]any{"Zone": "west", "Scope": []string{"egress", "ingress"}})
	var questions []question
	for _, row := range doctable.Rows(t, "../../../docs/proxies.md", doctable.Statement) {
		q := question{route: route{stated: doctable.Pairs(row[0])}}
		if claims := doctable.Claims(t, row[1]); claims != nil {
			q.token = sign(t, claims)
		}
		if q.status, q.reason = doctable.Answer(t, row[2]); strings.Contains(row[1], `"cp"`) {
			q.reason = "not_allowed" // of a key of the zone's settings, which signs none of these
		}
		questions = append(questions, q)
	}
	for _, stated := range mistaken {
		for _, token := range []string{ledger, egress} {
			questions = append(questions, question{route{stated: stated}, token, 403, "misconfigured"})
		}
	}
	mesh := map[string]string{"mesh": "payments"}
	questions = append(questions,
		question{route{mesh, map[string]string{"name": "ledger-1"}}, ledger, 200, ""},
		question{route{mesh, map[string]string{"name": "ledger-2"}}, ledger, 403, "wrong_name"},
		question{route{map[string]string{"mesh": "default"}, map[string]string{"name": "ledger-1"}}, ledger, 403, "wrong_mesh"},
		question{route{map[string]string{"mesh": "default"}, mesh}, ledger, 200, ""}, // the route's value counts
		question{route{map[string]string{"proxyType": "egress"}, map[string]string{"name": "ledger-1"}}, ledger, 403, "misconfigured"},
		question{route{map[string]string{"proxytype": "egress"}, mesh}, ledger, 403, "misconfigured"},
		question{route{mesh, nil}, egress, 401, "wrong_kind"},
	)
	var routes []route
	for _, q := range questions {
		routes = append(routes, q.route)
	}
	startEnvoy(t, routed(t, documented(t, z, a, port), routes), port)
	for i, q := range questions {
		a.take()
		r, err := http.NewRequest(http.MethodGet, "http://127.0.0.1:"+port+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = fmt.Sprintf("h%d", i)
		if q.token != "" {
			r.Header.Set("Authorization", "Bearer "+q.token)
		}
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		headers, _, _ := a.take()
		if reason := resp.Header.Get("X-Meridian-Reason"); resp.StatusCode != q.status || reason != q.reason || (headers != nil) != (q.status == 200) {
			t.Errorf("host %v, route %v, token %.20q: %d %s, want %d %s", q.host, q.stated, q.token, resp.StatusCode, reason, q.status, q.reason)
		}
	}
	// The log is limited, the first mistake stands in it.
	first := slices.IndexFunc(questions, func(q question) bool { return maps.Equal(q.stated, mistaken[0]) })
	if log, want := z.log.String(), fmt.Sprintf("key=proxytype value=egress route=h%d/", first); !strings.Contains(log, want) {
		t.Errorf("the log does not have %s:\n%s", want, log)
	}
}
