package adminapi

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/fleet"
)

// kumactl stands in for Kuma's command line: it sends what that sends, in the same
// order, and is as demanding about the answers.
type kumactl struct {
	t        *testing.T
	address  string
	token    string // "" without --auth-type=tokens
	size     int    // of pages; 0: what kumactl asks for, 100
	warnings []string
	requests []string
}

// kumactlError is a refusal as kumactl shows it: nothing of it but title and detail.
type kumactlError struct {
	status        int
	title, detail string
	fields        []string
}

func (e *kumactlError) Error() string {
	return fmt.Sprintf("%s (%s) %s", e.title, e.detail, strings.Join(e.fields, " "))
}

// do makes one request. A refusal must have the shape of Kuma's errors.
func (k *kumactl) do(method, path string, body any) (status int, data []byte, err error) {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		in = bytes.NewReader(text)
	}
	target := path
	if !strings.HasPrefix(path, "http") {
		target = k.address + path
	}
	req, err := http.NewRequest(method, target, in)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if k.token != "" {
		req.Header.Set("Authorization", "Bearer "+k.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	if data, err = io.ReadAll(resp.Body); err != nil {
		return 0, nil, err
	}
	k.requests = append(k.requests, method+" "+req.URL.Path)
	if resp.StatusCode < 400 {
		return resp.StatusCode, data, nil
	}
	var e struct {
		Type, Title, Detail, Details string
		Status                       int
		InvalidParameters            []struct{ Field, Reason string }  `json:"invalid_parameters"`
		Causes                       []struct{ Field, Message string } `json:"causes"`
	}
	if err := json.Unmarshal(data, &e); err != nil || e.Type != "/std-errors" || e.Status != resp.StatusCode || e.Title == "" ||
		e.Detail == "" || e.Details != e.Detail || len(e.Causes) != len(e.InvalidParameters) {
		k.t.Errorf("%s %s: %d has not the shape of an error: %s", method, path, resp.StatusCode, data)
	}
	refusal := &kumactlError{status: resp.StatusCode, title: e.Title, detail: e.Detail}
	for _, p := range e.InvalidParameters {
		refusal.fields = append(refusal.fields, p.Field+": "+p.Reason)
	}
	return resp.StatusCode, data, refusal
}

// check is what kumactl asks before every command.
func (k *kumactl) check() error {
	_, data, err := k.do("GET", "/", nil)
	if err != nil {
		return fmt.Errorf("cannot reach the control plane: %w", err)
	}
	var index map[string]string
	if err := json.Unmarshal(data, &index); err != nil {
		return err
	}
	for _, name := range []string{"hostname", "tagline", "product", "version", "instanceId", "clusterId", "gui"} {
		if _, there := index[name]; !there {
			return fmt.Errorf("the control plane does not tell its %s", name)
		}
	}
	if index["tagline"] != "Kuma" || index["product"] != "Kuma" {
		return fmt.Errorf("this command line is for Kuma, and the control plane is %s", index["tagline"])
	}
	if index["version"] != "2.8.8" {
		k.warnings = append(k.warnings, "the version is "+index["version"])
	}
	return nil
}

// controlPlanesAdd is `kumactl config control-planes add`. Whether it shows the
// token where it first looks differs between versions.
func (k *kumactl) controlPlanesAdd(token string, shown bool) error {
	if shown {
		k.token = token
	}
	if err := k.check(); err != nil {
		return err
	}
	k.token = token
	return nil
}

func (k *kumactl) generate(kind string, body map[string]any) (string, error) {
	if err := k.check(); err != nil {
		return "", err
	}
	status, data, err := k.do("POST", "/tokens/"+kind, body)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	return string(data), err
}

// list reads all pages of a list.
func (k *kumactl) list(path string) (items []map[string]any, err error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	next := path
	if k.size > 0 {
		next += fmt.Sprintf("?size=%d&offset=", k.size)
	}
	for next != "" {
		_, data, err := k.do("GET", next, nil)
		if err != nil {
			return nil, err
		}
		var page struct {
			Total *int
			Items []map[string]any
			Next  *string
		}
		if err := json.Unmarshal(data, &page); err != nil || page.Total == nil || page.Items == nil || !bytes.Contains(data, []byte(`"next":`)) {
			return nil, fmt.Errorf("no list: %v: %.200s", err, data)
		}
		items = append(items, page.Items...)
		next = ""
		if page.Next != nil {
			if u, err := url.Parse(*page.Next); err != nil || u.Query().Get("offset") == "" || !u.IsAbs() {
				return nil, fmt.Errorf("the next page is %q", *page.Next)
			}
			next = *page.Next
		}
	}
	return items, nil
}

// print shows items as -o says.
func (k *kumactl) print(format string, items []map[string]any, columns ...string) string {
	k.t.Helper()
	var b bytes.Buffer
	switch format {
	case "json":
		text, err := json.MarshalIndent(items, "", " ")
		if err != nil {
			k.t.Fatal(err)
		}
		b.Write(text)
	case "yaml":
		text, err := yaml.Marshal(items)
		if err != nil {
			k.t.Fatal(err)
		}
		b.Write(text)
	default:
		w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
		fmt.Fprintln(w, strings.ToUpper(strings.Join(columns, "\t")))
		for _, item := range items {
			var row []string
			for _, c := range columns {
				row = append(row, fmt.Sprint(item[c]))
			}
			fmt.Fprintln(w, strings.Join(row, "\t"))
		}
		w.Flush()
	}
	return b.String()
}

// apply is `kumactl apply`: it looks whether the resource is there, then writes it.
func (k *kumactl) apply(path string, resource map[string]any) (made bool, err error) {
	if err := k.check(); err != nil {
		return false, err
	}
	status, _, err := k.do("GET", path, nil)
	exists := status == http.StatusOK
	if !exists && status != http.StatusNotFound {
		return false, err
	}
	status, _, err = k.do("PUT", path, resource)
	switch {
	case err != nil:
		return false, err
	case exists != (status == http.StatusOK) || !exists && status != http.StatusCreated:
		return false, fmt.Errorf("a PUT where exists is %v answers %d", exists, status)
	}
	return !exists, nil
}

func (k *kumactl) delete(path string) error {
	if err := k.check(); err != nil {
		return err
	}
	_, _, err := k.do("DELETE", path, nil)
	return err
}

// inspectZones is the table of `kumactl inspect zones`.
func (k *kumactl) inspectZones() ([]string, error) {
	items, err := k.list("/zones/_overview")
	if err != nil {
		return nil, err
	}
	var rows []string
	for _, item := range items {
		text, err := json.Marshal(item)
		if err != nil {
			return nil, err
		}
		var o struct {
			Type, Name, CreationTime, ModificationTime string
			Zone                                       struct{ Enabled *bool }
			ZoneInsight                                struct {
				Subscriptions []struct {
					ID, GlobalInstanceID string
					ConnectTime          time.Time
					DisconnectTime       *time.Time
					Status               struct {
						LastUpdateTime time.Time
						Total          map[string]string
						Stat           map[string]map[string]string
					}
					Version struct{ KumaCp struct{ Version string } }
					Config  string
				}
			}
		}
		if err := json.Unmarshal(text, &o); err != nil || o.Type != "ZoneOverview" || o.Zone.Enabled == nil || o.CreationTime == "" {
			return nil, fmt.Errorf("no overview: %v: %s", err, text)
		}
		row := o.Name + " Offline never"
		if subs := o.ZoneInsight.Subscriptions; len(subs) > 0 {
			last, state := subs[len(subs)-1], "Offline"
			if last.DisconnectTime == nil {
				state = "Online"
			}
			if last.ConnectTime.IsZero() || last.Status.LastUpdateTime.IsZero() || last.ID == "" || last.GlobalInstanceID == "" {
				return nil, fmt.Errorf("no subscription: %s", text)
			}
			var config struct{ Store struct{ Type string } }
			if err := json.Unmarshal([]byte(last.Config), &config); err != nil {
				return nil, fmt.Errorf("the configuration %q: %w", last.Config, err)
			}
			row = strings.Join([]string{o.Name, state, last.Status.Total["responsesSent"], last.Status.Total["responsesAcknowledged"], last.Version.KumaCp.Version, config.Store.Type}, " ")
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// serveKumactl serves an API on a port, as the network or loopback sees it.
func (e *env) serveKumactl(a Access) string {
	s := httptest.NewServer(e.api.Handler(a))
	e.Cleanup(s.Close)
	return s.URL
}

// TestKumactl plays a day with Kuma's own command line, with user tokens and, at a
// global that takes who is on its machine for an administrator, without.
func TestKumactl(t *testing.T) {
	for _, tokens := range []bool{true, false} {
		t.Run(fmt.Sprintf("tokens %v", tokens), func(t *testing.T) {
			defer http.DefaultClient.CloseIdleConnections()
			e := newEnv(t)
			k := &kumactl{t: t}
			if tokens {
				k.address = e.serveKumactl(Network)
				admin := e.token("user", apitypes.UserTokenRequest{Name: "admin", Groups: []string{access.AdminGroup}})
				for _, shown := range []bool{false, true} {
					if err := k.controlPlanesAdd(admin, shown); err != nil {
						t.Fatal(err)
					}
				}
				wrong := &kumactl{t: t, address: k.address}
				if err := wrong.controlPlanesAdd("not-a-token", true); err == nil {
					t.Error("a wrong token is not found out")
				}
				nobody := &kumactl{t: t, address: k.address}
				if err := nobody.controlPlanesAdd("", false); err != nil {
					t.Error(err)
				}
				if _, err := nobody.list("/zones"); err == nil {
					t.Error("without a token it lists zones")
				}
			} else {
				k.address = e.serveKumactl(Loopback)
				if err := k.controlPlanesAdd("", false); err != nil {
					t.Fatal(err)
				}
			}
			more := 4
			if tokens {
				more = 104 // beyond a page
			}
			playKumactl(t, e, k, more)
			if !slices.Contains(k.warnings, "the version is 1.2.3") {
				t.Errorf("warnings %q", k.warnings)
			}
			for i, r := range k.requests {
				if r == "GET /" && i == len(k.requests)-1 {
					t.Error("the last command did nothing")
				}
			}
		})
	}
}

func playKumactl(t *testing.T, e *env, k *kumactl, more int) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	made := func(want bool) func(bool, error) {
		return func(got bool, err error) {
			t.Helper()
			if err != nil || got != want {
				t.Fatalf("made: %v, want %v: %v", got, want, err)
			}
		}
	}
	_, data, err := k.do("GET", "/who-am-i", nil)
	must(err)
	var who struct {
		Name   string
		Groups []string
	}
	if must(json.Unmarshal(data, &who)); who.Name == "" || !slices.Contains(who.Groups, access.AdminGroup) {
		t.Errorf("who-am-i is %s", data)
	}

	// Zones and meshes, more than a page of them.
	never := "0001-01-01T00:00:00Z"
	zone := map[string]any{"type": "Zone", "name": "west", "enabled": true, "creationTime": never, "modificationTime": never, "labels": map[string]string{"team": "a"}}
	made(true)(k.apply("/zones/west", zone))
	made(false)(k.apply("/zones/west", zone))
	made(true)(k.apply("/meshes/payments", map[string]any{"type": "Mesh", "name": "payments"}))
	made(false)(k.apply("/meshes/payments", map[string]any{"type": "Mesh", "name": "payments"}))
	for i := range more {
		name := fmt.Sprintf("zone-%03d", i)
		if _, _, err := k.do("PUT", "/zones/"+name, map[string]any{"type": "Zone", "name": name, "enabled": i%2 == 0}); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int{0, 7, 100} {
		k.size = size
		zones, err := k.list("/zones")
		must(err)
		names := map[string]bool{}
		for _, z := range zones {
			names[z["name"].(string)] = true
		}
		if len(zones) != more+1 || len(names) != more+1 {
			t.Errorf("pages of %d: %d zones, %d names", size, len(zones), len(names))
		}
	}
	k.size = 0
	meshes, err := k.list("/meshes")
	must(err)
	if got, want := k.print("table", meshes, "name"), "NAME\ndefault\npayments\n"; got != want {
		t.Errorf("the table is\n%s, want\n%s", got, want)
	}
	if got := k.print("yaml", meshes); !strings.Contains(got, "name: payments\n") || !strings.Contains(got, "type: Mesh\n") {
		t.Errorf("as YAML:\n%s", got)
	}
	if got := k.print("json", meshes); !strings.Contains(got, `"type": "Mesh"`) {
		t.Errorf("as JSON:\n%s", got)
	}

	// Tokens of every kind verify, and a validity that is none names its field.
	verifier := cptoken.NewVerifier(cptoken.VerifierOptions{})
	for _, tt := range []struct {
		kind cptoken.Kind
		body map[string]any
	}{
		{cptoken.Zone, map[string]any{"zone": "west", "scope": []string{"ingress", "egress"}, "validFor": "720h0m0s"}},
		{cptoken.Zone, map[string]any{"zone": "west", "scope": []string{"cp"}, "validFor": "720h0m0s"}},
		{cptoken.Dataplane, map[string]any{"name": "dp-1", "mesh": "default", "tags": map[string][]string{"kuma.io/service": {"web"}}, "type": "", "validFor": "24h0m0s", "workload": ""}},
		{cptoken.Dataplane, map[string]any{"name": "", "mesh": "payments", "tags": map[string][]string{}, "type": "dataplane", "validFor": "24h0m0s"}},
		{cptoken.User, map[string]any{"name": "john", "groups": []string{"a", "b"}, "validFor": "1h0m0s"}},
	} {
		token, err := k.generate(string(tt.kind), tt.body)
		must(err)
		if _, err := verifier.Verify(e.store.View(), tt.kind, token); err != nil {
			t.Errorf("%s %v: %v", tt.kind, tt.body, err)
		}
	}
	for field, body := range map[string]map[string]any{
		"validFor": {"zone": "west", "validFor": "soon"},
		"zone":     {"zone": "", "validFor": "1h"},
		"scope":    {"zone": "west", "scope": []string{"everything"}},
	} {
		_, err := k.generate("zone", body)
		refusal, ok := err.(*kumactlError)
		if !ok || refusal.status != http.StatusBadRequest || !strings.HasPrefix(strings.Join(refusal.fields, " "), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	bound, err := k.generate("dataplane", map[string]any{"mesh": "default", "workload": "billing"})
	if err != nil {
		t.Fatal(err)
	}
	if claims, err := verifier.Verify(e.store.View(), cptoken.Dataplane, bound); err != nil || claims.Workload != "billing" {
		t.Errorf("a token for a workload: %+v, %v", claims, err)
	}

	// Lists of revoked tokens are secrets; so are keys, of which only the public half
	// comes back.
	secret := func(typ, name, mesh, data string) map[string]any {
		s := map[string]any{"type": typ, "name": name, "data": base64.StdEncoding.EncodeToString([]byte(data))}
		if mesh != "" {
			s["mesh"] = mesh
		}
		return s
	}
	made(true)(k.apply("/global-secrets/zone-token-revocations", secret("GlobalSecret", "zone-token-revocations", "", "id-1,id-2\n")))
	made(false)(k.apply("/global-secrets/zone-token-revocations", secret("GlobalSecret", "zone-token-revocations", "", "id-1,id-2,id-3")))
	made(true)(k.apply("/meshes/default/secrets/dataplane-token-revocations-default",
		secret("Secret", "dataplane-token-revocations-default", "default", "dp-id")))
	globals, err := k.list("/global-secrets")
	must(err)
	if got := k.print("table", globals, "type", "name"); !strings.Contains(got, "GlobalSecret   zone-token-signing-key-1\n") || !strings.Contains(got, "zone-token-revocations") {
		t.Errorf("global secrets:\n%s", got)
	}
	if text := fmt.Sprint(globals); strings.Contains(text, "PRIVATE") {
		t.Error("a private key is shown")
	}
	mesh, err := k.list("/meshes/default/secrets")
	must(err)
	if got := k.print("table", mesh, "mesh", "name"); !strings.Contains(got, "default   dataplane-token-signing-key-default-1\n") {
		t.Errorf("secrets:\n%s", got)
	}
	if _, err := k.apply("/global-secrets/my-own", secret("GlobalSecret", "my-own", "", "x")); err == nil || !strings.Contains(err.Error(), "name:") {
		t.Errorf("a secret that is kept nowhere: %v", err)
	}

	// Who is online.
	_, rev := e.store.Head()
	now := time.Now()
	e.report(
		fleet.Session{Zone: "west", Instance: "vm-1", Version: "2.8.7", Connected: now.Add(-time.Hour), Disconnected: now.Add(-time.Minute), LastHeard: now.Add(-time.Minute)},
		fleet.Session{Zone: "west", Instance: "vm-2", Version: "2.8.8", Store: "postgres", Connected: now, LastHeard: now, Synced: true, Acked: rev, Sent: 8, Accepted: 8},
	)
	rows, err := k.inspectZones()
	must(err)
	if len(rows) != more+1 || rows[0] != "west Online 8 8 2.8.8 postgres" || rows[1] != "zone-000 Offline never" {
		t.Errorf("%d rows, %q", len(rows), rows[:2])
	}
	var first apitypes.List[apitypes.ZoneOverview]
	e.want(200, "GET", "/zones+insights?size=1", nil, &first)
	w := e.want(200, "GET", "/zones/_overview?size=1", nil, nil)
	w.Body = bytes.NewBufferString(strings.Replace(w.Body.String(), fmt.Sprintf(`"total":%d`, more+1), `"total":1`, 1))
	e.golden("kumactl-overview", w)
	if len(first.Items) != 1 || first.Items[0].Name != "west" {
		t.Errorf("under its older name: %+v", first)
	}

	// What is not served says so, in what kumactl shows of an error.
	for _, path := range []string{"/meshes/default/dataplanes", "/meshes/default/meshtimeouts/x", "/zoneegresses", "/hostnamegenerators"} {
		_, _, err := k.do("GET", path, nil)
		refusal, ok := err.(*kumactlError)
		if !ok || refusal.status != http.StatusNotFound || !strings.Contains(refusal.detail, "Meridian serves zones, meshes, global-secrets") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := k.apply("/meshes/default/dataplanes/dp-1", map[string]any{"type": "Dataplane", "mesh": "default", "name": "dp-1"}); err == nil ||
		!strings.Contains(err.Error(), `no "dataplanes" here`) {
		t.Errorf("a dataplane is applied: %v", err)
	}
	e.golden("error-not-served", e.call("GET", "/meshes/default/dataplanes", nil))

	must(k.delete("/meshes/payments"))
	must(k.delete("/zones/zone-000"))
	err = k.delete("/zones/zone-000")
	if refusal, ok := err.(*kumactlError); !ok || refusal.status != http.StatusNotFound || refusal.title != "Could not retrieve a resource" || refusal.detail != "Not found" {
		t.Errorf("deleting what is gone: %v", err)
	}
	// A key is imported as users always did, and the one before deleted.
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	made(true)(k.apply("/global-secrets/zone-token-signing-key-2", secret("GlobalSecret", "zone-token-signing-key-2", "", text)))
	must(k.delete("/global-secrets/zone-token-signing-key-1"))
}

// TestStrangersIndex: who shows nothing learns that there is such an API, and no
// name or id.
func TestStrangersIndex(t *testing.T) {
	e := newEnv(t)
	network := e.api.Handler(Network)
	e.golden("index-stranger", e.callAs(network, "GET", "/", nil))
	if w := e.callAs(network, "POST", "/", nil); w.Code != http.StatusUnauthorized {
		t.Errorf("POST / by a stranger answers %d", w.Code)
	}
	if w := e.callAs(network, "GET", "/", nil, "Authorization", "Bearer x"); w.Code != http.StatusUnauthorized {
		t.Errorf("a wrong token is answered %d", w.Code)
	}
}

// TestKumactlIsAnsweredWithItsVersion, which it compares with its own at every command.
// Nobody else is, and no version that would ask for something else.
func TestKumactlIsAnsweredWithItsVersion(t *testing.T) {
	e := newEnv(t)
	for agent, version := range map[string]string{
		"kumactl/2.14.3 (linux; amd64; Kuma/unknown)": "2.14.3", "kumactl/2.8.8 (linux; amd64)": "2.8.8",
		"kumactl/3.0.0 (linux; amd64)": "", "curl/2.14.3": "", "": "",
	} {
		for h, own := range map[http.Handler]string{e.admin: "1.2.3", e.api.Handler(Network): "unknown"} {
			var index apitypes.Index
			if err := json.Unmarshal(e.callAs(h, "GET", "/", nil, "User-Agent", agent).Body.Bytes(), &index); err != nil {
				t.Fatal(err)
			}
			if want := cmp.Or(version, own); index.Version != want {
				t.Errorf("%q is answered %q, want %q", agent, index.Version, want)
			}
		}
	}
}

// TestKumactlOfToday: since 2.11 it asks for global secrets under another path, and since
// 2.13 it puts a kri into what it writes. What could change the meaning is refused by
// name. It shows title and detail alone, so that the detail has what to do; our own
// command line has that as a hint.
func TestKumactlOfToday(t *testing.T) {
	e := newEnv(t)
	server := httptest.NewServer(e.admin)
	defer server.Close()
	k := &kumactl{t: t, address: server.URL}
	kri := func(body map[string]any, more ...string) map[string]any {
		body["kri"], body["labels"] = "kri_z____north_", map[string]string{"kuma.io/origin": "global"}
		for _, field := range more {
			body[field] = map[string]any{"enabledBackend": "ca-1"}
		}
		return body
	}
	for _, path := range []string{"/zones/north", "/meshes/payments"} {
		name, typ := strings.Split(path, "/")[2], map[string]string{"zones": "Zone", "meshes": "Mesh"}[strings.Split(path, "/")[1]]
		if _, err := k.apply(path, kri(map[string]any{"type": typ, "name": name})); err != nil {
			t.Errorf("%s with a kri: %v", path, err)
		}
		for _, field := range []string{"mtls", "networking", "status", "spec", "Kri"} {
			_, err := k.apply(path, kri(map[string]any{"type": typ, "name": name}, field))
			if refusal, ok := err.(*kumactlError); !ok || refusal.status != 400 || !strings.Contains(err.Error(), field) {
				t.Errorf("%s with %s: %v", path, field, err)
			}
		}
	}
	const list = "zone-token-revocations"
	for _, path := range []string{"/globalsecrets/", "/global-secrets/"} {
		body := kri(map[string]any{"type": "GlobalSecret", "name": list, "data": base64.StdEncoding.EncodeToString([]byte("a,b"))})
		if _, err := k.apply(path+list, body); err != nil {
			t.Errorf("apply %s: %v", path, err)
		}
		if _, data, err := k.do("GET", path+list, nil); err != nil || !strings.Contains(string(data), list) {
			t.Errorf("get %s: %s %v", path, data, err)
		}
		secrets, err := k.list(strings.TrimSuffix(path, "/"))
		if err != nil || len(secrets) == 0 {
			t.Errorf("list %s: %v %v", path, secrets, err)
		}
		if err := k.delete(path + "user-token-signing-key-7"); err == nil {
			t.Errorf("deleted %s of what is not there", path)
		}
	}
	_, err := k.apply("/globalsecrets/my-own", kri(map[string]any{"type": "GlobalSecret", "name": "my-own", "data": "eA=="}))
	if refusal, ok := err.(*kumactlError); !ok || !strings.Contains(refusal.detail, "names are like zone-token-signing-key-2") {
		t.Errorf("the detail does not say what to do: %v", err)
	}
	var own apitypes.Error
	w := e.call("PUT", "/global-secrets/my-own", `{"type":"GlobalSecret","name":"my-own","data":"eA=="}`, "User-Agent", "global/v1")
	if err := json.Unmarshal(w.Body.Bytes(), &own); err != nil || own.Hint == "" || strings.Contains(own.Detail, own.Hint) {
		t.Errorf("our own command line would say it twice: %s", w.Body)
	}
}
