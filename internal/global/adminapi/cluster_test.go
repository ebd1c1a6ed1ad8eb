package adminapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/clocks"
)

// others are the members of a cluster whose leader was heard so long ago.
type others struct {
	silence time.Duration
	forward func(w http.ResponseWriter, r *http.Request, caller access.Caller) error
	clocks  func() clocks.Picture
	issue   func(member, path string, body []byte, caller access.Caller) (string, error)
}

func (o *others) Forward(w http.ResponseWriter, r *http.Request, caller access.Caller, _ string) error {
	return o.forward(w, r, caller)
}
func (o *others) Diverged() []string             { return nil }
func (o *others) LeaderContact() time.Duration   { return o.silence }
func (*others) Refresh(context.Context) bool     { return false }
func (*others) Members(context.Context) []Member { return nil }
func (o *others) Clocks() clocks.Picture {
	if o.clocks == nil {
		return clocks.Picture{Now: time.Now()}
	}
	return o.clocks()
}

func (o *others) Issue(_ context.Context, member, path string, body []byte, caller access.Caller, _ string) (token, newer string, err error) {
	token, err = o.issue(member, path, body, caller)
	return token, "", err
}
func (*others) TransferLead(string) error                  { return nil }
func (*others) Remove(context.Context, string, bool) error { return nil }
func (*others) CertificateKeys(string) []string            { return nil }
func (*others) OwnCertificateKey() string                  { return ownKey }

// ownKey names the key of the certificate of the member that the tests ask.
var ownKey = "sha256:" + strings.Repeat("0f", 32)

// TestALeaderDoesNotExpelItself: a certificate that the member which decides shows itself is
// expelled where that is said, and no other needs that.
func TestALeaderDoesNotExpelItself(t *testing.T) {
	e := newEnv(t, func(c *Config) { c.Cluster = &others{} })
	other := "sha256:" + strings.Repeat("1f", 32)
	w := e.call("POST", "/v1/expelled", apitypes.ExpelRequest{ID: ownKey, Reason: "stolen"})
	if w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "own_certificate") || !strings.Contains(w.Body.String(), "--force") {
		t.Errorf("its own certificate: %d %s", w.Code, w.Body)
	}
	e.want(200, "POST", "/v1/expelled", apitypes.ExpelRequest{ID: other}, nil)
	e.want(200, "POST", "/v1/expelled", apitypes.ExpelRequest{ID: ownKey, Force: true}, nil)
	var list apitypes.ExpelledList
	e.want(200, "GET", "/v1/expelled", nil, &list)
	if list.Total != 2 {
		t.Errorf("expelled: %+v", list)
	}
}

// What a member without a leader signs, and what it does not.
func TestIssuingWithoutALeader(t *testing.T) {
	o := &others{}
	e := newEnv(t, func(c *Config) { follow(c); c.Cluster = o })
	for _, tt := range []struct {
		silence  time.Duration
		validFor string
		status   int
	}{
		{0, "", 200},
		{59 * time.Second, "", 200},
		{time.Minute, "", 503},
		{time.Minute, "24h", 200},
		{time.Minute, "24h0m1s", 503},
		{10*time.Minute - time.Second, "1h", 200},
		{10 * time.Minute, "1h", 503},
		{time.Hour, "1s", 503},
	} {
		o.silence = tt.silence
		w := e.call("POST", "/tokens/zone", apitypes.ZoneTokenRequest{Zone: "west", ValidFor: tt.validFor})
		if w.Code != tt.status || tt.status == 503 && w.Header().Get("Retry-After") == "" {
			t.Errorf("%s without a leader, valid for %q: %d %s", tt.silence, tt.validFor, w.Code, w.Body)
		}
	}
}

