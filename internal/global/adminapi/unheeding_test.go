package adminapi

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/kds/kuma"
)

// kumaSession is one of a zone that runs a version of Kuma's control plane.
func (e *env) kumaSession(zone, version string, authenticated bool) fleet.Session {
	s := e.session(zone, 0)
	s.Version, s.Meridian, s.Authenticated = version, false, authenticated
	return s
}

// TestZonesThatDoNotHeedAreNamed in the answers to whoever refuses tokens, and where zones
// are looked at.
func TestZonesThatDoNotHeedAreNamed(t *testing.T) {
	e := newEnv(t)
	for _, name := range []string{"west", "old", "new"} {
		e.want(201, "PUT", "/zones/"+name, `{}`, nil)
	}
	e.report(e.session("west", 0), e.kumaSession("old", "2.8.8", true), e.kumaSession("new", "2.14.3", false))
	names := func(zones []apitypes.UnheedingZone, what string) (out []string) {
		for _, z := range zones {
			if z.What != what {
				t.Errorf("%+v, want %s", z, what)
			}
			out = append(out, z.Zone+" "+z.Version)
		}
		return out
	}
	for _, tt := range []struct {
		body       string
		want, goOn []string
	}{
		{`{"kind":"zone","ids":["a"]}`, []string{"old 2.8.8"}, []string{"new (Kuma 2.14.3) does not heed revocations on open streams"}},
		{`{"kind":"dataplane","mesh":"default","ids":["a"]}`, nil, []string{"new (Kuma", "old (Kuma"}}, // both places are sent
		{`{"kind":"user","ids":["a"]}`, nil, nil},
	} {
		var result apitypes.RevokeResult
		e.want(200, "POST", "/v1/revocations", tt.body, &result)
		if got := names(result.Unheeding, kuma.ZoneRevocations); !slices.Equal(got, tt.want) {
			t.Errorf("%s: not heeded by %q, want %q", tt.body, got, tt.want)
		}
		if !slices.EqualFunc(result.Warnings, tt.goOn, strings.HasPrefix) {
			t.Errorf("%s: warnings %q, want of %q", tt.body, result.Warnings, tt.goOn)
		}
	}
	var bulk apitypes.RevokeResult
	e.want(200, "POST", "/v1/revocations/bulk?kind=zone", "b,c", &bulk, "Content-Type", "text/plain")
	if got := names(bulk.Unheeding, kuma.ZoneRevocations); !slices.Equal(got, []string{"old 2.8.8"}) || len(bulk.Warnings) != 1 {
		t.Errorf("many: not heeded by %q, warnings %q", got, bulk.Warnings)
	}
	before := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	for kind, want := range map[string][]string{
		`"kind":"zone"`: {"new 2.14.3", "old 2.8.8"}, `"kind":"dataplane","mesh":"default"`: {"new 2.14.3", "old 2.8.8"}, `"kind":"user"`: nil,
	} {
		var result apitypes.CutOffResult
		e.want(200, "POST", "/v1/cut-offs", `{`+kind+`,"before":"`+before+`"}`, &result)
		if got := names(result.Unheeding, kuma.CutOffs); !slices.Equal(got, want) {
			t.Errorf("a cut-off of %s: not heeded by %q, want %q", kind, got, want)
		}
	}
	for zone, want := range map[string][]string{"west": nil, "old": kuma.Unheeded("2.8.8"), "new": kuma.Unheeded("2.14.3")} {
		var detail apitypes.ZoneDetail
		e.want(200, "GET", "/v1/zones/"+zone, nil, &detail)
		if got := detail.Sessions[0].Unheeded; !slices.Equal(got, want) {
			t.Errorf("zone %s does not heed %q, want %q", zone, got, want)
		}
	}
}

// TestZonesThatKeepAKeyAreNamed: for a dataplane key every zone of Kuma's, proven,
// unproven or offline; and nobody waits for them.
func TestZonesThatKeepAKeyAreNamed(t *testing.T) {
	e := newEnv(t, func(c *Config) { c.ImportWait = time.Hour })
	for _, name := range []string{"west", "proven", "unproven", "gone"} {
		e.want(201, "PUT", "/zones/"+name, `{}`, nil)
	}
	gone := e.kumaSession("gone", "2.14.3", true)
	gone.Disconnected = time.Now()
	all := []fleet.Session{e.session("west", 0), e.kumaSession("proven", "2.8.8", true), e.kumaSession("unproven", "2.14.3", false), gone}
	e.report(all...)
	e.want(201, "POST", "/v1/keys/prepare", `{"kind":"dataplane","mesh":"default"}`, nil)
	e.want(201, "POST", "/v1/keys/prepare", `{"kind":"zone"}`, nil)
	all[0] = e.session("west", 0)
	all[1], all[2] = e.kumaSession("proven", "2.8.8", true), e.kumaSession("unproven", "2.14.3", false)
	e.report(all...)
	keepers := []string{"gone", "proven", "unproven"}
	var h apitypes.KeyHolding
	e.want(200, "GET", "/v1/keys/dataplane/2/holding?mesh=default", nil, &h)
	if !slices.Equal(h.Kuma, keepers) || !slices.Equal(h.Waiting, []string{"proven"}) || h.Open {
		t.Errorf("who holds the dataplane key: %+v", h.Holding)
	}
	h = apitypes.KeyHolding{}
	e.want(200, "GET", "/v1/keys/zone/2/holding", nil, &h)
	if h.Kuma != nil || len(h.Waiting) != 0 {
		t.Errorf("who holds the zone key: %+v", h.Holding)
	}
	var change apitypes.KeyChange
	e.want(200, "POST", "/v1/keys/activate", `{"kind":"dataplane","mesh":"default","kid":"2","force":true}`, &change)
	done := make(chan struct{})
	go func() { // the zone takes the removal as soon as it is made
		defer close(done)
		for {
			changed := e.store.Watch()
			if k, ok := e.store.Key(cptoken.KeyID{Kind: cptoken.Dataplane, Mesh: "default", KID: "1"}); !ok || k.State == cptoken.Removed {
				break
			}
			<-changed
		}
		e.report(e.session("west", 0), all[1], all[2], gone)
	}()
	e.want(200, "POST", "/v1/keys/remove", `{"kind":"dataplane","mesh":"default","kid":"1","compromised":true}`, &change)
	<-done
	if change.Holding == nil || !slices.Equal(change.Holding.Kuma, keepers) || !slices.Contains(change.Holding.Held, "west") {
		t.Errorf("who dropped it: %+v", change.Holding)
	}
}

