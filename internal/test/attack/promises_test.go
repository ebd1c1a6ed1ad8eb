package attack

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
)

// promises are the sentences of SECURITY.md that say "cannot", each by a part of it, and the
// tests that try what they exclude.
var promises = map[string][]string{
	"Who lacks the seal key, or a running":           {"internal/global/peer.TestForgedProofs", "raftstore.TestNoPrivateKeyOnDisk", "raftstore.TestBackupHoldsNoPrivateKey"},
	"A stranger on any port gets no answer":          {"internal/test/attack.TestForgeriesOnEveryPort", "internal/test/attack.TestSilentConnectionsHinderNobody", "internal/net/preauth.TestAFloodIsBounded"},
	"It cannot be used at the global, nor as a":      {"internal/test/attack.TestAStolenZoneTokenOpensNothingElse"},
	"It cannot be used for another zone, at an API":  {"internal/test/attack.TestAStolenZoneTokenOpensNothingElse", "internal/test/cluster.TestOneZonesTokenSpeaksForNoOther"},
	"at the global they cannot be used for anything": {"internal/test/cluster.TestZoneRelaysTokens", "internal/global/adminapi.TestRelayBounds"},
	"It cannot sign a token: `zone.db`":              {"internal/test/cluster.TestPrivateKeysStayAtTheGlobal"},
	"which cannot be opened without the seal key":    {"raftstore.TestNoPrivateKeyOnDisk", "internal/test/cluster.TestNothingSecretIsLeftBehind"},
	"It cannot read or write the replicated state":   {"internal/test/attack.TestAMembersCertificateOpensNothing", "internal/global/peer.TestNoMembersGetNoAnswer", "internal/global/peer.TestWhatIsNoPeer"},
	"An expelled certificate cannot pose":            {"internal/test/cluster.TestAZoneRefusesAnExpelledGlobal"},
	"A connection cannot outlive the CA":             {"internal/test/cluster.TestADroppedCAEndsConnections", "internal/test/cluster.TestAZoneLeavesAGlobalWhoseCAIsDropped", "internal/net/tlsutil.TestCallersLeaveADroppedCA", "internal/global/peer.TestReviewEndsConnections"},
	"restore a backup of before the theft":           nil, // what an operator cannot trust, no promise
	"It cannot be shown for another zone or user":    {"internal/test/attack.TestEachPortTakesOneRole", "internal/test/attack.TestNobodyIsTakenForAnother"},
	"It cannot sign anything without the seal key":   {"raftstore.TestBackupHoldsNoPrivateKey", "raftstore.TestBackupsThatNobodyVouchesFor"},
	"It cannot read a private key":                   {"internal/test/cluster.TestPrivateKeysStayAtTheGlobal", "internal/global/adminapi.TestRoutesByRole"},
	"a backup cannot be written that is":             {"raftstore.TestAFormerGenerationWritesNoBackup"},
	"A token that is made for a zone":                {"internal/test/cluster.TestZoneRelaysTokens"},
	"It cannot change anything, and no answer":       {"internal/test/attack.TestTheDiagnosticsPortTellsNoSecret"},
	"It cannot be a member, since that takes":        {"internal/global/peer.TestForgedProofs", "internal/test/attack.TestAMembersCertificateOpensNothing"},
}

// recoveries are the sections of SECURITY.md with commands, and the tests that play them.
var recoveries = map[string][]string{
	"A proxy's token":                               {"internal/test/cluster.TestRecoveriesAsWritten"},
	"A zone's control plane token":                  {"internal/test/cluster.TestRecoveriesAsWritten"},
	"A zone: its host, its disk, its control plane": {"internal/test/cluster.TestRecoveriesAsWritten"},
	"A member's certificate and key":                {"internal/test/cluster.TestRotationsUnderLoad", "internal/test/cluster.TestAZoneRefusesAnExpelledGlobal"},
	"A member's disk, with the seal key":            {"internal/test/cluster.TestAnExpelledMemberIsRefused", "internal/test/cluster.TestRecoveriesAsWritten"},
	"A zone's or a user's certificate":              {"internal/test/cluster.TestAnExpelledCertificateIsRefused"},
	"The seal key":                                  {"internal/test/cluster.TestRecoveriesAsWritten", "internal/test/cluster.TestRotationsUnderLoad"},
	"The cluster secret":                            {"internal/test/cluster.TestRotationsUnderLoad"},
	"An operator's token":                           {"internal/test/cluster.TestRecoveriesAsWritten"},
}

