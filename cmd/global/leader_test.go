package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/test/tempdir"
)

// The commands of the program, each with how it is called in the test below. $DIR has
// the files that newElection writes; --address is added.
var (
	// changing send a request that changes something, or that a leader may be needed for.
	changing = []string{
		"generate control-plane-token --zone west",
		"generate zone-token --zone west",
		"generate dataplane-token",
		"generate user-token --name jane",
		"apply -f $DIR/zone.yaml",
		"apply -f $DIR/mesh.yaml",
		"apply -f $DIR/secret.yaml",
		"delete zone west",
		"delete mesh payments",
		"delete public-key ci-1 --kind zone-token",
		"delete global-secret zone-token-signing-key-1",
		"delete secret dataplane-token-signing-key-default-1",
		"keys rotate user-token --yes",
		"keys prepare zone-token",
		"keys activate zone-token 1",
		"keys retire zone-token 1 --force",
		"keys remove zone-token 1 --force",
		"revoke --kind zone-token id-1",
		"revoke --token-file $DIR/egress.token",
		"revoke --kind zone-token --ids-file $DIR/ids",
		"revoke --kind zone-token --ids-file -",
		"revoke --kind zone-token --before now",
		"revoke --kind zone-token --withdraw id-1",
		"revoke --kind zone-token --withdraw --cut-off",
		"snapshot restore $DIR/backup.snapshot --force",
		"seal rotate",
		"seal rotate --cluster-secret",
		"cluster transfer-leader",
		"cluster remove b --force",
		"cluster readmit b",
		"enable zone west",
		"disable zone west",
		"cluster confirm-loss",
		"certs expel --reason stolen sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		"certs readmit sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		"admin-token --data-dir $DIR",
	}
	// reading ask a global and change nothing.
	reading = []string{
		"get global-secrets", "get secrets", "get meshes", "get zones", "get public-keys", "get revocations", "get cut-offs",
		"get audit", "get tokens", "get request 7d444840-9dc0-41d1-b245-5ffdce74fad2",
		"status", "inspect zones", "inspect zone west", "keys list", "snapshot save $DIR/saved", "seal status", "cluster status", "certs expelled", "certs trusted", "who-am-i", "version",
		"support dump $DIR/support.tar.gz",
		"log-level", // what it sets is the asked member's own affair, and waits for no leader
	}
	// local ask no global.
	local = []string{
		"dev", "server", "completion", "complete-words", "man", "health", "inspect token", "snapshot inspect", "cluster recover",
		"generate signing-key", "generate public-key", "generate seal-key",
		"config use", "config set", "config get", "config list", "config delete",
		"certs ca", "certs node", "certs zone", "certs user", "certs cluster", "certs show",
	}
)

// TestChangesWaitForALeader has each command that changes something meet a member that
// has just lost its leader: it succeeds, by sending the same request again.
func TestChangesWaitForALeader(t *testing.T) {
	for _, line := range changing {
		t.Run(strings.ReplaceAll(line, "$DIR/", ""), func(t *testing.T) {
			t.Parallel()
			e := newElection(t, 1)
			code, out, errs := e.run(line)
			if code != 0 {
				t.Fatalf("exit code %d\n%s%s", code, out, errs)
			}
			if strings.TrimSpace(out) == "" {
				t.Error("nothing says what was done")
			}
			if len(e.changes) < 2 || e.changes[0] != e.changes[1] {
				t.Errorf("changes were sent with the ids %q, want the first two alike", e.changes)
			}
			if !strings.Contains(errs, "no leader is known at present; trying again") {
				t.Errorf("nobody was told:\n%s", errs)
			}
		})
	}
	for _, line := range reading {
		t.Run(strings.ReplaceAll(line, "$DIR/", ""), func(t *testing.T) {
			t.Parallel()
			e := newElection(t, 0)
			if code, out, errs := e.run(line); code != console.ExitOK && code != console.ExitPending || len(e.changes) > 0 {
				t.Errorf("exit code %d, %d requests that change something\n%s%s", code, len(e.changes), out, errs)
			}
		})
	}
	known := func(command string) bool {
		for _, line := range append(append(local, reading...), changing...) {
			if line == command || strings.HasPrefix(line, command+" ") {
				return true
			}
		}
		return false
	}
	leaves(newApp(console.IO{}).Commands, nil, func(words []string, _ *cli.Command) {
		if command := strings.Join(words, " "); !known(command) {
			t.Errorf("global %s is in no table: does it change something?", command)
		}
	})
}

// election is a fake global whose member finds no leader for the first changes.
type election struct {
	dir, address string
	handler      http.Handler

	mu      sync.Mutex
	left    int
	changes []string // ids of the requests other than GET
}

func newElection(t *testing.T, refusals int) *election {
	t.Helper()
	dir := tempdir.Short(t)
	e := &election{dir: dir, left: refusals}
	for name, text := range map[string]string{
		"zone.yaml":    "type: Zone\nname: west\nenabled: true\n",
		"mesh.yaml":    "type: Mesh\nname: payments\n",
		"secret.yaml":  "type: GlobalSecret\nname: zone-token-revocations\ndata: aWQtMQ==\n",
		"ids":          "id-1\n",
		"egress.token": unsigned(`{"alg":"RS256","kid":"1"}`, `{"Zone":"west","Scope":["egress"],"exp":2110684516,"jti":"id-1"}`),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(filepath.Join("..", "..", "raftstore", "testdata", "golden", "1", "backup.snapshot"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "backup.snapshot"), golden, 0o600); err != nil {
		t.Fatal(err)
	}
	fake := newFake(filepath.Join(dir, "requests"))
	fake.shy = 0
	fake.backups(filepath.Join(dir, "backup.snapshot"))
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && e.refuses(r) {
			problem(w, apitypes.Error{Status: 503, Title: "Unavailable", Detail: "no leader is known at present", Reason: "no_leader"})
			return
		}
		fake.ServeHTTP(w, r)
	})
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	e.address, e.handler = server.URL, handler
	listener, err := net.Listen("unix", filepath.Join(dir, "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	socket := httptest.NewUnstartedServer(handler)
	socket.Listener.Close()
	socket.Listener = listener
	socket.Start()
	t.Cleanup(socket.Close)
	return e
}

// refuses notes a change, and says whether it finds no leader.
func (e *election) refuses(r *http.Request) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changes = append(e.changes, r.Header.Get("X-Request-Id"))
	e.left--
	return e.left >= 0
}

// run runs a command line against the fake, with one id on standard input.
func (e *election) run(line string) (code int, out, errs string) {
	args := strings.Fields(strings.ReplaceAll(line, "$DIR", e.dir))
	if args[0] != "admin-token" {
		args = append(args, "--address", e.address)
	}
	return runWith("id-1\n", args...)
}
