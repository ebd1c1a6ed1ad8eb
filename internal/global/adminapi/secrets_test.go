package adminapi

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// newRSA makes a private key as users bring it.
func newRSA(t *testing.T) (key *rsa.PrivateKey, text []byte) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

func secretWith(data []byte) string {
	return fmt.Sprintf(`{"data":%q}`, base64.StdEncoding.EncodeToString(data))
}

// names lists the secrets of a place.
func (e *env) names(path string) []string {
	e.Helper()
	var list apitypes.List[apitypes.Secret]
	e.want(200, "GET", path, nil, &list)
	var names []string
	for _, s := range list.Items {
		names = append(names, s.Name)
	}
	if len(names) != list.Total {
		e.Errorf("%s: %d items of %d", path, len(names), list.Total)
	}
	return names
}

// list reads a list with its ETag.
func (e *env) list(path string) (ids, etag string) {
	e.Helper()
	var s apitypes.Secret
	w := e.want(200, "GET", path, nil, &s)
	return string(s.Data), w.Header().Get("ETag")
}

func TestSecretsOfANewCluster(t *testing.T) {
	e := newEnv(t)
	want := []string{"control-plane-signing-key-0001", "zone-token-signing-key-1", "user-token-signing-key-1"}
	if got := e.names("/global-secrets"); !slices.Equal(got, want) {
		t.Errorf("global secrets %v, want %v", got, want)
	}
	if got := e.names("/meshes/default/secrets"); !slices.Equal(got, []string{"dataplane-token-signing-key-default-1"}) {
		t.Errorf("secrets of the mesh %v", got)
	}
}

// What is shown of a key verifies its tokens, and nothing that signs is shown.
func TestKeysShowTheirPublicPart(t *testing.T) {
	e := newEnv(t)
	var s apitypes.Secret
	e.want(200, "GET", "/global-secrets/zone-token-signing-key-1", nil, &s)
	block, rest := pem.Decode(s.Data)
	if block == nil || block.Type != "RSA PUBLIC KEY" || len(rest) != 0 {
		t.Fatalf("shown: %q", s.Data)
	}
	pub, err := x509.ParsePKCS1PublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !pub.Equal(e.key(cptoken.Zone, "", cptoken.Active).Public.RSA()) {
		t.Error("another key is shown")
	}
	e.want(200, "GET", "/global-secrets/control-plane-signing-key-0001", nil, &s)
	if !strings.HasPrefix(string(s.Data), "fingerprint:") || len(s.Data) != len("fingerprint:")+64 {
		t.Errorf("shown of the control plane key: %q", s.Data)
	}
	key, err := e.store.Signer(cptoken.ControlPlane, "")
	if err != nil {
		t.Fatal(err)
	}
	all := e.call("GET", "/global-secrets", nil).Body.String() + e.call("GET", "/v1/keys", nil).Body.String() +
		e.call("GET", "/meshes/default/secrets", nil).Body.String()
	for name, forbidden := range map[string]string{
		"the key": string(key.Material()), "its base64": base64.StdEncoding.EncodeToString(key.Material()), "a private key": "PRIVATE",
	} {
		if strings.Contains(all, forbidden) {
			t.Errorf("%s is in an answer", name)
		}
	}
}

func TestUnknownSecrets(t *testing.T) {
	e := newEnv(t)
	for _, name := range []string{"my-secret", "zone-token-signing-key-9", "zone-token-revocations", "zoneegress-token-revocations", "dataplane-token-signing-key-default-1"} {
		got := e.refused(404, "GET", "/global-secrets/"+name, nil)
		if got.Title != "Could not retrieve a resource" || got.Detail != "Not found" {
			t.Errorf("%s: %+v, want Kuma's words", name, got)
		}
		e.refused(404, "DELETE", "/global-secrets/"+name, nil)
	}
	e.badField("name", "PUT", "/global-secrets/my-secret", secretWith([]byte("x")))
	e.badField("name", "PUT", "/global-secrets/dataplane-token-revocations-default", secretWith([]byte("x")))
	e.badField("name", "PUT", "/meshes/default/secrets/zone-token-revocations", secretWith([]byte("x")))
	e.refused(404, "PUT", "/meshes/nowhere/secrets/dataplane-token-revocations-nowhere", secretWith([]byte("x")))
}

