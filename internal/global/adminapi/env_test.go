package adminapi

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/internal/test/raftfake"
	"github.com/meridiankds/meridian/raftstore"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// env is an API over a real store of one node.
type env struct {
	*testing.T
	store *raftstore.Store
	fleet *fleet.Fleet
	api   *API
	admin http.Handler // as through the admin socket
	log   lockedJournal
}

// lockedJournal is a journal that several goroutines may write.
type lockedJournal struct {
	mu sync.Mutex
	journal
}

func (j *lockedJournal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.journal.Write(p)
}

func (j *lockedJournal) take() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.String()
	j.Reset()
	return s
}

func newEnv(t *testing.T, change ...func(*Config)) *env {
	t.Helper()
	e := &env{T: t, store: openStore(t), fleet: fleet.New(fleet.Options{})}
	cfg := Config{
		Store: e.store, Leads: e.store.IsLeader, Fleet: e.fleet, Verifier: cptoken.NewVerifier(cptoken.VerifierOptions{}),
		LocalhostIsAdmin: true, Version: "1.2.3", Hostname: "global-1",
		Logger: slog.New(slog.NewJSONHandler(&e.log, nil)),
		// No test waits for what does not come.
		ImportWait: time.Millisecond,
		Certificates: func() []apitypes.Certificate {
			end := time.Date(2027, 11, 22, 12, 0, 0, 0, time.UTC)
			return []apitypes.Certificate{
				{File: "node.crt", Subject: "meridian://prod/node/global-1", NotAfter: end, DaysLeft: 365},
				{File: "ca.crt", Subject: "CN=the CA", CA: true, NotAfter: end.AddDate(9, 0, 0), DaysLeft: 3652},
			}
		},
	}
	for _, c := range change {
		c(&cfg)
	}
	e.api = New(cfg)
	e.admin = e.api.Handler(Socket)
	e.report()
	return e
}

// openStore founds a cluster of one node and waits until it leads.
func openStore(t *testing.T) *raftstore.Store {
	t.Helper()
	line, err := issue.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	seal, err := issue.ParseSealKeys(line)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := raftfake.NewNetwork().Listen("node-1")
	if err != nil {
		t.Fatal(err)
	}
	store, err := raftstore.Open(raftstore.Config{
		Dir: filepath.Join(t.TempDir(), "data"), Layer: layer, Seal: seal, Bootstrap: true,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), ElectionTimeout: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- store.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the store ended with %v", err)
		}
	})
	select {
	case <-store.Ready():
	case err := <-ended:
		ended <- err
		t.Fatalf("the store did not start: %v", err)
	}
	if _, err := store.LeaderContext(ctx); err != nil {
		t.Fatal(err)
	}
	return store
}

// report has this node, all up to date, report these sessions.
func (e *env) report(sessions ...fleet.Session) {
	e.fleet.Update(fleet.Report{
		Member: e.store.NodeID(), Applied: math.MaxUint64, LeaseUntil: time.Now().Add(time.Hour), Sessions: sessions,
	})
}

// session is one of a zone that holds all up to the given number of changes
// before the head.
func (e *env) session(zone string, behind uint64) fleet.Session {
	_, rev := e.store.Head()
	rev.Index -= behind
	return fleet.Session{
		Zone: zone, Instance: zone + "-a", Version: "1.0.0", Remote: "192.0.2.7:4711",
		Connected: time.Now(), LastHeard: time.Now(), Acked: rev, Synced: true, Authenticated: true,
		Method: "Control Plane Token", TokenSerial: 1, TokenID: "7d444840-9dc0-11d1-b245-5ffdce74fad2",
		TokenExpires: time.Now().Add(time.Hour), Meridian: true,
	}
}

// call sends a request as admin. body is JSON text, or a value to encode, or nil.
func (e *env) call(method, path string, body any, header ...string) *httptest.ResponseRecorder {
	e.Helper()
	return e.callAs(e.admin, method, path, body, header...)
}

func (e *env) callAs(h http.Handler, method, path string, body any, header ...string) *httptest.ResponseRecorder {
	e.Helper()
	var data io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		data = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			e.Fatal(err)
		}
		data = bytes.NewReader(text)
	}
	r := httptest.NewRequest(method, "http://global.example"+path, data)
	if data != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// want sends a request as admin, wants the status and decodes the answer into out
