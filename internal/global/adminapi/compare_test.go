package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/audit"
)

// jti is the id of a token.
func jti(t *testing.T, token string) string {
	t.Helper()
	parsed, err := cptoken.Parse(token)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Claims.ID
}

// answered reads the answer to a revocation.
func answered(t *testing.T, w *httptest.ResponseRecorder) (status int, told apitypes.RevokeResult, problem apitypes.Error) {
	t.Helper()
	var into any = &told
	if w.Code != 200 {
		into = &problem
	}
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatal(err)
	}
	return w.Code, told, problem
}

// TestMistakenIDsAreTold: what is part of a known id is not revoked, and what no token is
// known to have is revoked and named, in both ways in which ids are sent. Ids of tokens that
// others sign can be anything.
func TestMistakenIDsAreTold(t *testing.T) {
	e, _ := audited(t)
	known := jti(t, e.token("zone", apitypes.ZoneTokenRequest{Zone: "west"}))
	renewed := jti(t, e.token("zone", apitypes.ZoneTokenRequest{Zone: "west"}))
	user := jti(t, e.token("user", apitypes.UserTokenRequest{Name: "jane"}))
	listed := uuid.NewString()
	revoke := func(ids ...string) apitypes.RevokeRequest {
		return apitypes.RevokeRequest{Kind: "zone", IDs: ids, Compare: true}
	}
	e.want(200, "POST", "/v1/revocations", apitypes.RevokeRequest{Kind: "zone", IDs: []string{listed, "job-10"}}, nil)
	ways := map[string]func(ids ...string) (int, apitypes.RevokeResult, apitypes.Error){
		"json": func(ids ...string) (int, apitypes.RevokeResult, apitypes.Error) {
			return answered(t, e.call("POST", "/v1/revocations", revoke(ids...)))
		},
		"text": func(ids ...string) (int, apitypes.RevokeResult, apitypes.Error) {
			return answered(t, e.call("POST", "/v1/revocations/bulk?kind=zone&compare=true", strings.Join(ids, "\n"), "Content-Type", "text/plain"))
		},
	}
	for way, send := range ways {
		for part, of := range map[string]string{
			known[:8]: known, known[:35]: known, strings.ToUpper(known): known, "jti=" + known: known, known + ";": known, listed[:9]: listed,
		} {
			status, _, problem := send(uuid.NewString(), part)
			if status != 400 || problem.Reason != "part_of_id" || !strings.Contains(problem.Hint, of) {
				t.Errorf("%s: %q: status %d, %+v", way, part, status, problem)
			}
		}
	}
	if n := e.store.RevocationCount(cptoken.Zone, ""); n != 2 {
		t.Errorf("%d ids are on the list: a request with a mistaken one revoked others", n)
	}
	for way, send := range ways {
		stranger := uuid.NewString()
		status, told, _ := send(known, renewed, listed, stranger, user, "job-1", "sha256:"+strings.Repeat("0", 64))
		got := told.Compared
		if status != 200 || got == nil {
			t.Fatalf("%s: status %d, %+v", way, status, told)
		}
		if !slices.Equal(got.Unknown, []string{stranger, "job-1"}) || len(got.Others) != 0 || len(got.Silent) != 0 || got.Since != nil {
			t.Errorf("%s: %+v", way, got)
		}
		if len(got.Elsewhere) != 1 || got.Elsewhere[0] != (apitypes.KnownID{ID: user, Kind: "user"}) {
			t.Errorf("%s: of another kind are %+v", way, got.Elsewhere)
		}
		e.want(200, "POST", "/v1/revocations/withdraw", apitypes.WithdrawRequest{Kind: "zone", IDs: []string{known, renewed, stranger, user, "job-1"}}, nil)
	}
	// Without compare ids are taken as they stand.
	e.want(200, "POST", "/v1/revocations", apitypes.RevokeRequest{Kind: "zone", IDs: []string{known[:8]}}, nil)
}

// TestWhatIsNotKnownOfIDs: who did not tell and with which keys others sign is said.
func TestWhatIsNotKnownOfIDs(t *testing.T) {
	there := uuid.NewString()
	e, _ := audited(t, func(c *Config) {
		store := c.Store
		c.Members = func() []string { return []string{store.NodeID(), "b", "c"} }
		c.AuditOf = func(_ context.Context, member string, q audit.Query) (audit.Page, error) {
			if member == "c" {
				return audit.Page{}, errors.New("no answer")
			}
			page := audit.Page{Next: 7} // nothing in the first part of the log
			if q.Before == 7 {
				page = audit.Page{Records: []audit.Record{{Seq: 3, About: map[string]string{"jti": there, "kind": "zone"}}}}
			}
			return page, nil
		}
	})
	_, body := e.offlineKey(nil)
	e.want(201, "PUT", "/v1/public-keys/zone/ci-1", body, nil)
	stranger := uuid.NewString()
	var told apitypes.RevokeResult
	e.want(200, "POST", "/v1/revocations", apitypes.RevokeRequest{Kind: "zone", IDs: []string{there, stranger}, Compare: true}, &told)
	got := told.Compared
	if got == nil || !slices.Equal(got.Unknown, []string{stranger}) || !slices.Equal(got.Silent, []string{"c"}) || !slices.Equal(got.Others, []string{"ci-1"}) {
		t.Errorf("%+v", got)
	}
}