func TestBadSecrets(t *testing.T) {
	e := newEnv(t)
	_, private := newRSA(t)
	block, _ := pem.Decode(private)
	public := e.key(cptoken.Zone, "", cptoken.Active).Public.PEM()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatalf("no small key can be made: %v", err)
	}
	tests := []struct{ name, secret, body, field string }{
		{"no data", "zone-token-signing-key-2", `{}`, "data"},
		{"null data", "zone-token-signing-key-2", `{"data":null}`, "data"},
		{"not base64", "zone-token-signing-key-2", `{"data":"?"}`, "data"},
		{"base64 of another alphabet", "zone-token-signing-key-2", `{"data":"_-_-"}`, "data"},
		{"not a key", "zone-token-signing-key-2", secretWith([]byte("secret")), "data"},
		{"empty", "zone-token-signing-key-2", secretWith(nil), "data"},
		{"a public key", "zone-token-signing-key-2", secretWith(public), "data"},
		{"half a key", "zone-token-signing-key-2", secretWith(private[:len(private)/2]), "data"},
		{"damaged DER", "zone-token-signing-key-2", secretWith(block.Bytes[:len(block.Bytes)-1]), "data"},
		{"too few bits", "zone-token-signing-key-2", secretWith(x509.MarshalPKCS1PrivateKey(small)), "data"},
		{"short control plane key", "control-plane-signing-key-0002", secretWith([]byte(strings.Repeat("k", 31))), "data"},
		{"long control plane key", "control-plane-signing-key-0002", secretWith([]byte(strings.Repeat("k", 4097))), "data"},
		{"a public key for control plane tokens", "control-plane-signing-key-0002", secretWith(public), "data"},
		{"a fingerprint", "control-plane-signing-key-0002", secretWith([]byte("fingerprint:" + strings.Repeat("0", 64))), "data"},
		{"another type", "zone-token-signing-key-2", `{"type":"Secret","data":"eA=="}`, "type"},
		{"another name", "zone-token-signing-key-2", `{"name":"zone-token-signing-key-3","data":"eA=="}`, "name"},
		{"a mesh", "zone-token-signing-key-2", `{"mesh":"default","data":"eA=="}`, "mesh"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sub := &env{T: t, admin: e.admin}
			sub.badField(tt.field, "PUT", "/global-secrets/"+tt.secret, tt.body)
		})
	}
	if len(e.store.Keys()) != 4 {
		t.Error("a refused key is there")
	}
	if log := e.log.take(); strings.Contains(log, base64.StdEncoding.EncodeToString(private)[:100]) || strings.Contains(log, "PRIVATE KEY-----") {
		t.Error("a key is in the log")
	}
}

func TestImportZoneKey(t *testing.T) {
	e := newEnv(t)
	private, text := newRSA(t)
	old := e.token("zone", `{"zone":"west"}`)
	e.report(e.session("west", 0))

	// While a zone lacks it, the key is stored and says what it waits for.
	var change apitypes.SecretChange
	e.want(202, "PUT", "/global-secrets/zone-token-signing-key-5", secretWith(text), &change)
	if change.Key == nil || change.Key.State != "prepared" || !change.Key.Imported || change.Holding == nil || !slices.Equal(change.Holding.Waiting, []string{"west"}) {
		t.Errorf("answer %+v, want the prepared key waiting for west", change)
	}
	e.report(e.session("west", 0))
	change = apitypes.SecretChange{}
	e.want(200, "PUT", "/global-secrets/zone-token-signing-key-5", secretWith(text), &change)
	if change.Key == nil || change.Key.State != "active" || change.Holding != nil {
		t.Errorf("answer %+v, want the active key", change)
	}
	fresh := e.token("zone", `{"zone":"west"}`)
	token, err := cptoken.Parse(fresh)
	if err != nil || token.KID != "5" {
		t.Fatalf("signed with key %s: %v", token.KID, err)
	}
	for _, tok := range []string{old, fresh} {
		if _, err := e.verify(cptoken.Zone, tok); err != nil {
			t.Error(err)
		}
	}
	// Written again, in another form, and as it was read: nothing changes.
	rev := e.head()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	var read apitypes.Secret
	e.want(200, "GET", "/global-secrets/zone-token-signing-key-5", nil, &read)
	for _, data := range [][]byte{text, der, read.Data} {
		e.want(200, "PUT", "/global-secrets/zone-token-signing-key-5", secretWith(data), nil)
	}
	if e.head() != rev {
		t.Error("the same key written again changed something")
	}
	// A serial is one key's, and none goes back.
	_, other := newRSA(t)
	if got := e.refused(409, "PUT", "/global-secrets/zone-token-signing-key-5", secretWith(other)); got.Reason != "serial_taken" {
		t.Errorf("another key under the same serial: %+v", got)
	}
	e.refused(409, "PUT", "/global-secrets/zone-token-signing-key-4", secretWith(other))

	// DELETE removes the old key and says what that cuts off.
	change = apitypes.SecretChange{}
	e.want(200, "DELETE", "/global-secrets/zone-token-signing-key-1", nil, &change)
	if change.Key == nil || change.Key.State != "removed" || !strings.Contains(change.CutOff, "issued from") {
		t.Errorf("answer %+v", change)
	}
	if _, err := e.verify(cptoken.Zone, old); err == nil {
		t.Error("a token of the deleted key is accepted")
	}
	e.refused(404, "GET", "/global-secrets/zone-token-signing-key-1", nil)
	e.refused(409, "DELETE", "/global-secrets/zone-token-signing-key-5", nil)
	e.refused(409, "PUT", "/global-secrets/zone-token-signing-key-1", secretWith(other))
	if log := e.log.take(); strings.Contains(log, "BEGIN") || strings.Contains(log, base64.StdEncoding.EncodeToString(text)[:60]) {
		t.Error("a key is in the log")
	}
}

