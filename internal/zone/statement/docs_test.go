package statement_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/zone/proxyport"
)

const proxiesPage = "../../../docs/proxies.md"

// rowsOf returns the rows of the table in the documentation that has this head.
func rowsOf(t *testing.T, head string) (rows [][]string) {
	t.Helper()
	page, err := os.ReadFile(proxiesPage)
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(page), "\n"+head+"\n")
	if !found {
		t.Fatalf("%s has no table with the head %s", proxiesPage, head)
	}
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		if strings.HasPrefix(line, "|---") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	if len(rows) < 10 {
		t.Fatalf("the table %s has %d rows only", head, len(rows))
	}
	return rows
}

var quoted = regexp.MustCompile("`([^`]*)`")

// pairsOf reads a cell of `key: value`.
func pairsOf(cell string) map[string]string {
	pairs := map[string]string{}
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		key, value, _ := strings.Cut(m[1], ":")
		pairs[key] = strings.TrimSpace(value)
	}
	return pairs
}

// tokenOf makes the token of a cell.
func tokenOf(t *testing.T, cell string) string {
	t.Helper()
	if cell == "none" {
		return ""
	}
	claims := map[string]any{}
	if err := json.Unmarshal([]byte(strings.Trim(cell, "`")), &claims); err != nil {
		t.Fatalf("%s: %v", cell, err)
	}
	return sign(t, claims)
}

// answerOf reads "403 `wrong_name`".
func answerOf(t *testing.T, cell string) answer {
	t.Helper()
	status, reason, _ := strings.Cut(cell, " ")
	n, err := strconv.Atoi(status)
	if err != nil {
		t.Fatalf("%s: %v", cell, err)
	}
	return answer{status: n, reason: strings.Trim(reason, "`")}
}

// TestStatementTable walks the table of statements in the documentation, for every
// way to ask.
func TestStatementTable(t *testing.T) {
	w := newWorld(t, keyring.ZoneToken, keyring.DataplaneToken, accounts)
	for _, row := range rowsOf(t, "| stated | the token says | answer |") {
		stated, token, want := pairsOf(row[0]), tokenOf(t, row[1]), answerOf(t, row[2])
		for way, ask := range ways {
			if got := ask(t, w, stated, []string{token})[0]; got.status != want.status || got.reason != want.reason {
				t.Errorf("%s, %s: %d %s", way, row, got.status, got.reason)
			}
		}
	}
}

// TestAdmissionTable walks the table of admission in the documentation. The ways of
// proxies themselves, ADS and /bootstrap, ask the same Authenticator.
func TestAdmissionTable(t *testing.T) {
	w := newWorld(t, keyring.ZoneToken, keyring.DataplaneToken, accounts)
	for _, row := range rowsOf(t, "| the proxy says | the token says | answer | proved |") {
		says, want := pairsOf(row[0]), answerOf(t, row[2])
		request := apitypes.AuthenticateRequest{Token: tokenOf(t, row[1]), ProxyType: says["proxyType"], Mesh: says["mesh"], Name: says["name"], Tags: map[string][]string{}}
		for key, value := range says {
			if tag, ok := strings.CutPrefix(key, "tag/"); ok {
				request.Tags[tag] = strings.Split(value, ",")
			}
		}
		var id apitypes.Identity
		status, reason := w.post(t, "/v1/authenticate", request, &id)
		if status != want.status || reason != want.reason || strings.Join(id.Proved, ", ") != row[3] {
			t.Errorf("%s: %d %s, proved %s", row, status, reason, id.Proved)
		}
		var batch proxyport.BatchAnswer
		if status, _ := w.post(t, "/v1/authenticate/batch", proxyport.BatchRequest{Requests: []apitypes.AuthenticateRequest{request}}, &batch); status != 200 ||
			batch.Results[0].Status != want.status || want.status == 200 && !slices.Equal(batch.Results[0].Identity.Proved, id.Proved) {
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
