package adminapi

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/internal/test/doctable"
)

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
