package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/test/tempdir"
)

var update = flag.Bool("update", false, "write the golden files anew")

// mistakes are what people type; the golden file has what each is answered.
var mistakes = []string{
	"status --address http://$GLOBAL",
	"status --address http://127.0.0.1:1",
	"status --address zone.example.com",
	"status --data-dir $DIR/global",
	"status --data-dir $DIR/empty",
	"health --data-dir $DIR/global",
	"verify --token-file $DIR/any.token --data-dir $DIR/global",
	"verify --token-file $DIR/any.token --dp-address https://127.0.0.1:1",
	"verify --token-file $DIR/nowhere.token",
	"stauts",
	"get proxys",
	"dev",
	"dev West_",
	"dev west --global-data-dir $DIR/empty",
	"dev west --global-data-dir $DIR/other",
	"dev west --global-data-dir $DIR/long",
	"server --zone west --data-dir $DIR/new --global-address g",
	"server --zone west --data-dir $DIR/new --global-address ::1:5685",
	"server --zone west --data-dir $DIR/new --global-address g:5685 --api-addr 127.0.0.1:99999",
	"server --zone west --data-dir $DIR/new --global-address g:5685 --ca-file $DIR/nowhere.crt",
	"server --zone west --data-dir $DIR/new --global-address g:5685 --dp-cert-file x",
	"server --config $DIR/typo.yaml",
	"proxy run --proxy-type sidecar --dataplane-file $DIR/dp.yaml",
	"proxy run",
}

// TestMistakes holds what each of the mistakes is answered against the golden file: what
// happened and where in the first line, and what to do in the second.
func TestMistakes(t *testing.T) {
	dir := tempdir.Short(t)
	global := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(apitypes.HeaderService, "global")
		io.WriteString(w, `{"node":"n1"}`)
	}))
	t.Cleanup(global.Close)
	vars := map[string]string{"DIR": dir, "GLOBAL": global.Listener.Addr().String()}
	for name, e := range map[string]endpoints.Endpoints{
		"global": {API: "127.0.0.1:1", KDS: "127.0.0.1:2", AdminSocket: "/nowhere/admin.sock"},
		"long":   {API: "127.0.0.1:1", KDS: "127.0.0.1:2"},
		"other":  {API: "127.0.0.1:1"},
		"empty":  {},
	} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if name == "empty" {
			continue
		}
		if err := e.Write(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"any.token": "a.b.c\n", "typo.yaml": "gloabl-address: g:1\n", "dp.yaml": "type: Dataplane\nname: a\nmesh: default\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hide := strings.NewReplacer(vars["GLOBAL"], "$GLOBAL", dir, "$DIR")
	var got strings.Builder
	for _, line := range mistakes {
		words := strings.Fields(os.Expand(line, func(name string) string { return vars[name] }))
		code, out, errs := runApp(words...)
		if code == console.ExitOK || code == console.ExitPending || out != "" {
			t.Errorf("zone %s: exit %d, on standard output: %s", line, code, out)
		}
		said := ""
		for l := range strings.Lines(hide.Replace(errs)) {
			if !strings.HasPrefix(l, "time=") { // what a server logs while it begins
				said += l
			}
		}
		if strings.Count(said, "\n") != 2 || !strings.HasPrefix(said, "zone: error: ") || !strings.Contains(said, "\nzone: hint: ") {
			t.Errorf("zone %s is not answered by what happened and what to do:\n%s", line, said)
		}
		fmt.Fprintf(&got, "$ zone %s\n%s\n", line, said)
	}
	golden := filepath.Join("testdata", "mistakes.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("not as in %s (-update writes it anew):\n%s", golden, got.String())
	}
}

// TestEveryServerFlagHasAVariable: what can be said on the command line of a server can be
// said in its environment.
func TestEveryServerFlagHasAVariable(t *testing.T) {
	for _, f := range serverFlags() {
		if doc, ok := f.(cli.DocGenerationFlag); !ok || len(doc.GetEnvVars()) != 1 || !strings.HasPrefix(doc.GetEnvVars()[0], "ZONE_") {
			t.Errorf("zone server: --%s has no variable of its own", f.Names()[0])
		}
	}
}