// Writes and the leader's view go to the leader, own reads do not; of a leader that
// is gone a read is answered here and marked.
func TestWhatIsForwarded(t *testing.T) {
	forwarded := 0
	o := &others{silence: 5 * time.Second, forward: func(w http.ResponseWriter, _ *http.Request, caller access.Caller) error {
		forwarded++
		if caller.Via != access.ViaSocket || !caller.Admin() {
			t.Errorf("caller %+v", caller)
		}
		w.WriteHeader(299)
		return nil
	}}
	e := newEnv(t, func(c *Config) { follow(c); c.Cluster = o })
	for request, want := range map[[2]string]int{
		{"PUT", "/zones/west"}: 299, {"POST", "/v1/revocations"}: 299, {"GET", "/v1/zones"}: 299, {"GET", "/v1/cluster"}: 299,
		{"GET", "/zones/_overview"}: 299, {"GET", "/v1/keys/zone/1/holding"}: 299, {"POST", "/v1/cluster/remove"}: 299,
		{"GET", "/zones"}: 200, {"GET", "/v1/keys"}: 200, {"POST", "/tokens/zone"}: 200,
	} {
		w := e.call(request[0], request[1], `{"zone":"west"}`)
		if w.Code != want {
			t.Errorf("%v: %d %s", request, w.Code, w.Body)
		}
		if stale := w.Header().Get(StaleHeader); request[0] == "GET" && want == 200 && stale != "5" {
			t.Errorf("%v is marked %q", request, stale)
		}
	}
	if forwarded != 7 {
		t.Errorf("%d were forwarded", forwarded)
	}
	o.forward = func(http.ResponseWriter, *http.Request, access.Caller) error {
		err := federation.Errorf(federation.Unavailable, "gone")
		err.RetryAfter = time.Second
		return err
	}
	if w := e.call("GET", "/v1/zones", nil); w.Code != 200 || w.Header().Get(StaleHeader) != strconv.Itoa(5) {
		t.Errorf("zones without a leader: %d %q", w.Code, w.Header().Get(StaleHeader))
	}
	if w := e.call("PUT", "/zones/west", `{}`); w.Code != 503 || w.Header().Get("Retry-After") != "1" {
		t.Errorf("a write without a leader: %d", w.Code)
	}
}

// What was forwarded to a member that does not lead is not passed on again.
func TestOneHop(t *testing.T) {
	e := newEnv(t, follow)
	h := http.Header{}
	access.Caller{Name: "ann", Groups: []string{"admin"}, Via: access.ViaToken}.SetHeader(h)
	w := e.callAs(e.api.Handler(Peer), "PUT", "/zones/west", `{}`, "Meridian-Caller", h.Get("Meridian-Caller"))
	if w.Code != 503 || len(e.store.Zones()) != 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	leader := newEnv(t)
	w = leader.callAs(leader.api.Handler(Peer), "PUT", "/zones/west", `{}`, "Meridian-Caller", h.Get("Meridian-Caller"))
	if w.Code != 201 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	h = http.Header{}
	access.Caller{Name: "rob", Via: access.ViaToken}.SetHeader(h)
	if w := leader.callAs(leader.api.Handler(Peer), "PUT", "/zones/east", `{}`, "Meridian-Caller", h.Get("Meridian-Caller")); w.Code != 403 {
		t.Errorf("a reader's write: %d", w.Code)
	}
}

// TestNothingIsAdoptedUnasked: a healthy cluster begins no history, and says what there was
// to confirm.
func TestNothingIsAdoptedUnasked(t *testing.T) {
	e := newEnv(t)
	before := e.head()
	e.refused(409, "POST", "/v1/cluster/confirm-loss", map[string]any{"adopt": true})
	if e.head().History != before.History {
		t.Error("a history was begun")
	}
	var confirmed apitypes.ConfirmedLoss
	e.want(200, "POST", "/v1/cluster/confirm-loss", map[string]any{}, &confirmed)
	if confirmed.Losses != 0 || e.head().History != before.History {
		t.Errorf("confirmed %+v at %s", confirmed, e.head())
	}
}
