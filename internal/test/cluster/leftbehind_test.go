package cluster

import (
	"archive/tar"
	"compress/gzip"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// crashes starts a program in a folder of its own that would have a core file of it, with
// a traceback of everything.
func crashes(dir string) []string {
	return []string{"bash", "-c", `cd "$0" && ulimit -S -c "$(ulimit -H -c)" && GOTRACEBACK=crash exec "$@"`, dir}
}

// profiles are what --pprof serves, the processor's for as short as it goes.
var profiles = []string{"heap", "heap?debug=1", "allocs?debug=1", "goroutine?debug=1", "goroutine?debug=2", "block?debug=1",
	"mutex?debug=1", "threadcreate?debug=1", "cmdline", "profile?seconds=1", "trace?seconds=1"}

// TestNothingSecretIsLeftBehind runs a global and a zone as processes with --pprof and all
// that they can log, on keys that this test made, shows them good and bad tokens, and
// crashes both. Their logs with the tracebacks of the crash, profiles, metrics, audit
// trail and folders are searched for tokens and key bytes, and there is no core file.
func TestNothingSecretIsLeftBehind(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("skipped: no bash on this machine, which starts the programs")
	}
	c := newNodes(t, 1)
	cores := map[string]string{}
	for _, name := range []string{"global", "zone"} {
		cores[name] = c.path("cwd-" + name)
		if err := os.Mkdir(cores[name], 0o700); err != nil {
			t.Fatal(err)
		}
	}
	g := c.all[0]
	g.wrap, g.extra = crashes(cores["global"]), []string{"--pprof", "--log-level", "debug"}
	g.start()
	c.awaitVoters(1)
	secrets := ownKeys(t, g)
	z := &zoneProcess{of: c, name: "west", dir: c.path("zone-west"), wrap: crashes(cores["zone"]), extra: []string{"--pprof", "--log-level", "debug"}}
	cp := g.must("generate", "control-plane-token", "--zone", "west")
	c.file("west.cp", []byte(cp))
	z.start()

	revoked := z.token(g, "revoked")
	z.await(revoked, "accepted")
	g.must("revoke", "--token-file", revoked)
	z.await(revoked, "revoked")
	user := c.file("user.token", []byte(g.must("generate", "user-token", "--name", "ann", "--group", "admin", "--valid-for", "1h")))
	tokens := map[string]string{"west's control plane token": cp}
	for name, file := range map[string]string{"a revoked token": revoked, "a good token": z.token(g, "good"), "a user token": user} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tokens[name] = string(data)
		tokens[name+", forged"] = strings.TrimSpace(string(data))[:len(data)-30] + strings.Repeat("A", 28)
	}
	for name, token := range tokens {
		token = strings.TrimSpace(token)
		signature := token[strings.LastIndex(token, ".")+1:]
		secrets[name] = []byte(signature[:40])
		z.verify(c.file("shown.token", []byte(token)))
		bearer(t, "http://"+g.endpoints(g.dir).API+"/v1/status", token)
		bearer(t, "http://"+z.endpoints(z.dir).API+"/v1/status", token)
	}

	for who, at := range map[string]string{"the global": g.endpoints(g.dir).Diagnostics, "the zone": z.endpoints(z.dir).Diagnostics} {
		for _, profile := range profiles {
			secrets.search(t, who+"'s profile "+profile, fetched(t, "http://"+at+"/debug/pprof/"+profile))
		}
		secrets.search(t, who+"'s metrics", fetched(t, "http://"+at+"/metrics"))
	}
	ofZone, said, err := command(z.programs().zone, "support", "dump", "-", "--with-subjects", "--data-dir", z.dir)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	for who, archive := range map[string]string{
		"the global": g.must("support", "dump", "-", "--with-subjects"),
		"the zone":   ofZone,
	} {
		searchArchive(t, secrets, who, archive, "log.jsonl", "status.json", "settings.json", "profiles/goroutine.txt")
	}
	if archive := unpack(t, g.must("support", "dump", "-")); strings.Contains(archive["log.jsonl"], `"ann"`) {
		t.Errorf("the archive names a user that nobody asked for:\n%s", archive["log.jsonl"])
	}
	audit := g.must("get", "audit", "--limit", "1000", "-o", "json")
	if !strings.Contains(audit, "zone-token-signing-key-7") && !strings.Contains(audit, "zone/7") {
		t.Errorf("the audit trail does not have the imported key: the search would prove nothing\n%s", audit)
	}
	secrets.search(t, "the audit trail", []byte(audit))

	for name, p := range map[string]*process{"global": g.process, "zone": z.process} {
		if err := p.cmd.Process.Signal(syscall.SIGABRT); err != nil {
			t.Fatal(err)
		}
		_ = p.cmd.Wait() // "signal: aborted" is what was asked for
		if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.CoreDump() {
			t.Errorf("the %s ended with %s", name, p.cmd.ProcessState)
		}
		if files, err := os.ReadDir(cores[name]); err != nil || len(files) > 0 {
			t.Errorf("the %s left %v behind (%v)", name, files, err)
		}
		log := p.log.String()
		if !strings.Contains(log, "SIGABRT") || !strings.Contains(log, "goroutine ") || !strings.Contains(log, "level=DEBUG") {
			t.Errorf("the log of the %s has no traceback or no debug lines: the search would prove nothing", name)
		}
		secrets.search(t, "the log of the "+name, []byte(log))
	}
	secrets.searchFolder(t, z.dir)
	secrets.searchFolder(t, g.dir)
}