// TestSecretsNameZonesThatDoNotHeed: who revokes, makes or removes a key by writing a
// secret, under either path of Kuma's, is told as by our own commands.
func TestSecretsNameZonesThatDoNotHeed(t *testing.T) {
	e := newEnv(t)
	for _, name := range []string{"old", "new"} {
		e.want(201, "PUT", "/zones/"+name, `{}`, nil)
	}
	e.report(e.kumaSession("old", "2.8.8", false), e.kumaSession("new", "2.14.3", false))
	const secrets = "/meshes/default/secrets/"
	list := func(data string) apitypes.Secret { return apitypes.Secret{Data: []byte(data)} }
	key := func() apitypes.Secret {
		private, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		return apitypes.Secret{Data: pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)})}
	}
	for i, tt := range []struct {
		method, path string
		body         any
		status       int
		want         []string // of each warning, what it has
	}{
		{"PUT", "/global-secrets/zone-token-revocations", list("a"), 201, []string{"old (Kuma 2.8.8) does not heed lists of zone tokens"}},
		{"PUT", "/globalsecrets/zone-token-revocations", list("a,b"), 200, []string{"old (Kuma 2.8.8) does not heed lists of zone tokens"}},
		{"PUT", "/globalsecrets/zoneegress-token-revocations", list("c"), 200, []string{"old (Kuma 2.8.8) does not heed lists of zone tokens"}},
		{"PUT", secrets + "dataplane-token-revocations-default", list("a"), 201, nil},
		{"PUT", "/globalsecrets/user-token-revocations", list("a"), 201, nil},
		{"PUT", secrets + "dataplane-token-signing-key-default-2", key(), 201, []string{"refuse tokens of dataplane-token-signing-key-default-2 until it is put into their configuration: new, old"}},
		{"DELETE", secrets + "dataplane-token-signing-key-default-1", nil, 200, []string{"accept tokens of dataplane-token-signing-key-default-1 until it is taken out of their configuration: new, old"}},
		{"PUT", "/globalsecrets/zone-token-signing-key-2", key(), 201, []string{"may refuse tokens of zone-token-signing-key-2"}},
		{"DELETE", "/globalsecrets/zone-token-signing-key-1", nil, 200, []string{"may accept tokens of zone-token-signing-key-1"}},
		{"PUT", "/globalsecrets/user-token-signing-key-2", key(), 201, nil},
	} {
		for _, again := range []bool{false, true} { // a client that lost the answer asks again
			var change apitypes.SecretChange
			status := tt.status
			if again {
				status = 200
			}
			e.want(status, tt.method, tt.path, tt.body, &change, apitypes.HeaderRequestID, fmt.Sprintf("7d444840-9dc0-41d1-b245-%012d", i))
			if !slices.EqualFunc(change.Warnings, tt.want, strings.Contains) {
				t.Errorf("%s %s, again: %v: warnings %q, want %q", tt.method, tt.path, again, change.Warnings, tt.want)
			}
		}
	}
	// A key that waits for a zone of Kuma's, which can never acknowledge it.
	e.report(e.kumaSession("old", "2.8.8", true))
	var change apitypes.SecretChange
	e.want(202, "PUT", secrets+"dataplane-token-signing-key-default-3", key(), &change)
	if !slices.EqualFunc(change.Warnings, []string{"refuse tokens of dataplane-token-signing-key-default-3 until it is put into their configuration: old"}, strings.Contains) {
		t.Errorf("a key that waits: warnings %q", change.Warnings)
	}
	// Where a whole list is withdrawn, nothing is accepted that is to be refused.
	change = apitypes.SecretChange{}
	written := e.call("GET", "/globalsecrets/zone-token-revocations", nil)
	e.want(200, "PUT", "/globalsecrets/zone-token-revocations", `{"data":""}`, &change, "If-Match", written.Header().Get("ETag"))
	if change.Withdrawn != 3 || change.Warnings != nil {
		t.Errorf("a withdrawal: %+v", change)
	}
}