// The older program's key comes along with its tokens, which lack exp and jti.
func TestImportControlPlaneKey(t *testing.T) {
	e := newEnv(t)
	secret := []byte("a control plane key of 32 bytes or more")
	var change apitypes.SecretChange
	e.want(201, "PUT", "/global-secrets/control-plane-signing-key-0002", secretWith(secret), &change)
	if change.Key.State != "active" || change.Name != "control-plane-signing-key-0002" {
		t.Errorf("answer %+v", change)
	}
	if w := e.call("GET", "/global-secrets/control-plane-signing-key-2", nil); w.Code != 200 || strings.Contains(w.Body.String(), base64.StdEncoding.EncodeToString(secret)) {
		t.Errorf("read: %d %s", w.Code, w.Body)
	}
	key, err := issue.Import(issue.Ref{Kind: cptoken.ControlPlane, Serial: 2}, secret)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.key(cptoken.ControlPlane, "", cptoken.Active); !slices.Equal(got.Fingerprint, key.Fingerprint(e.store.ClusterID())) {
		t.Error("another key was imported")
	}
	e.want(200, "PUT", "/global-secrets/control-plane-signing-key-0002", secretWith(secret), nil)
	e.refused(409, "PUT", "/global-secrets/control-plane-signing-key-0002", secretWith(append(secret, '!')))
	claims, err := e.verify(cptoken.ControlPlane, e.token("control-plane", `{"zone":"west"}`))
	if err != nil || claims.TokenSerialNumber != 2 {
		t.Errorf("a new token has serial %d: %v", claims.TokenSerialNumber, err)
	}
}

func TestImportDataplaneKey(t *testing.T) {
	e := newEnv(t)
	_, text := newRSA(t)
	// As kumactl sends it.
	body := fmt.Sprintf(`{"type":"Secret","mesh":"default","name":"dataplane-token-signing-key-default-2",
		"creationTime":"0001-01-01T00:00:00Z","modificationTime":"0001-01-01T00:00:00Z","data":%q}`, base64.StdEncoding.EncodeToString(text))
	e.want(201, "PUT", "/meshes/default/secrets/dataplane-token-signing-key-default-2", body, nil)
	if got := e.names("/meshes/default/secrets"); !slices.Equal(got, []string{"dataplane-token-signing-key-default-1", "dataplane-token-signing-key-default-2"}) {
		t.Errorf("secrets %v", got)
	}
	e.want(200, "DELETE", "/meshes/default/secrets/dataplane-token-signing-key-default-1", nil, nil)
}

func TestRevocationList(t *testing.T) {
	e := newEnv(t)
	const path = "/global-secrets/zone-token-revocations"
	token := e.token("zone", `{"zone":"west"}`)
	claims, err := e.verify(cptoken.Zone, token)
	if err != nil {
		t.Fatal(err)
	}
	var change apitypes.SecretChange
	e.want(201, "PUT", path, secretWith([]byte(" "+claims.ID+" , b,,b\n")), &change)
	if change.Added != 2 || change.Withdrawn != 0 || change.Revision != e.head().String() {
		t.Errorf("answer %+v, want 2 added", change)
	}
	if _, err := e.verify(cptoken.Zone, token); cptoken.ReasonOf(err) != cptoken.Revoked {
		t.Errorf("the revoked token: %v", err)
	}

	// A list that lacks what is revoked does not make it valid again.
	rev := e.head()
	got := e.refused(409, "PUT", path, secretWith([]byte("c")))
	if got.Reason != "would_withdraw" || !strings.Contains(got.Hint, "If-Match") || !strings.Contains(got.Hint, "withdraw") {
		t.Errorf("refused with %+v", got)
	}
	got = e.refused(409, "PUT", path, secretWith([]byte("c")), "If-Match", "*")
	if got.Reason != "stale_etag" {
		t.Errorf("a blind If-Match: %+v", got)
	}
	if e.head() != rev {
		t.Fatal("a refused list changed something")
	}
	// Adding needs all that is there, or nothing but additions.
	ids, etag := e.list(path)
	e.want(200, "PUT", path, secretWith([]byte(ids+",c")), &change)
	if change.Added != 1 {
		t.Errorf("answer %+v, want 1 added", change)
	}
	// The ETag is of what was read, not of what is.
	if got := e.refused(409, "PUT", path, secretWith([]byte("c")), "If-Match", etag); got.Reason != "stale_etag" {
		t.Errorf("a stale ETag: %+v", got)
	}
	ids, etag = e.list(path)
	change = apitypes.SecretChange{}
	e.want(200, "PUT", path, secretWith([]byte("c,d")), &change, "If-Match", `"other", `+etag)
	if change.Added != 1 || change.Withdrawn != 2 {
		t.Errorf("answer %+v, want 1 added and 2 withdrawn of %s", change, ids)
	}
	if ids, _ := e.list(path); ids != "c,d" {
		t.Errorf("list %q, want c,d", ids)
	}
	if _, err := e.verify(cptoken.Zone, token); err != nil {
		t.Errorf("the token whose revocation was withdrawn: %v", err)
	}
	// What is read can be written.
	ids, etag = e.list(path)
	e.want(200, "PUT", path, secretWith([]byte(ids)), nil, "If-Match", etag)
	e.want(200, "PUT", path, secretWith([]byte(ids)), nil)

	// DELETE withdraws all, under the same rule.
	if got := e.refused(409, "DELETE", path, nil); got.Reason != "would_withdraw" {
		t.Errorf("a blind DELETE: %+v", got)
	}
	e.want(200, "DELETE", path, nil, &change, "If-Match", etag)
	e.refused(404, "GET", path, nil)
}

