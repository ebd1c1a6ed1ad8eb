package callers

import (
	"slices"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/internal/zone/proxyauth"
)

// attackPaths are targets that one program may read otherwise than another.
var attackPaths = []string{
	"/ledger", "/ledger/", "/ledger/x", "//ledger/x", "/./ledger/x", "/x/../ledger/x", "/public/../ledger/x", "/public/..%2fledger/x", "/public/%2e%2e/ledger/x", "/public/.%2e/ledger/x",
	"/public/..%5cledger/x", "/public/..\\ledger/x", "/public%2f..%2fledger/x", "/public/%252e%252e/ledger/x", "/public/..%252fledger/x", "/%6cedger/x", "/%256cedger/x", "/l%65dger", "/ledger;a/x",
	"/ledger%3ba/x", "/public/..;/ledger/x", "/public/..%3b/ledger/x", "/ledger/..%2fpublic/x", "/ledger/../public/x", "/ledger%2fx", "/ledger%2Fx", "/ledger%5cx", "/public/x/..", "/public/..", "/public/.", "/public",
	"/ledger%00/x", "/ledger%09", "/ledger%20", "/ledger?x", "/ledger#x", "/public/#/../ledger/x", "/public/?/../ledger/x", "/public/x?/../../ledger", "/x%3f/../ledger/x", "/_meridian", "/_meridian?mesh=payments",
	"/v1/authorize", "/v1/jwks/zone", "http://edge/ledger/x", "http://edge/public/../ledger/x", "http://evil/public/x", "/ledger/%", "/%zz/../ledger/x", "/public/x%2f..%2f..%2fledger", "/ledger/.", "/public/./../ledger/./x",
	"/public/...", "/public/.../../ledger", "/%2fledger/x", "/public/%2e%2e%2fledger/x", "/public/..%c0%afledger/x", "/PUBLIC/../ledger/x",
	"/PUBLIC/x", "/ledger/%zz", "/ledger/%0", "/l%65dger/%", "/%6c%65dger/x%",
}

// attackHeaders are lines that a client adds.
var attackHeaders = []string{
	"",
	"X-Meridian-Name: admin\nX-Meridian-Mesh: admin\nX-Meridian-Zone: admin\nX-Meridian-Kind: admin\nX-Meridian-Service: admin\nX-Meridian-Scope: admin\n",
	"x-meridian-name: admin\nX-MERIDIAN-MESH: admin\nX-Meridian-Role: admin\nx-meridian-: admin\n",
	"X_Meridian_Name: admin\nX-Meridian_Name: admin\nx_meridian-name: admin\n",
	"X.Meridian.Name: admin\nX!Meridian!Name: admin\nX~Meridian~Name: admin\nX'Meridian'Name: admin\n",
	"X-Meridian-Name: \nX-Meridian-Name: admin\n",
	"X-Meridian-Require: name=x\nX-Meridian-Require: \n",
	"Connection: close, X-Meridian-Name\n",
	"Connection: close\nConnection: x-meridian-mesh, x-meridian-name, x-meridian-zone\n",
	"Connection: close, Authorization\n",
	"X-Original-URI: /public/x\nX-Original-URL: /public/x\nX-Rewrite-URL: /public/x\nX-Forwarded-Uri: /public/x\nX-Forwarded-Prefix: /public\n",
	"X-Forwarded-Method: OPTIONS\nX-HTTP-Method-Override: OPTIONS\nX-Original-Method: OPTIONS\n",
	"X-Forwarded-Host: zone.example\nForwarded: host=zone.example\nX-Host: zone.example\n",
	"If-None-Match: *\nRange: bytes=0-0\nIf-Modified-Since: Mon, 01 Jan 2040 00:00:00 GMT\n",
	"Content-Type: application/grpc\nTE: trailers\n",
	"Expect: 100-continue\n",
	"Proxy-Authorization: Bearer x\nX-Forwarded-Authorization: Bearer x\nX-Authorization: Bearer x\n",
	"Cookie: meridian=yes; authorization=x\n",
	"Max-Forwards: 0\nAccept: */*\nOrigin: https://evil\nAccess-Control-Request-Method: PUT\n",
}

// attackMethods are those of proxies, and some that few expect.
var attackMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "GETX", "get", "CONNECT"}

