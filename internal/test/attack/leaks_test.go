package attack

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
)

// TestNothingOfTheAttacksIsWrittenDown shows good tokens and forgeries to every port,
// and then searches the logs of global and zone at debug level, both metrics, Go's
// profiles, the audit trail, the zone's folder and the answers for the tokens and for the bytes of every
// private key. A log that does not have the line of a refusal would prove nothing.
func TestNothingOfTheAttacksIsWrittenDown(t *testing.T) {
	f := start(t)
	needles := map[string][]byte{}
	token := func(name, raw string) {
		parts := strings.Split(raw, ".")
		if signature := parts[len(parts)-1]; len(signature) > 40 {
			needles[name] = []byte(signature[:40])
		}
	}
	var said strings.Builder
	for _, p := range f.ports() {
		token("the good token for "+p.name, p.token)
		said.WriteString(p.show(p.token).text)
		list := forgeries(t, f, p)
		for _, name := range slices.Sorted(maps.Keys(list)) {
			token(name+" for "+p.name, list[name])
			said.WriteString(p.show(list[name]).text)
		}
	}
	token("west's control plane token", f.west.Token)
	for _, k := range f.global.Node.Store().Keys() {
		signer, err := f.global.Node.Store().Signer(k.ID.Kind, k.ID.Mesh)
		if err != nil {
			t.Fatal(err)
		}
		secret := signer.Material()
		if parsed, err := x509.ParsePKCS8PrivateKey(secret); err == nil {
			secret = parsed.(*rsa.PrivateKey).D.Bytes()
		}
		needles["key "+k.ID.String()] = secret
		needles["key "+k.ID.String()+" in hexadecimal"] = []byte(hex.EncodeToString(secret))
		needles["key "+k.ID.String()+" in base64"] = []byte(base64.StdEncoding.EncodeToString(secret[:len(secret)/3*3]))
	}
	if len(needles) < 60 {
		t.Fatalf("%d needles only", len(needles))
	}

	places := map[string][]byte{"the logs": []byte(f.log.String()), "the answers": []byte(said.String())}
	if !bytes.Contains(places["the logs"], []byte("bad_signature")) {
		t.Fatal("the logs have no refusal: the search would prove nothing")
	}
	for name, address := range map[string]string{"the global's": f.global.Node.Endpoints().Diagnostics, "the zone's": f.west.Node.Endpoints().Diagnostics} {
		resp := f.http(http.MethodGet, "http://"+address+"/metrics", "", "")
		if !resp.ok {
			t.Fatalf("%s metrics: %s", name, resp.text)
		}
		places[name+" metrics"] = []byte(resp.text)
	}
	trail := f.http(http.MethodGet, "http://"+f.global.Node.Endpoints().API+"/v1/audit?limit=1000", f.ports()[0].token, "")
	if !trail.ok {
		t.Fatalf("the audit trail: %s", trail.text)
	}
	places["the audit trail"] = []byte(trail.text)
	// What --pprof serves, made here: this process holds every secret of both.
	for _, profile := range pprof.Profiles() {
		for _, debug := range []int{0, 2} {
			var b bytes.Buffer
			if err := profile.WriteTo(&b, debug); err != nil {
				t.Fatal(err)
			}
			places["profile "+profile.Name()] = append(places["profile "+profile.Name()], b.Bytes()...)
		}
	}
	err := filepath.WalkDir(f.west.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		places[path] = text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for place, text := range places {
		for name, needle := range needles {
			if bytes.Contains(text, needle) {
				t.Errorf("%s: found %s", place, name)
			}
		}
	}
}