func TestLegacyListOnlyAdds(t *testing.T) {
	e := newEnv(t)
	e.want(201, "PUT", "/global-secrets/zone-token-revocations", secretWith([]byte("a,b")), nil)
	var change apitypes.SecretChange
	e.want(200, "PUT", "/global-secrets/zoneegress-token-revocations", secretWith([]byte("c")), &change)
	if change.Added != 1 || change.Withdrawn != 0 {
		t.Errorf("answer %+v", change)
	}
	_, etag := e.list("/global-secrets/zone-token-revocations")
	e.want(200, "PUT", "/global-secrets/zoneegress-token-revocations", secretWith([]byte("d")), nil, "If-Match", etag)
	if ids, _ := e.list("/global-secrets/zone-token-revocations"); ids != "a,b,c,d" {
		t.Errorf("list %q, want a,b,c,d", ids)
	}
	e.refused(404, "DELETE", "/global-secrets/zoneegress-token-revocations", nil)
	if slices.Contains(e.names("/global-secrets"), "zoneegress-token-revocations") {
		t.Error("the older name is listed")
	}
}

func TestListsOfEveryKind(t *testing.T) {
	e := newEnv(t)
	for _, path := range []string{
		"/global-secrets/control-plane-token-revocations", "/global-secrets/user-token-revocations",
		"/meshes/default/secrets/dataplane-token-revocations-default",
	} {
		e.want(201, "PUT", path, secretWith([]byte("x-1")), nil)
		if ids, _ := e.list(path); ids != "x-1" {
			t.Errorf("%s: %q", path, ids)
		}
	}
	for _, kind := range []cptoken.Kind{cptoken.ControlPlane, cptoken.User} {
		if !e.store.View().Revoked(kind, "", "x-1") {
			t.Errorf("x-1 of kind %s is not revoked", kind)
		}
	}
	if e.store.View().Revoked(cptoken.Zone, "", "x-1") {
		t.Error("x-1 of another kind is revoked")
	}
}

func TestBadLists(t *testing.T) {
	e := newEnv(t)
	token := e.token("zone", `{"zone":"west"}`)
	for name, data := range map[string]string{
		"a token":         token,
		"too long":        strings.Repeat("a", 129),
		"lines":           "a\nb",
		"blanks":          "a b",
		"control bytes":   "a\x00b",
		"half a hash":     "sha256:00",
		"not UTF-8":       "a,\xff\xfe",
		"hash, uppercase": "sha256:" + strings.Repeat("A", 64),
	} {
		t.Run(name, func(t *testing.T) {
			sub := &env{T: t, admin: e.admin}
			got := sub.refused(400, "PUT", "/global-secrets/zone-token-revocations", secretWith([]byte(data)))
			if got.InvalidParameters[0].Field != "data" {
				t.Errorf("refused with %+v", got)
			}
			if len(data) > 30 && strings.Contains(got.Detail, data[:30]) {
				t.Errorf("what was written is repeated: %s", got.Detail)
			}
		})
	}
	if n := e.store.RevocationCount(cptoken.Zone, ""); n != 0 {
		t.Errorf("%d ids are revoked", n)
	}
	// Nothing to add is nothing done.
	rev := e.head()
	e.want(200, "PUT", "/global-secrets/zone-token-revocations", secretWith([]byte(" , \n")), nil)
	if e.head() != rev {
		t.Error("an empty list changed something")
	}
}
