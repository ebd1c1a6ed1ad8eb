package main

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// heeding are the commands that change something: those after which a Kuma zone may go on as
// before name it and end with 3; of the others it says why there is nothing to name.
var heeding = map[string]string{
	"apply -f $DIR/mesh.yaml":                                    "",
	"apply -f $DIR/secret.yaml":                                  "",
	"apply -f $DIR/public.yaml":                                  "",
	"delete -f $DIR/mesh.yaml":                                   "",
	"delete -f $DIR/secret.yaml":                                 "",
	"delete -f $DIR/public.yaml":                                 "",
	"delete mesh payments":                                       "",
	"delete public-key ci-1 --kind zone-token":                   "",
	"delete global-secret zone-token-signing-key-1":              "",
	"delete secret dataplane-token-signing-key-default-1":        "",
	"keys activate zone-token 2":                                 "",
	"keys rotate dataplane-token --mesh default --yes":           "",
	"keys remove dataplane-token 1 --mesh default --force":       "",
	"keys remove dataplane-token 1 --mesh default --compromised": "",
	"revoke --kind zone-token id-1":                              "",
	"revoke --kind zone-token --ids-file $DIR/ids":               "",
	"revoke --token-file $DIR/egress.token":                      "",
	"revoke --kind zone-token --before 2026-11-01T00:00:00Z":     "",
	"cluster remove n2 --force --expel":                          "",
	"certs expel --reason stolen sha256:00":                      "",

	"apply -f $DIR/zone.yaml":                       "who is refused here is no matter of other zones",
	"delete zone west":                              "as before",
	"enable zone west":                              "as before",
	"disable zone west":                             "as before",
	"generate control-plane-token --zone west":      "what is issued takes nothing away",
	"generate zone-token --zone west":               "as before",
	"generate dataplane-token":                      "as before",
	"generate user-token --name jane":               "as before",
	"keys prepare zone-token":                       "a prepared key signs nothing",
	"keys retire zone-token 1 --force":              "a retiring key verifies as before",
	"snapshot restore $DIR/backup.snapshot --force": "it brings back what was, to Kuma zones too",
	"seal rotate":                                   "no zone is concerned",
	"cluster transfer-leader":                       "as before",
	"cluster readmit n2":                            "a zone that heeds no expulsion has nothing to take back",
	"certs readmit sha256:00":                       "as before",
	"cluster confirm-loss":                          "the alarm that it takes away names Kuma zones",
	"admin-token --data-dir $DIR":                   "Kuma zones take no user tokens",
}

// TestEveryCommandThatNarrowsTrustNamesKumaZones has each command meet a global whose every
// answer names a zone that does not heed the change.
func TestEveryCommandThatNarrowsTrustNamesKumaZones(t *testing.T) {
	command := func(line string) string {
		words := strings.Fields(line)
		if words[0] == "revoke" || words[0] == "admin-token" || strings.HasPrefix(words[1], "-") {
			return words[0]
		}
		return words[0] + " " + words[1]
	}
	known := map[string]bool{}
	for line := range heeding {
		known[command(line)] = true
	}
	for _, line := range changing {
		if !known[command(line)] {
			t.Errorf("global %s is in no table: what does it take away, and from which zones not?", line)
		}
	}
	for _, line := range slices.Sorted(maps.Keys(heeding)) {
		if heeding[line] != "" {
			continue
		}
		t.Run(strings.ReplaceAll(line, "$DIR/", ""), func(t *testing.T) {
			t.Parallel()
			e := newHeedless(t)
			if line == "keys activate zone-token 2" {
				e.run("keys prepare zone-token")
			}
			code, out, errs := e.run(line)
			if line == "keys activate zone-token 2" { // who forces it has seen to those zones, and hears their names
				if code, _, errs := e.run(line + " --force"); code != console.ExitOK || !strings.Contains(errs, "heedless") {
					t.Errorf("forced: exit code %d\n%s", code, errs)
				}
			}
			if code != console.ExitPending || !strings.Contains(errs, "heedless") || !strings.Contains(errs, "hint: ") {
				t.Errorf("exit code %d, want %d, and the zone named with what to do\n%s%s", code, console.ExitPending, out, errs)
			}
		})
	}
}

// newHeedless is a fake global each of whose answers to a change names the zone heedless in
// every way in which an answer can.
func newHeedless(t *testing.T) *election {
	e := newElection(t, 0)
	private, err := issue.GeneratePEM()
	if err != nil {
		t.Fatal(err)
	}
	public, err := issue.PublicPEM("key", private)
	if err != nil {
		t.Fatal(err)
	}
	text := "type: PublicKey\nkind: zone-token\nkid: ci-2\nkey: |\n  " + strings.ReplaceAll(strings.TrimSpace(string(public)), "\n", "\n  ") + "\n"
	if err := os.WriteFile(filepath.Join(e.dir, "public.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	fake := e.handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		holding := strings.HasSuffix(r.URL.Path, "/holding")
		if r.Method == http.MethodGet && !holding {
			fake.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		fake.ServeHTTP(answer, r)
		var body map[string]any
		if answer.Code/100 != 2 || json.Unmarshal(answer.Body.Bytes(), &body) != nil {
			problem(w, apitypes.Error{Status: 500, Title: "the fake", Detail: answer.Body.String()})
			return
		}
		switch h, _ := body["holding"].(map[string]any); {
		case holding:
			body["kuma"] = []string{"heedless"}
		case h != nil:
			h["kuma"] = []string{"heedless"}
		}
		body["warnings"] = []string{"heedless (Kuma 2.8.8) does not heed it"}
		body["unheeding"] = []apitypes.UnheedingZone{{Zone: "heedless", Version: "2.8.8", What: "it"}}
		reply(w, body)
	}))
	t.Cleanup(server.Close)
	e.address = server.URL
	return e
}