// searchArchive unpacks an archive for maintainers and searches its files, some of which must
// be there.
func searchArchive(t *testing.T, secrets needles, who, archive string, must ...string) {
	t.Helper()
	files := unpack(t, archive)
	for _, name := range must {
		if files[name] == "" {
			t.Errorf("%s's archive has no %s: the search would prove nothing", who, name)
		}
	}
	for name, data := range files {
		secrets.search(t, who+"'s "+name, []byte(data))
	}
}

// unpack returns the files of a .tar.gz by their names without its directory, those that are
// compressed once more uncompressed.
func unpack(t *testing.T, archive string) map[string]string {
	t.Helper()
	gunzip := func(r io.Reader) io.Reader {
		zip, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		return zip
	}
	files, in := map[string]string{}, tar.NewReader(gunzip(strings.NewReader(archive)))
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		from := io.Reader(in)
		if strings.HasSuffix(h.Name, ".gz") {
			from = gunzip(in)
		}
		data, err := io.ReadAll(from)
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(h.Name, "/")
		files[name] = string(data)
	}
}

// ownKeys replaces the signing keys of a global by ones that this test made, so that it
// knows their bytes.
func ownKeys(t *testing.T, g *node) needles {
	t.Helper()
	secrets := needles{}
	for name, bits := range map[string]int{"zone-token-signing-key-7": 2048, "user-token-signing-key-7": 2048, "control-plane-signing-key-0007": 0} {
		var data []byte
		if bits > 0 {
			key, err := rsa.GenerateKey(rand.Reader, bits)
			if err != nil {
				t.Fatal(err)
			}
			der, err := x509.MarshalPKCS8PrivateKey(key)
			if err != nil {
				t.Fatal(err)
			}
			secrets.addKey(t, name, der)
			data = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
		} else {
			data = make([]byte, 32)
			if _, err := rand.Read(data); err != nil {
				t.Fatal(err)
			}
			secrets.add(name, data)
		}
		file := g.of.file(name+".yaml", []byte("type: GlobalSecret\nname: "+name+"\ndata: "+base64.StdEncoding.EncodeToString(data)+"\n"))
		g.must("apply", "-f", file)
	}
	seal, err := os.ReadFile(filepath.Join(g.of.dir, "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(seal)))
	if err != nil {
		t.Fatal(err)
	}
	secrets.add("the seal key", raw)
	return secrets
}

// bearer shows a token to an HTTP port; the answer does not matter.
func bearer(t *testing.T, url, token string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// fetched is what a URL serves, which must be something.
func fetched(t *testing.T, url string) []byte {
	t.Helper()
	client := &http.Client{Timeout: 2 * time.Minute}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || len(data) == 0 {
		t.Fatalf("%s: %s, %d bytes, %v", url, resp.Status, len(data), err)
	}
	return data
}
