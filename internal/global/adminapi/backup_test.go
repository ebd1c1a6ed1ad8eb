package adminapi

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/raftstore"
	"github.com/meridiankds/meridian/raftstore/state"
)

// raw sends bytes as they are and returns the answer.
func (e *env) raw(method, path string, body io.Reader, header ...string) *httptest.ResponseRecorder {
	e.Helper()
	r := httptest.NewRequest(method, path, body)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	e.admin.ServeHTTP(w, r)
	return w
}

func TestSnapshotOverTheAPI(t *testing.T) {
	e := newEnv(t)
	saved := e.raw("GET", "/v1/snapshot", nil)
	if saved.Code != http.StatusOK || saved.Header().Get("Content-Type") != BackupType || saved.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", saved.Code, saved.Header())
	}
	found, err := state.InspectBackup(bytes.NewReader(saved.Body.Bytes()))
	if err != nil || found.Revision != e.head() {
		t.Fatalf("%+v: %v", found, err)
	}
	backup := saved.Body.Bytes()
	e.want(201, "PUT", "/zones/west", map[string]any{"type": "Zone", "name": "west"}, nil)
	before := e.head()

	w := e.raw("POST", "/v1/snapshot/restore", bytes.NewReader(backup))
	if w.Code != http.StatusConflict || !bytes.Contains(w.Body.Bytes(), []byte(`"reason":"holds_state"`)) {
		t.Errorf("without force: %d %s", w.Code, w.Body)
	}
	if e.head() != before {
		t.Error("something was restored")
	}
	damaged := bytes.Clone(backup)
	damaged[200] ^= 1
	w = e.raw("POST", "/v1/snapshot/restore?force=true", bytes.NewReader(damaged))
	if w.Code != http.StatusBadRequest || !bytes.Contains(w.Body.Bytes(), []byte(`"reason":"damaged"`)) {
		t.Errorf("damaged: %d %s", w.Code, w.Body)
	}
	if w = e.raw("POST", "/v1/snapshot/restore?force=yes", bytes.NewReader(backup)); w.Code != http.StatusBadRequest {
		t.Errorf("force=yes: %d %s", w.Code, w.Body)
	}
	for query, want := range map[string]string{
		"force=true&clusterSecret=first": "clusterSecret", "force=true&clusterSecret=7": "secret_generation", "force=true&cluster=prod": "another_cluster",
	} {
		if w := e.raw("POST", "/v1/snapshot/restore?"+query, bytes.NewReader(backup)); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	w = e.raw("POST", "/v1/snapshot/restore?force=true", bytes.NewReader(backup))
	if w.Code != http.StatusOK {
		t.Fatalf("restore: %d %s", w.Code, w.Body)
	}
	if rev := e.head(); rev.History.Compare(before.History) <= 0 {
		t.Errorf("at %s after %s", rev, before)
	}
	if _, ok := e.store.Zone("west"); ok {
		t.Error("the state is not that of the backup")
	}
}

// TestOnlyAdminsSave: a reader of everything else gets no backup.
func TestOnlyAdminsSave(t *testing.T) {
	roles, err := access.NewRoles([]access.Binding{{Role: access.Auditor, Groups: []string{"readers"}}})
	if err != nil {
		t.Fatal(err)
	}
	e := newEnv(t, func(c *Config) { c.Roles = func() *access.Roles { return roles } })
	reader := e.token("user", map[string]any{"name": "ro", "groups": []string{"readers"}})
	w := e.raw("GET", "/v1/snapshot", nil, "Authorization", "Bearer "+reader)
	if w.Code != http.StatusForbidden {
		t.Errorf("save: %d %s", w.Code, w.Body)
	}
	w = e.raw("POST", "/v1/snapshot/restore", nil, "Authorization", "Bearer "+reader)
	if w.Code != http.StatusForbidden {
		t.Errorf("restore: %d %s", w.Code, w.Body)
	}
	for _, path := range []string{"/v1/seal/rotate", "/v1/seal/rotate-cluster-secret"} {
		if w := e.raw("POST", path, nil, "Authorization", "Bearer "+reader); w.Code != http.StatusForbidden {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := e.raw("GET", "/v1/seal", nil, "Authorization", "Bearer "+reader); w.Code != http.StatusOK {
		t.Errorf("seal: %d %s", w.Code, w.Body)
	}
}

// keeper is a store whose backups stop and whose seal keys are missing.
type keeper struct {
	Store
	block chan struct{}
}

func (k keeper) Save(_ context.Context, _ raftstore.SaveOptions, out io.Writer) error {
	if k.block != nil {
		<-k.block
	}
	_, err := io.WriteString(out, "half of ")
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (keeper) CanSign() error {
	return federation.Errorf(federation.Unavailable, "this node lacks a seal key").WithReason("sealed")
}

// TestBackupsAreBounded: a third one at a time is refused, and one that breaks off
// is in the log.
func TestBackupsAreBounded(t *testing.T) {
	block := make(chan struct{})
	e := newEnv(t, func(c *Config) { c.Store = keeper{c.Store, block} })
	done := make(chan int, maxStreams)
	for range maxStreams {
		go func() {
			w := httptest.NewRecorder()
			e.admin.ServeHTTP(w, httptest.NewRequest("GET", "/v1/snapshot", nil))
			done <- w.Code
		}()
	}
	for len(e.api.streams) < maxStreams {
	}
	refused := e.raw("GET", "/v1/snapshot", nil)
	if refused.Code != http.StatusServiceUnavailable || refused.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", refused.Code, refused.Body)
	}
	close(block)
	for range maxStreams {
		<-done
	}
	if log := e.log.take(); !bytes.Contains([]byte(log), []byte("not sent to its end")) {
		t.Errorf("log: %s", log)
	}
}

func TestSealOverTheAPI(t *testing.T) {
	e := newEnv(t)
	e.golden("seal", e.call("GET", "/v1/seal", nil))
	e.golden("seal-rotate", e.call("POST", "/v1/seal/rotate", nil))
	var before, after apitypes.Seal
	e.want(200, "GET", "/v1/seal", nil, &before)
	var made apitypes.SecretRotation
	e.want(200, "POST", "/v1/seal/rotate-cluster-secret", nil, &made)
	e.want(200, "GET", "/v1/seal", nil, &after)
	if before.ClusterSecret == 0 || made.Generation != before.ClusterSecret+1 || after.ClusterSecret != made.Generation {
		t.Errorf("generation %d, then %+v, then %d", before.ClusterSecret, made, after.ClusterSecret)
	}
	var s apitypes.Status
	e.want(200, "GET", "/v1/status", nil, &s)
	if !s.CanSign || len(s.SealKeyID) != 8 || len(s.CannotOpen) != 0 {
		t.Errorf("%+v", s)
	}
	e = newEnv(t, func(c *Config) { c.Store = keeper{Store: c.Store} })
	e.want(200, "GET", "/v1/status", nil, &s)
	if s.CanSign {
		t.Error("it says that it can sign")
	}
}
