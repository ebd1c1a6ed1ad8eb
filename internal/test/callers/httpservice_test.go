package callers

import (
	"net/http"
	"strings"
	"testing"
)

// TestEnvoyAsksOverHTTP runs the documented configuration of Envoy's http_service: its
// client's path and query are appended to the question, and say nothing about who it is.
func TestEnvoyAsksOverHTTP(t *testing.T) {
	needEnvoy(t)
	z, s, k, port := startZone(t), startService(t), makeTokens(t), freePort(t)
	socket := func(address string) string {
		host, port, _ := strings.Cut(address, ":")
		return "{address: " + host + ", port_value: " + port + "}"
	}
	startEnvoy(t, edited(t, "envoy/http-service.yaml",
		[2]string{"{address: 0.0.0.0, port_value: 8080}", socket("127.0.0.1:" + port)}, [2]string{"{address: zone.example, port_value: 5678}", socket(z.address)},
		[2]string{"{address: app.example, port_value: 8000}", socket(s.address)}, [2]string{"/etc/envoy/zone-ca.crt", z.ca},
		[2]string{"sni: zone.example", "sni: localhost"}, [2]string{"{exact: zone.example}", "{exact: localhost}"}, [2]string{"timeout: 1s", "timeout: 60s"},
		[2]string{"static_resources:\n", "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\nstatic_resources:\n"}), port)
	for name, tc := range map[string]struct {
		request, token string
		status         int
		reason, who    string // of the refusal; at the service
	}{
		"the named proxy":          {"GET /ledger/x?name=y HTTP/1.1", k.ledger, 200, "", "payments/ledger-1"},
		"the mesh alone":           {"GET /ledger/x HTTP/1.1", k.mesh, 403, "wrong_name", ""},
		"with a statement":         {"GET /ledger/x?mesh=payments HTTP/1.1\nX-Meridian-Require: mesh=payments", k.mesh, 403, "wrong_name", ""},
		"a query of its own":       {"GET /x?name=somebody HTTP/1.1", k.mesh, 200, "", "payments/"},
		"a mistake in that":        {"GET /x?;%zz HTTP/1.1", k.mesh, 200, "", "payments/"},
		"posts":                    {"POST /x HTTP/1.1\nContent-Length: 0", k.mesh, 200, "", "payments/"},
		"deletes":                  {"DELETE /ledger/x HTTP/1.1", k.mesh, 403, "wrong_name", ""},
		"a question for a service": {"POST /ledger/x HTTP/1.1\nContent-Type: application/grpc\nTE: trailers\nContent-Length: 0", k.mesh, 200, "wrong_name", ""}, // with a status of gRPC
		"nobody":                   {"GET /x HTTP/1.1", "", 401, "missing_token", ""},
		"nobody, of gRPC":          {"POST /x HTTP/1.1\nContent-Type: application/grpc\nContent-Length: 0", "", 200, "missing_token", ""},
		"forged":                   {"GET /x HTTP/1.1\nX-Meridian-Name: admin\nX-Meridian-Workload: admin", k.mesh, 200, "", "payments/"},
		"to the key sets":          {"GET /../jwks/zone HTTP/1.1", "", 401, "missing_token", ""},
		"to the key sets, escaped": {"GET /%2e%2e/jwks/zone HTTP/1.1", "", 401, "missing_token", ""},
		"nobody is asked":          {"GET /public/x HTTP/1.1\nX-Meridian-Name: admin", k.mesh, 200, "", "/"},
	} {
		s.take()
		request := strings.Replace(tc.request, "HTTP/1.1", "HTTP/1.1\nHost: edge\nConnection: close", 1)
		if tc.token != "" {
			request += "\nAuthorization: Bearer " + tc.token
		}
		answers, reached := sendRaw(t, "127.0.0.1:"+port, request+"\n\n"), s.take()
		if len(answers) != 1 || answers[0].StatusCode != tc.status || answers[0].Header.Get("X-Meridian-Reason") != tc.reason || (len(reached) == 1) != (tc.who != "") {
			t.Errorf("%s: answered %+v, reached the service: %v", name, answers, reached)
			continue
		}
		if status := answers[0].Header.Get("Grpc-Status"); tc.who == "" && tc.status == 200 && (status == "" || status == "0") {
			t.Errorf("%s: a refusal looks like success: %v", name, answers[0].Header)
		}
		for _, r := range reached {
			if who := r.headers.Get("X-Meridian-Mesh") + "/" + r.headers.Get("X-Meridian-Name"); who != tc.who || r.headers.Get("X-Meridian-Workload") != "" || r.headers.Get("Authorization") != "" {
				t.Errorf("%s: the service is given %v", name, r.headers)
			}
		}
	}
	if log := z.log.String(); !strings.Contains(log, "route=edge/ledger/x") || strings.Contains(log, "misconfigured") || strings.Contains(log, "eyJ") {
		t.Errorf("the zone's log:\n%s", log)
	}
	z.stop()
	if answers := sendRaw(t, "127.0.0.1:"+port, "GET /x HTTP/1.1\nHost: edge\nConnection: close\nAuthorization: "+k.mesh+"\n\n"); len(answers) != 1 || answers[0].StatusCode != http.StatusServiceUnavailable {
		t.Errorf("while the zone is away: %v", answers)
	}
}
