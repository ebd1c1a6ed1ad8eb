package adminapi

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/test/doctable"
)

// TestActionsThatARouteAloneDoesNotTell: one route serves several commands, and the audit log
// has the one that it was.
func TestActionsThatARouteAloneDoesNotTell(t *testing.T) {
	e, _ := audited(t)
	certificate := "sha256:" + strings.Repeat("0", 64)
	for _, act := range []struct {
		method, path, body string
		status             int
		words              string
	}{
		{"PUT", "/zones/west", `{}`, 201, "apply zone"},
		{"PUT", "/zones/west", `{"enabled":false}`, 200, "disable zone"},
		{"PUT", "/zones/west", `{"enabled":false}`, 200, "apply zone"}, // it is disabled already
		{"PUT", "/zones/west", `{"enabled":true}`, 200, "enable zone"},
		{"POST", "/v1/expelled", `{"id":"` + certificate + `"}`, 200, "certs expel"},
		{"DELETE", "/v1/expelled/" + certificate, "", 204, "certs readmit"},
		{"POST", "/v1/expelled", `{"id":"0d4cd35c-8b5e-4ba4-8b8c-0b3d6f6bb5c4"}`, 200, "certs expel"},
		{"DELETE", "/v1/expelled/0d4cd35c-8b5e-4ba4-8b8c-0b3d6f6bb5c4", "", 204, "cluster readmit"},
	} {
		var body any
		if act.body != "" {
			body = act.body
		}
		e.want(act.status, act.method, act.path, body, nil)
		var list apitypes.Audit
		e.want(200, "GET", "/v1/audit?size=1", nil, &list)
		if len(list.Items) != 1 || list.Items[0].Action != act.words || list.Items[0].Outcome != "done" {
			t.Errorf("%s %s %s: the audit log has %q, want %q", act.method, act.path, act.body, lines(list), act.words)
		}
	}
}

// TestEveryRouteIsACommandToTheAuditLog holds the table of docs/audit.md against the routes:
// no action is a path, and every one is documented. That each is a command of ours is for
// cmd/global to say, which has them.
func TestEveryRouteIsACommandToTheAuditLog(t *testing.T) {
	documented := map[string]string{}
	for _, row := range doctable.Rows(t, filepath.Join("..", "..", "..", "docs", "audit.md"), "| action | request |") {
		for _, request := range strings.Split(row[1], ", ") {
			documented[strings.Trim(request, "`")] = strings.Trim(row[0], "`")
		}
	}
	e := newEnv(t)
	for pattern, to := range e.api.routes() {
		if to.words == "" || strings.ContainsAny(to.words, "/{") {
			t.Errorf("%s: its action is %q", pattern, to.words)
		}
		if documented[pattern] != to.words {
			t.Errorf("%s is %q, and %q in docs/audit.md", pattern, to.words, documented[pattern])
		}
		delete(documented, pattern)
	}
	for pattern := range documented {
		t.Errorf("docs/audit.md has %s, which is no route", pattern)
	}
}