// smuggled are requests with a second one in them, for /ledger/.
var smuggled = map[string]string{
	"length and chunks":      "POST /public/x HTTP/1.1\nHost: edge\nContent-Length: 4\nTransfer-Encoding: chunked\n\n0\n\nGET /ledger/x HTTP/1.1\nHost: edge\nConnection: close\n\n",
	"chunks and length":      "POST /public/x HTTP/1.1\nHost: edge\nTransfer-Encoding: chunked\nContent-Length: 60\n\n0\n\nGET /ledger/x HTTP/1.1\nHost: edge\nX-Meridian-Name: ledger-1\n\n",
	"two lengths":            "POST /public/x HTTP/1.1\nHost: edge\nContent-Length: 0\nContent-Length: 60\n\nGET /ledger/x HTTP/1.1\nHost: edge\nX-Meridian-Name: ledger-1\n\n",
	"a list of lengths":      "POST /public/x HTTP/1.1\nHost: edge\nContent-Length: 0, 60\n\nGET /ledger/x HTTP/1.1\nHost: edge\nX-Meridian-Name: ledger-1\n\n",
	"a signed length":        "POST /public/x HTTP/1.1\nHost: edge\nContent-Length: +0\n\nGET /ledger/x HTTP/1.1\nHost: edge\nConnection: close\n\n",
	"a blank before":         "POST /public/x HTTP/1.1\nHost: edge\nTransfer-Encoding : chunked\nContent-Length: 60\n\n0\n\nGET /ledger/x HTTP/1.1\nHost: edge\nX-Meridian-Name: ledger-1\n\n",
	"another coding":         "POST /public/x HTTP/1.1\nHost: edge\nTransfer-Encoding: xchunked\nContent-Length: 60\n\n0\n\nGET /ledger/x HTTP/1.1\nHost: edge\nX-Meridian-Name: ledger-1\n\n",
	"two codings":            "POST /public/x HTTP/1.1\nHost: edge\nTransfer-Encoding: identity\nTransfer-Encoding: chunked\nContent-Length: 60\n\n0\n\nGET /ledger/x HTTP/1.1\nHost: edge\nX-Meridian-Name: ledger-1\n\n",
	"a folded line":          "POST /public/x HTTP/1.1\nHost: edge\nX: y\n Transfer-Encoding: chunked\nContent-Length: 5\n\n0\n\nGET /ledger/x HTTP/1.1\nHost: edge\nConnection: close\n\n",
	"a vertical tab":         "POST /public/x HTTP/1.1\nHost: edge\nTransfer-Encoding:\x0bchunked\nContent-Length: 60\n\n0\n\nGET /ledger/x HTTP/1.1\nHost: edge\nX-Meridian-Name: ledger-1\n\n",
	"a body of GET":          "GET /public/x HTTP/1.1\nHost: edge\nContent-Length: 60\n\nGET /ledger/x HTTP/1.1\nHost: edge\nX-Meridian-Name: ledger-1\n\n",
	"a length of HTTP/1.0":   "POST /public/x HTTP/1.0\nHost: edge\nTransfer-Encoding: chunked\nConnection: keep-alive\n\n0\n\nGET /ledger/x HTTP/1.1\nHost: edge\nConnection: close\n\n",
	"one after the other":    "GET /public/x HTTP/1.1\nHost: edge\n\nGET /ledger/x HTTP/1.1\nHost: edge\nX-Meridian-Name: ledger-1\nConnection: close\n\n",
	"h2c":                    "GET /public/x HTTP/1.1\nHost: edge\nConnection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\n\n" + afterwards + "GET /ledger/x HTTP/1.1\nHost: edge\nX-Meridian-Name: ledger-1\nConnection: close\n\n",
	"h2c beside a websocket": "GET /public/x HTTP/1.1\nHost: edge\nConnection: Upgrade\nUpgrade: websocket, h2c\n\n" + afterwards + "GET /ledger/x HTTP/1.1\nHost: edge\nX-Meridian-Name: ledger-1\nConnection: close\n\n",
	"h2c on a second line":   "GET /public/x HTTP/1.1\nHost: edge\nConnection: Upgrade, HTTP2-Settings\nUpgrade: websocket\nUpgrade: h2c\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\n\n" + afterwards + "GET /ledger/x HTTP/1.1\nHost: edge\nX-Meridian-Name: ledger-1\nConnection: close\n\n",
	"h2c on the first line":  "GET /public/x HTTP/1.1\nHost: edge\nConnection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nUpgrade: websocket\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\n\n" + afterwards + "GET /ledger/x HTTP/1.1\nHost: edge\nX-Meridian-Name: ledger-1\nConnection: close\n\n",
	"another protocol":       "GET /public/x HTTP/1.1\nHost: edge\nConnection: Upgrade\nUpgrade: TLS/1.0\n\n" + afterwards + "GET /ledger/x HTTP/1.1\nHost: edge\nX-Meridian-Name: ledger-1\nConnection: close\n\n",
	"a line in a header":     "GET /public/x HTTP/1.1\nHost: edge\nX: y\rX-Meridian-Name: admin\nConnection: close\n\n",
	"a zero in a header":     "GET /public/x HTTP/1.1\nHost: edge\nX-Meridian\x00-Name: admin\nConnection: close\n\n",
	"a blank in a name":      "GET /public/x HTTP/1.1\nHost: edge\nX-Meridian-Name : admin\nConnection: close\n\n",
	"a second host":          "GET /public/x HTTP/1.1\nHost: edge\nHost: zone\nConnection: close\n\n",
	"HTTP/0.9":               "GET /ledger/x\n\n",
	"trailers":               "POST /x HTTP/1.1\nHost: edge\nConnection: close\nTransfer-Encoding: chunked\nTrailer: X-Meridian-Name\n\n0\nX-Meridian-Name: ledger-1\n\n",
}

