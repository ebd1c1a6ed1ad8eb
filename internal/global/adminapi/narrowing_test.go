package adminapi

import (
	"cmp"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// trusts are all routes that change something. Those that narrow what zones take, or widen it
// by what a Kuma zone does not learn from its global, name the Kuma zones at which that is not
// in force: with what request, and what the answer has. Of the others it says why there is
// nothing to name.
var trusts = map[string]struct {
	why, path, body string
	names           string
}{
	"POST /v1/revocations":       {path: "/v1/revocations", body: `{"kind":"zone","ids":["r-1"]}`, names: "lists of zone tokens"},
	"POST /v1/revocations/bulk":  {path: "/v1/revocations/bulk?kind=zone", body: "r-2", names: "lists of zone tokens"},
	"POST /v1/cut-offs":          {path: "/v1/cut-offs", body: `{"kind":"dataplane","mesh":"default","before":"2020-01-01T00:00:00Z"}`, names: "cut-offs"},
	"PUT /global-secrets/{name}": {path: "/global-secrets/zone-token-revocations", body: `{"data":"ci0xLHItMixyLTM="}`, names: "does not heed lists of zone tokens"},
	"PUT /globalsecrets/{name}":  {path: "/globalsecrets/zone-token-revocations", body: `{"data":"ci0xLHItMixyLTMsci00"}`, names: "does not heed lists of zone tokens"},
	"PUT /meshes/{mesh}/secrets/{name}": {path: "/meshes/default/secrets/dataplane-token-signing-key-default-7", body: "KEY",
		names: "refuse tokens of dataplane-token-signing-key-default-7 until it is put into"},
	"DELETE /meshes/{mesh}/secrets/{name}": {path: "/meshes/default/secrets/dataplane-token-signing-key-default-1", names: "accept tokens of dataplane-token-signing-key-default-1 until it is taken out of"},
	"DELETE /global-secrets/{name}":        {path: "/global-secrets/zone-token-signing-key-1", names: "may accept tokens of zone-token-signing-key-1"},
	"DELETE /globalsecrets/{name}":         {path: "/globalsecrets/zone-token-signing-key-2", names: "may accept tokens of zone-token-signing-key-2"},
	"POST /v1/keys/activate":               {path: "/v1/keys/activate", body: `{"kind":"dataplane","mesh":"other","kid":"2","force":true}`, names: `"kuma":["old"]`},
	"POST /v1/keys/remove":                 {path: "/v1/keys/remove", body: `{"kind":"dataplane","mesh":"other","kid":"1","force":true}`, names: `"kuma":["old"]`},
	"PUT /v1/public-keys/{kind}/{kid}":     {path: "/v1/public-keys/zone-token/ci-1", body: "PUBLIC", names: "does not heed registered public keys"},
	"DELETE /v1/public-keys/{kind}/{kid}":  {path: "/v1/public-keys/zone-token/ci-1", names: "accept tokens of zone-token ci-1 until it is taken out of"},
	"PUT /meshes/{mesh}":                   {path: "/meshes/new", body: `{}`, names: "refuse tokens of mesh new until it is put into"},
	"DELETE /meshes/{mesh}":                {path: "/meshes/other", names: "accept tokens of mesh other until it is taken out of"},
	"POST /v1/expelled":                    {path: "/v1/expelled", body: `{"id":"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}`, names: "does not heed expelled certificates"},
	"POST /v1/cluster/remove":              {path: "/v1/cluster/remove", body: `{"id":"n2","expel":true}`, names: "does not heed expelled certificates"},

	"PUT /zones/{zone}":                   {why: "a zone that is disabled is refused here, and keeps what it has, of whichever kind it is"},
	"PUT /v1/zones/{zone}":                {why: "as before"},
	"DELETE /zones/{zone}":                {why: "as before"},
	"POST /v1/keys/prepare":               {why: "nothing is signed with a prepared key"},
	"POST /v1/keys/retire":                {why: "a retiring key verifies as before"},
	"POST /tokens/control-plane":          {why: "no zone verifies one"},
	"POST /tokens/zone":                   {why: "nothing changes"},
	"POST /tokens/dataplane":              {why: "nothing changes, but for the first key of a mesh, which the mesh's maker was told of"},
	"POST /tokens/user":                   {why: "Kuma zones take none"},
	"POST /v1/revocations/withdraw":       {why: "it widens, and a zone that did not heed the revocation has nothing to withdraw"},
	"POST /v1/cut-offs/withdraw":          {why: "as before"},
	"DELETE /v1/expelled/{id}":            {why: "as before"},
	"POST /v1/cluster/transfer-leader":    {why: "no zone is concerned"},
	"POST /v1/log-level":                  {why: "no zone is concerned"},
	"POST /v1/cluster/confirm-loss":       {why: "the alarm that it takes away names Kuma zones"},
	"POST /v1/snapshot/restore":           {why: "it brings back what was, to Kuma zones too"},
	"POST /v1/seal/rotate":                {why: "no zone is concerned"},
	"POST /v1/seal/rotate-cluster-secret": {why: "no zone is concerned"},
}

// TestEveryRouteThatNarrowsTrustNamesKumaZones holds the table above against the routes, and
// each of its requests against an old, unproven Kuma zone.
func TestEveryRouteThatNarrowsTrustNamesKumaZones(t *testing.T) {
	e := newEnv(t, func(c *Config) { c.Cluster = &others{} })
	e.want(201, "PUT", "/zones/old", `{}`, nil)
	e.want(201, "PUT", "/meshes/other", `{}`, nil)
	e.want(201, "POST", "/v1/keys/prepare", `{"kind":"dataplane","mesh":"other"}`, nil)
	e.report(e.kumaSession("old", "2.8.8", false))
	key := func() string {
		private, err := issue.GeneratePEM()
		if err != nil {
			t.Fatal(err)
		}
		return `{"data":"` + base64.StdEncoding.EncodeToString(private) + `"}`
	}
	e.want(201, "PUT", "/globalsecrets/zone-token-signing-key-2", key(), nil)
	e.want(201, "PUT", "/globalsecrets/zone-token-signing-key-3", key(), nil)
	_, public := e.offlineKey(nil)
	for route := range e.api.routes() {
		if _, known := trusts[route]; !known && !strings.HasPrefix(route, "GET ") {
			t.Errorf("%s is not in the table: what does it change at zones?", route)
		}
	}
	last := []string{"DELETE /meshes/{mesh}/secrets/{name}", "DELETE /meshes/{mesh}", "DELETE /globalsecrets/{name}", "DELETE /v1/public-keys/{kind}/{kid}"} // of what others need
	order := slices.SortedFunc(maps.Keys(trusts), func(a, b string) int {
		return cmp.Or(cmp.Compare(slices.Index(last, a), slices.Index(last, b)), cmp.Compare(a, b))
	})
	for _, route := range order {
		tt := trusts[route]
		if (tt.why == "") == (tt.names == "") {
			t.Errorf("%s: the table says %q and %q", route, tt.why, tt.names)
		}
		if _, known := e.api.routes()[route]; !known {
			t.Errorf("%s is no route", route)
		}
		if tt.why != "" {
			continue
		}
		method, _, _ := strings.Cut(route, " ")
		body, header := tt.body, []string{"Content-Type", "application/json"}
		switch body {
		case "KEY":
			body = key()
		case "PUBLIC":
			body = public
		case "r-2":
			header[1] = "text/plain"
		}
		w := e.call(method, tt.path, body, header...)
		if w.Code/100 != 2 || !strings.Contains(w.Body.String(), tt.names) || !strings.Contains(w.Body.String(), "old") {
			t.Errorf("%s: status %d, want one that names the zone and %q: %s", route, w.Code, tt.names, w.Body)
		}
	}
	for _, who := range []string{"meridian://prod/user/jane", "meridian://prod/zone/west"} { // no member's
		var result apitypes.ExpelResult
		e.want(200, "POST", "/v1/expelled", apitypes.ExpelRequest{ID: "sha256:" + strings.Repeat("0a", 32), Subject: who}, &result)
		if result.Warnings != nil {
			t.Errorf("the certificate of %s is expelled: %q", who, result.Warnings)
		}
	}
}