// TestEveryCannotIsTried holds each sentence of SECURITY.md that says "cannot", and each
// recovery, against the tests that try it: one that is not in the tables fails, and so does
// one of the tables that SECURITY.md does not have, or whose test does not exist.
func TestEveryCannotIsTried(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	before, _, ok := strings.Cut(string(data), "## What holds this")
	if !ok {
		t.Fatal("SECURITY.md has no section What holds this")
	}
	text := regexp.MustCompile("(?s)```.*?```").ReplaceAllString(before, ".")
	used := map[string]bool{}
	for _, paragraph := range regexp.MustCompile(`\n\s*\n|\n(?:\d+\. |\| |#+ )`).Split(text, -1) {
		for _, sentence := range regexp.MustCompile(`[.:] |[.:]$`).Split(strings.Join(strings.Fields(paragraph), " ")+" ", -1) {
			if !strings.Contains(sentence, "cannot") {
				continue
			}
			found := false
			for part := range promises {
				if strings.HasPrefix(sentence, strings.TrimSuffix(strings.Split(part, ": ")[0], ".")) || strings.Contains(sentence, part) {
					found, used[part] = true, true
				}
			}
			if !found {
				t.Errorf("SECURITY.md promises what no test is named for: %q", sentence)
			}
		}
	}
	for part, tests := range promises {
		if !used[part] {
			t.Errorf("SECURITY.md does not say %q", part)
		}
		exist(t, tests)
	}
	for _, section := range strings.Split(before, "\n### ")[1:] {
		title, body, _ := strings.Cut(section, "\n")
		if _, known := recoveries[title]; strings.Contains(body, "```sh") && !known {
			t.Errorf("the recovery %q is played by no test", title)
		}
	}
	for title, tests := range recoveries {
		if !strings.Contains(before, "\n### "+title+"\n") {
			t.Errorf("SECURITY.md has no section %q", title)
		}
		exist(t, tests)
	}
}

// exist fails for tests that are not there.
func exist(t *testing.T, tests []string) {
	t.Helper()
	for _, name := range tests {
		dir, test, _ := strings.Cut(name, ".")
		if !strings.Contains(testsOf(t, filepath.Join("..", "..", "..", filepath.FromSlash(dir))), "func "+test+"(") {
			t.Errorf("%s does not exist", name)
		}
	}
}

// TestTheDiagnosticsPortTellsNoSecret asks the diagnostics ports of a global and of a zone for
// everything that the APIs do, as a stranger and as an administrator, and for all that is
// there: nothing is changed, and no answer has a token or a key in it.
func TestTheDiagnosticsPortTellsNoSecret(t *testing.T) {
	f := start(t)
	admin := f.global.Issue(cptoken.Claims{Kind: cptoken.User, Name: "ann", Groups: []string{"admin"}}, 10*time.Minute)
	secrets := []string{admin, f.west.Token, f.global.ZoneToken("west", cptoken.ScopeEgress)}
	_, before := f.global.Node.Store().Head()
	for name, port := range map[string]string{"global": f.global.Node.Endpoints().Diagnostics, "zone": f.west.Node.Endpoints().Diagnostics} {
		var seen strings.Builder
		for _, token := range []string{"", admin} {
			for _, r := range routes {
				got := f.http(r.method, "http://"+port+r.path, token, r.body)
				if got.ok && r.method != http.MethodGet {
					t.Errorf("%s: %s %s is answered", name, r.method, r.path)
				}
				seen.WriteString(got.text)
			}
			for _, path := range []string{"/", "/healthy", "/ready", "/health", "/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars"} {
				seen.WriteString(f.http("GET", "http://"+port+path, token, "").text)
			}
		}
		for _, secret := range secrets {
			if signature := secret[strings.LastIndex(secret, ".")+1:]; strings.Contains(seen.String(), signature[:20]) {
				t.Errorf("%s: a token is in an answer of the diagnostics port", name)
			}
		}
		for _, word := range []string{"PRIVATE KEY", "BEGIN CERTIFICATE"} {
			if strings.Contains(seen.String(), word) {
				t.Errorf("%s: %q is in an answer of the diagnostics port", name, word)
			}
		}
	}
	if _, after := f.global.Node.Store().Head(); after != before {
		t.Errorf("the state has moved from %s to %s", before, after)
	}
}
