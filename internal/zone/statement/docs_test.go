package statement_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/test/doctable"
	"github.com/meridiankds/meridian/internal/zone/proxyport"
)

const proxiesPage = "../../../docs/proxies.md"

// tokenOf makes the token of a cell.
func tokenOf(t *testing.T, cell string) string {
	t.Helper()
	claims := doctable.Claims(t, cell)
	if claims == nil {
		return ""
	}
	return sign(t, claims)
}

// TestStatementTable walks the table of statements in the documentation, for every
// way to ask.
func TestStatementTable(t *testing.T) {
	w := newWorld(t, keyring.ZoneToken, keyring.DataplaneToken, accounts)
	for _, row := range doctable.Rows(t, proxiesPage, doctable.Statement) {
		stated, token := doctable.Pairs(row[0]), tokenOf(t, row[1])
		status, reason := doctable.Answer(t, row[2])
		for way, ask := range ways {
			if got := ask(t, w, stated, []string{token})[0]; got.status != status || got.reason != reason {
				t.Errorf("%s, %s: %d %s", way, row, got.status, got.reason)
			}
		}
	}
}

// TestAdmissionTable walks the table of admission in the documentation; cmd/zone does so
// for ADS, /bootstrap and `zone verify`.
func TestAdmissionTable(t *testing.T) {
	w := newWorld(t, keyring.ZoneToken, keyring.DataplaneToken, accounts)
	for _, row := range doctable.Rows(t, proxiesPage, doctable.Admission) {
		says := doctable.Pairs(row[0])
		wantStatus, wantReason := doctable.Answer(t, row[2])
		request := apitypes.AuthenticateRequest{Token: tokenOf(t, row[1]), ProxyType: says["proxyType"], Mesh: says["mesh"], Name: says["name"], Tags: map[string][]string{}}
		for key, value := range says {
			if tag, ok := strings.CutPrefix(key, "tag/"); ok {
				request.Tags[tag] = strings.Split(value, ",")
			}
		}
		var id apitypes.Identity
		status, reason := w.post(t, "/v1/authenticate", request, &id)
		if status != wantStatus || reason != wantReason || strings.Join(id.Proved, ", ") != row[3] {
			t.Errorf("%s: %d %s, proved %s", row, status, reason, id.Proved)
		}
		var batch proxyport.BatchAnswer
		if status, _ := w.post(t, "/v1/authenticate/batch", proxyport.BatchRequest{Requests: []apitypes.AuthenticateRequest{request}}, &batch); status != 200 ||
			batch.Results[0].Status != wantStatus || wantStatus == 200 && !slices.Equal(batch.Results[0].Identity.Proved, id.Proved) {
			t.Errorf("batch, %s: %s", row, fmt.Sprintf("%+v", batch))
		}
	}
}

// A description beside a statement would leave open which of the two counts.
func TestDescriptionBesideStatement(t *testing.T) {
	w := newWorld(t, keyring.ZoneToken, keyring.DataplaneToken, accounts)
	for _, r := range []apitypes.AuthenticateRequest{{ProxyType: "egress"}, {Mesh: "default"}, {Name: "x"}, {Tags: tags("x")}, {Labels: map[string]string{"a": "b"}}} {
		r.Token, r.Require = sign(t, claims{"Mesh": "default"}), map[string]string{}
		if status, _ := w.post(t, "/v1/authenticate", r, &apitypes.Identity{}); status != 400 {
			t.Errorf("%+v: %d", r, status)
		}
	}
}
