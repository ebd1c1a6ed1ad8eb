package main

import (
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/test/tempdir"
)

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != "global" { // no test asks a cluster of who runs it
		os.Setenv("XDG_CONFIG_HOME", filepath.Join(os.TempDir(), "no-profiles"))
	}
	testscript.Main(m, map[string]func(){"global": func() { os.Exit(execute()) }})
}

// TestScripts runs the scripts in testdata/script, each against a fake global of
// its own. It listens on GLOBAL_ADDRESS, with TLS on TLS_ADDRESS (CA ca.crt), on
// an admin socket in the data folder "node", and writes what it is asked to the
// file "requests". The data folder "killed" names its plain port as well. $EGRESS is a file with a zone token, $OPERATOR one with a user
// token.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setup,
		WorkdirRoot:         tempdir.Short(t), // it has sockets
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"status": status, "cmpago": cmpAgo},
	})
}

func setup(env *testscript.Env) error {
	if err := private(env.WorkDir); err != nil {
		return err
	}
	fake := newFake(filepath.Join(env.WorkDir, "requests"))
	plain := httptest.NewServer(fake)
	env.Defer(plain.Close)
	secure := httptest.NewUnstartedServer(fake)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail on purpose
	secure.StartTLS()
	env.Defer(secure.Close)
	dir := filepath.Join(env.WorkDir, "node")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "admin.sock"))
	if err != nil {
		return err
	}
	socket := httptest.NewUnstartedServer(fake)
	socket.Listener.Close()
	socket.Listener = listener
	socket.Start()
	env.Defer(socket.Close)

	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	files := map[string]string{
		"ca.crt": string(ca), "admin.token": "the-admin-token\n", "node/admin.token": "the-node-token\n",
		"egress.token":   unsigned(`{"alg":"RS256","kid":"1","typ":"JWT"}`, `{"Zone":"west","Scope":["egress"],"exp":2110684516,"nbf":1795324216,"iat":1795324516,"jti":"d602fcb4-c4e4-44d6-8fad-1c40fb97c3ca"}`),
		"operator.token": unsigned(`{"alg":"RS256","kid":"1","typ":"JWT"}`, `{"Name":"jane","Groups":["admin"],"exp":2110684516,"iat":1795324516,"jti":"u-1"}`),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(env.WorkDir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	golden := filepath.Join("..", "..", "raftstore", "testdata", "golden", "1")
	if err := os.CopyFS(filepath.Join(env.WorkDir, "golden"), os.DirFS(golden)); err != nil {
		return err
	}
	fake.backups(filepath.Join(env.WorkDir, "golden", "backup.snapshot"))
	node := endpoints.Endpoints{
		API: plain.Listener.Addr().String(), Diagnostics: plain.Listener.Addr().String(),
		AdminTokenFile: filepath.Join(dir, "admin.token"), AdminSocket: filepath.Join(dir, "admin.sock"),
	}
	if err := node.Write(dir); err != nil {
		return err
	}
	// "killed" is what a node leaves behind whose ports somebody else has by now.
	killed := filepath.Join(env.WorkDir, "killed")
	if err := os.Mkdir(killed, 0o700); err != nil {
		return err
	}
	if err := node.Write(killed); err != nil {
		return err
	}
	// A program with the race detector sleeps a second before it ends, for races of
	// goroutines that outlive main; a script starts dozens of them.
	env.Setenv("GORACE", "atexit_sleep_ms=20")
	env.Setenv("GLOBAL_ADDRESS", plain.URL)
	env.Setenv("TLS_ADDRESS", secure.URL)
	env.Setenv("DIAGNOSTICS", plain.Listener.Addr().String())
	return nil
}

// status is "status CODE PROGRAM…": exec for an exit code that is neither 0 nor
// just any other.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status CODE PROGRAM [ARGS…]")
	}
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != args[0] {
		ts.Fatalf("the program ended with %v, want exit code %s", err, args[0])
	}
}

// ages are how far away times are, which differ from day to day.
var ages = regexp.MustCompile(`\([^()]* ago\)`)

// cmpAgo is "cmpago stdout FILE": cmp with every "(… ago)" as "(AGO)".
func cmpAgo(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cmpago stdout FILE")
	}
	got, want := ages.ReplaceAllString(ts.ReadFile(args[0]), "(AGO)"), ts.ReadFile(args[1])
	if got != want {
		ts.Fatalf("got:\n%s\nwant:\n%s", got, want)
	}
}

// private makes a script's files private to this user, as what holds tokens should be.
func private(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return os.Chmod(path, 0o600)
	})
}