// (if it is not nil).
func (e *env) want(status int, method, path string, body, out any, header ...string) *httptest.ResponseRecorder {
	e.Helper()
	w := e.call(method, path, body, header...)
	if w.Code != status {
		e.Fatalf("%s %s: status %d, want %d: %s", method, path, w.Code, status, w.Body)
	}
	if out != nil {
		if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
			e.Fatalf("%s %s: %v: %s", method, path, err, w.Body)
		}
	}
	return w
}

// refused sends a request as admin, wants the status and returns the error.
func (e *env) refused(status int, method, path string, body any, header ...string) apitypes.Error {
	e.Helper()
	var got apitypes.Error
	e.want(status, method, path, body, &got, header...)
	if got.Status != status || got.Type != "/std-errors" || got.Detail == "" || got.Details != got.Detail {
		e.Errorf("%s %s: error %+v has not the shape", method, path, got)
	}
	return got
}

// badField wants a 400 that names the field.
func (e *env) badField(field, method, path string, body any) {
	e.Helper()
	got := e.refused(400, method, path, body)
	if len(got.InvalidParameters) == 0 || got.InvalidParameters[0].Field != field || got.Causes[0].Field != field {
		e.Errorf("%s %s: error %+v, want one on the field %s", method, path, got, field)
	}
}

// token has a token issued.
func (e *env) token(kind string, body any) string {
	e.Helper()
	return e.want(200, "POST", "/tokens/"+kind, body, nil).Body.String()
}

// key returns the only key of a kind, mesh and state.
func (e *env) key(kind cptoken.Kind, mesh string, state cptoken.KeyState) raftstore.Key {
	e.Helper()
	var found []raftstore.Key
	for _, k := range e.store.Keys() {
		if k.ID.Kind == kind && k.ID.Mesh == mesh && k.State == state {
			found = append(found, k)
		}
	}
	if len(found) != 1 {
		e.Fatalf("%d keys of kind %s are %s, want one", len(found), kind, state)
	}
	return found[0]
}

// changing are the parts of an answer that differ from run to run.
var changing = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`"\d{4}-\d\d-\d\dT[0-9:.]+Z"`), `"<time>"`},
	{regexp.MustCompile(`"(instanceId|clusterId|nodeId|globalInstanceId|member|leader|leaderAddress)": "[^"]+"`), `"$1": "<id>"`},
	{regexp.MustCompile(`"(sealKeyId|active|first|id|under)": "[0-9a-f]{8}"`), `"$1": "<seal key>"`},
	{regexp.MustCompile(`"fingerprint": "[0-9a-f]{64}"`), `"fingerprint": "<fingerprint>"`},
	{regexp.MustCompile(`"data": "[A-Za-z0-9+/=]{100,}"`), `"data": "<base64>"`},
	{regexp.MustCompile(`"revision": "[0-9a-f]{16}-\d+@\d+"`), `"revision": "<revision>"`},
	{regexp.MustCompile(`"(applied)": \d+`), `"$1": "<index>"`},
}

// golden holds an answer against a file of testdata/golden.
func (e *env) golden(name string, w *httptest.ResponseRecorder) {
	e.Helper()
	var text bytes.Buffer
	if err := json.Indent(&text, w.Body.Bytes(), "", "  "); err != nil {
		e.Fatalf("%s: %v: %s", name, err, w.Body)
	}
	if ct := w.Header().Get("Content-Type"); ct != "application/json" {
		e.Errorf("%s: Content-Type %q", name, ct)
	}
	got := text.String()
	for _, c := range changing {
		got = c.re.ReplaceAllString(got, c.with)
	}
	path := filepath.Join("testdata", "golden", name+".json")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			e.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		e.Fatal(err)
	}
	if got != string(want) {
		e.Errorf("%s:\n%s\nwant\n%s", name, got, want)
	}
}

// head is the revision of now.
func (e *env) head() federation.Revision {
	_, rev := e.store.Head()
	return rev
}

// signHS256 makes a token by hand.
func signHS256(key []byte, header, claims string) string {
	enc := base64.RawURLEncoding
	input := enc.EncodeToString([]byte(header)) + "." + enc.EncodeToString([]byte(claims))
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(input))
	return input + "." + enc.EncodeToString(mac.Sum(nil))
}