func dashed(c rune) rune {
	if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
		return '-'
	}
	return c
}

// TestForwardAuthUnderAttack: whatever a client writes, a request that a service could take
// for one of a place reaches it only with the identity that the place demands, without a
// token, and with no identity that the client made up.
func TestForwardAuthUnderAttack(t *testing.T) {
	k := makeTokens(t)
	eachForwardAuth(t, func(t *testing.T, address string, _ *zone, s *service) {
		reached, before := 0, ""
		check := func(token string) {
			t.Helper()
			for _, r := range s.take() {
				reached++
				who := r.headers.Get("X-Meridian-Zone") + "/" + r.headers.Get("X-Meridian-Mesh") + "/" + r.headers.Get("X-Meridian-Name")
				want, public := map[string]string{"": "//", k.mesh: "west/payments/", k.ledger: "west/payments/ledger-1"}[token], within(r.target, "/public")
				if public {
					want = "//"
				}
				if who != want || !public && token == "" || below(r.target, "/ledger") && token != k.ledger {
					t.Errorf("%q: the service is reached at %s by %s", before, r.target, who)
				}
				for name, values := range r.headers {
					if name == "Connection" && strings.Contains(strings.ToLower(strings.Join(values, ",")), "meridian") {
						t.Errorf("%q: a proxy behind would drop what the zone says: %q", before, values)
					}
					read := strings.Map(dashed, strings.ToLower(name)) // as WSGI, CGI and PHP do
					identity := slices.Contains(proxyauth.IdentityHeaders[:], read) || read == proxyauth.HeaderRequire
					if identity && (strings.Contains(strings.Join(values, ","), "admin") || read != strings.ToLower(name)) || name == "Authorization" {
						t.Errorf("%q: the service is shown %s: %q", before, name, values)
					}
				}
			}
		}
		attack := func(request, token string) {
			t.Helper()
			before = strings.NewReplacer(k.mesh, "MESH", k.ledger, "LEDGER").Replace(request)
			sendRaw(t, address, request)
			check(token)
		}
		for token, authorization := range map[string]string{"": "", k.mesh: "Authorization: Bearer " + k.mesh + "\n", k.ledger: "Authorization: Bearer " + k.ledger + "\n"} {
			request := func(method, path, lines string) string {
				if !strings.Contains(lines, "Connection:") {
					lines += "Connection: close\n"
				}
				return method + " " + path + " HTTP/1.1\nHost: edge\n" + authorization + lines + "\n"
			}
			for _, path := range attackPaths {
				attack(request("GET", path, ""), token)
			}
			for _, lines := range attackHeaders {
				for _, path := range []string{"/ledger/x", "/x", "/public/x"} {
					attack(request("GET", path, lines), token)
				}
			}
			for _, method := range attackMethods {
				for _, path := range []string{"/ledger/x", "/x", "*", "edge:443"} {
					attack(request(method, path, ""), token)
				}
			}
		}
		attack("GET /ledger/x HTTP/1.1\nHost: edge\nConnection: close\nAuthorization: Bearer "+k.mesh+"\nAuthorization: Bearer "+k.ledger+"\n\n", "")
		attack("GET /ledger/x HTTP/1.1\nHost: edge\nConnection: close\nAuthorization: Bearer "+k.mesh+", Bearer "+k.ledger+"\n\n", "")
		for _, request := range smuggled {
			attack(request, "")
		}
		check("")
		if reached < 40 {
			t.Errorf("the service was reached %d times: the test proves little", reached)
		}
	})
}
