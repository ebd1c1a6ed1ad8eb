package main

import (
	"crypto/tls"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/test/tempdir"
)

var update = flag.Bool("update", false, "write the golden files anew")

// mistakes are what people type, $NAME being what newMistakes sets up. The golden file has
// what each is answered.
var mistakes = []string{
	// The wrong port, scheme or address.
	"get zones --address https://$PEER --ca-file $DIR/ca.crt",
	"get zones --address https://$KDS --ca-file $DIR/ca.crt",
	"get zones --address http://$TLS",
	"get zones --address https://$PLAIN",
	"get zones --address https://$TLS",
	"get zones --address http://$SILENT",
	"get zones --address http://$ZONE",
	"health --diagnostics-addr http://$ZONE",
	"get zones --address http://127.0.0.1:1",
	"get zones --address global.example.com",
	"get zones --address ::1",
	"get zones --address ::1:5681",
	"get zones --address http://::1:5681",
	"get zones --address ftp://global:5681",
	"get zones --address http://me:pw@global:5681",
	"get zones --address unix://$LONG/admin.sock",
	"get zones --data-dir $DIR/zone",
	"get zones --data-dir $DIR/empty",
	"get zones --ca-file $DIR/nowhere.crt --address https://$TLS",
	"get zones --ca-file $DIR/egress.token --address https://$TLS",
	"get zones --cert-file $DIR/node.crt --address https://$TLS",
	// Tokens.
	"get zones --token-file $DIR/nowhere.token --address http://$PLAIN",
	"get zones --token-file $DIR/nothing --address http://$PLAIN",
	"get zones --token-file /dev/zero --address http://$PLAIN",
	"get zones --token-file $DIR/any.token --address http://10.0.0.1:5681",
	"get zones --token-file $DIR/bad.token --address http://$PLAIN",
	"inspect token $TOKEN",
	"inspect token $DIR/nowhere.token",
	"admin-token --data-dir $DIR/empty",
	"admin-token --data-dir $LONG",
	// Words and flags.
	"gte zones",
	"get zoness",
	"keys",
	"keys lst",
	"get zones --adress http://$PLAIN",
	"get zones --output",
	"get zones -oxml",
	"get zones extra words",
	"get zone wset --address http://$PLAIN",
	"delete zone",
	"delete zone a/b",
	"delete zone west east",
	"keys rotate nonsense",
	"keys rotate dataplane-token --mesh=",
	"keys rotate zone-token --mesh default",
	"keys activate zone-token",
	"generate zone-token",
	"generate zone-token --zone A",
	"generate zone-token --zone west --valid-for soon",
	"generate zone-token --zone west --valid-for -1h",
	"generate user-token",
	"generate user-token --name jane --for-zone ,",
	"revoke",
	"cluster remove",
	"cluster transfer-leader a b",
	// Files of resources.
	"apply",
	"apply -f $DIR/nowhere.yaml",
	"apply -f $DIR/empty",
	"apply -f $DIR/nothing",
	"apply -f $DIR/typo.yaml",
	"apply -f $DIR/quoted.yaml",
	"apply -f $DIR/tab.yaml",
	"apply -f $DIR/twice.yaml",
	"apply -f $DIR/kubernetes.yaml",
	"apply -f $DIR/typeless.yaml",
	"apply -f $DIR/kind.yaml",
	"apply -f $DIR/nameless.yaml",
	"apply -f $DIR/list.yaml",
	"apply -f $DIR/second.yaml",
	"apply -f $DIR/base64.yaml",
	"delete -f $DIR/typo.yaml",
	// Backups.
	"snapshot save $DIR/any.token",
	"snapshot save $DIR/empty",
	"snapshot save $DIR/no/such/directory",
	"snapshot inspect $DIR/any.token",
	"snapshot inspect $DIR/nowhere",
	// Servers.
	"dev --api-addr foo",
	"dev --kds-addr 127.0.0.1:99999",
	"dev --peer-addr ::",
	"dev --advertise :5683",
	"dev --log-level error --data-dir $DIR/zone",
	"dev now",
	"dev --log-level loud",
	"server --config $DIR/nowhere.yaml",
	"server --config $DIR/settings.yaml",
	"server --config $DIR/tab.yaml",
	"server --log-level error --data-dir $DIR/new",
	"server --log-level error --data-dir $DIR/new --tls-cert-file $DIR/zone.crt --tls-key-file $DIR/zone.key --ca-file $DIR/ca.pem --seal-key-file $DIR/seal.key",
	"server --log-level error --data-dir $DIR/new --tls-cert-file $DIR/node.crt --tls-key-file $DIR/node.key --ca-file $DIR/ca.pem",
	"server --log-level error --data-dir $DIR/new --tls-cert-file $DIR/node.crt --tls-key-file $DIR/node.key --ca-file $DIR/ca.pem --seal-key-file $DIR/nowhere.key",
	"server --log-level error --data-dir $DIR/new --tls-cert-file $DIR/node.crt --tls-key-file $DIR/zone.key --ca-file $DIR/ca.pem --seal-key-file $DIR/seal.key",
}

// TestMistakes holds what each of the mistakes is answered against the golden file: what
// happened and where in the first line, and what to do in the second.
func TestMistakes(t *testing.T) {
	vars := newMistakes(t)
	hide := strings.NewReplacer(vars.reverse()...)
	var got strings.Builder
	for _, line := range mistakes {
		words := strings.Fields(vars.expand(line))
		code, out, errs := runApp(words...)
		if code == console.ExitOK || code == console.ExitPending || out != "" {
			t.Errorf("global %s: exit %d, on standard output: %s", line, code, out)
		}
		said := hide.Replace(errs)
		if strings.Count(said, "\n") != 2 || !strings.HasPrefix(said, "global: error: ") || !strings.Contains(said, "\nglobal: hint: ") {
			t.Errorf("global %s is not answered by what happened and what to do:\n%s", line, said)
		}
		fmt.Fprintf(&got, "$ global %s\n%s\n", line, said)
	}
	if len(mistakes) < 60 {
		t.Errorf("only %d mistakes", len(mistakes))
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
	wants := strings.SplitAfter(string(want), "\n\n")
	for i, answer := range strings.SplitAfter(got.String(), "\n\n") {
		if i >= len(wants) || answer != wants[i] {
			t.Errorf("not as in %s (-update writes it anew):\n%s", golden, answer)
		}
	}
}

// setting is what stands for the words that differ from run to run.
type setting map[string]string

// expand puts the values in. Longer names come first.
func (s setting) expand(line string) string {
	return os.Expand(line, func(name string) string { return s[name] })
}

// reverse lists the values with their names.
func (s setting) reverse() (pairs []string) {
	for _, name := range []string{"LONG", "TOKEN", "PEER", "KDS", "TLS", "PLAIN", "ZONE", "SILENT", "DIR"} {
		pairs = append(pairs, s[name], "$"+name)
	}
	return pairs
}

// newMistakes sets up what the mistakes are made with.
func newMistakes(t *testing.T) setting {
	t.Helper()
	dir := tempdir.Short(t)
	s := setting{"DIR": dir, "LONG": filepath.Join(dir, strings.Repeat("x", 150-len(dir)-1)) /* as long wherever dir is */, "TOKEN": "eyJhbGciOiJSUzI1NiJ9.eyJOYW1lIjoiamFuZSJ9.c2ln"}
	var ca []byte
	serve := func(name string, secure bool, h http.HandlerFunc) {
		server := httptest.NewUnstartedServer(h)
		server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail on purpose
		if name == "PEER" {
			server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
		}
		if secure {
			server.StartTLS()
			ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}) // the same for all
		} else {
			server.Start()
		}
		t.Cleanup(server.Close)
		s[name] = server.Listener.Addr().String()
	}
	fake := newFake(filepath.Join(dir, "requests"))
	serve("PLAIN", false, fake.ServeHTTP)
	serve("TLS", true, fake.ServeHTTP)
	serve("ZONE", false, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(apitypes.HeaderService, "zone")
		problem(w, apitypes.Error{Status: 404, Title: "Not Found", Detail: "nothing at /zones"})
	})
	// As grpc-go answers what is no call.
	serve("KDS", true, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.WriteHeader(http.StatusMethodNotAllowed)
	})
	serve("PEER", true, fake.ServeHTTP)
	serve("SILENT", false, func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
	writeMistakes(t, dir, string(ca))
	return s
}

// writeMistakes writes the files that the mistakes name.
func writeMistakes(t *testing.T, dir, ca string) {
	t.Helper()
	authority, err := tlsutil.NewClusterAuthority("prod", time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"ca.pem": string(authority.CertPEM()), "ca.crt": ca,
		"any.token": "a.user.token\n", "bad.token": "a-bad-token\n", "egress.token": "a.zone.token\n", "nothing": "",
		"seal.key":        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
		"typo.yaml":       "type: Zone\nname: west\nenable: false\n",
		"quoted.yaml":     "type: Zone\nname: west\nenabled: \"no\"\n",
		"tab.yaml":        "type: Zone\nname: west\nrelay:\n\tmeshes: [default]\n",
		"twice.yaml":      "type: Zone\nname: west\nenabled: true\nname: east\n",
		"kubernetes.yaml": "apiVersion: kuma.io/v1alpha1\nkind: Zone\nmetadata:\n  name: west\n",
		"typeless.yaml":   "tpye: Zone\nname: west\n",
		"kind.yaml":       "type: Zome\nname: west\n",
		"nameless.yaml":   "type: Mesh\n",
		"list.yaml":       "- type: Zone\n  name: west\n",
		"second.yaml":     "type: Zone\nname: west\n---\n# the other\ntype: Zone\nname: east\nrelay:\n  meshes: default\n",
		"base64.yaml":     "type: GlobalSecret\nname: zone-token-revocations\ndata: an-id,another\n",
		"settings.yaml":   "data-dri: /var/lib/meridian\n",
		"zone/zone.db":    "",
	}
	for role, name := range map[tlsutil.Role]string{tlsutil.RoleNode: "node", tlsutil.RoleZone: "zone"} {
		cert, key, err := authority.IssueFor(tlsutil.Identity{Cluster: "prod", Role: role, Name: "west"}, []string{"127.0.0.1"}, time.Hour, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		files[name+".crt"], files[name+".key"] = string(cert), string(key)
	}
	for _, name := range []string{"zone", "empty"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	zone := endpoints.Endpoints{API: "127.0.0.1:1", DP: "127.0.0.1:2"}
	if err := zone.Write(filepath.Join(dir, "zone")); err != nil {
		t.Fatal(err)
	}
}
