package issue

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

func TestSealOpensOnlyForItsRef(t *testing.T) {
	keys, _ := sealKeys(t, 1)
	material := []byte("material of a signing key")
	sealed, err := keys.Seal("c", meshRef, material)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := keys.Open("c", meshRef, sealed); err != nil || !bytes.Equal(got, material) {
		t.Fatalf("opened %q: %v", got, err)
	}
	if bytes.Contains(sealed.Ciphertext, material[:8]) {
		t.Error("the material stands in the ciphertext")
	}
	for _, ref := range []Ref{
		{cptoken.Dataplane, "default", 2}, {cptoken.Dataplane, "defaul", 1}, {cptoken.Dataplane, "default2", 1},
		{cptoken.Zone, "default", 1}, {cptoken.Zone, "", 1}, {},
		// The same bytes, cut elsewhere.
		{"dataplanedefault", "", 1}, {"dataplane\x00\x00\x00\x07default", "", 1},
	} {
		if _, err := keys.Open("c", ref, sealed); federation.AsError(err) == nil || federation.AsError(err).Reason != "damaged_seal" {
			t.Errorf("opens for %+v: %v", ref, err)
		}
	}
	for _, cluster := range []string{"", "d", "c2", "c\x00"} {
		if _, err := keys.Open(cluster, meshRef, sealed); err == nil {
			t.Errorf("opens in cluster %q", cluster)
		}
	}
	if err := keys.VerifyCheck(sealed); err == nil {
		t.Error("sealed material passes for a check value")
	}
	check, err := keys.NewCheck()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open("c", Ref{}, check); err == nil {
		t.Error("a check value opens as a key")
	}
}

func TestSealDamage(t *testing.T) {
	keys, _ := sealKeys(t, 1)
	sealed, err := keys.Seal("c", zoneRef, []byte("material"))
	if err != nil {
		t.Fatal(err)
	}
	flip := func(b []byte, i int) []byte {
		b = bytes.Clone(b)
		b[i] ^= 1
		return b
	}
	for what, s := range map[string]Sealed{
		"nonce changed":      {sealed.SealKeyID, flip(sealed.Nonce, 0), sealed.Ciphertext},
		"nonce cut":          {sealed.SealKeyID, sealed.Nonce[1:], sealed.Ciphertext},
		"no nonce":           {sealed.SealKeyID, nil, sealed.Ciphertext},
		"ciphertext changed": {sealed.SealKeyID, sealed.Nonce, flip(sealed.Ciphertext, 0)},
		"tag changed":        {sealed.SealKeyID, sealed.Nonce, flip(sealed.Ciphertext, len(sealed.Ciphertext)-1)},
		"ciphertext cut":     {sealed.SealKeyID, sealed.Nonce, sealed.Ciphertext[:4]},
		"no ciphertext":      {sealed.SealKeyID, sealed.Nonce, nil},
		"another id":         {"00000000", sealed.Nonce, sealed.Ciphertext},
		"no id":              {"", sealed.Nonce, sealed.Ciphertext},
	} {
		got, err := keys.Open("c", zoneRef, s)
		if err == nil || got != nil {
			t.Errorf("%s: opens", what)
		}
		if e := federation.AsError(err); e.Hint == "" || !strings.Contains(e.Detail, "zone/3") {
			t.Errorf("%s: %+v", what, e)
		}
	}
}

func TestSealIsFreshEachTime(t *testing.T) {
	keys, _ := sealKeys(t, 1)
	a, err1 := keys.Seal("c", zoneRef, []byte("material"))
	b, err2 := keys.Seal("c", zoneRef, []byte("material"))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if bytes.Equal(a.Nonce, b.Nonce) || bytes.Equal(a.Ciphertext, b.Ciphertext) {
		t.Error("the same nonce twice")
	}
}

func TestSealKeyRotation(t *testing.T) {
	_, oldFile := sealKeys(t, 1)
	_, newFile := sealKeys(t, 1)
	parse := func(b []byte) *SealKeys {
		k, err := ParseSealKeys(b)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	old, both, fresh := parse(oldFile), parse(slices.Concat(newFile, oldFile)), parse(newFile)
	sealed, err := old.Seal("c", zoneRef, []byte("material"))
	if err != nil {
		t.Fatal(err)
	}
	check, err := old.NewCheck()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := both.Open("c", zoneRef, sealed); err != nil {
		t.Errorf("the former key is in the file: %v", err)
	}
	if err := both.VerifyCheck(check); err != nil {
		t.Error(err)
	}
	if both.ActiveID() != fresh.ActiveID() || !slices.Equal(both.IDs(), []string{fresh.ActiveID(), old.ActiveID()}) {
		t.Errorf("ids %v", both.IDs())
	}
	for _, err := range []error{fresh.VerifyCheck(check), errOf(fresh.Open("c", zoneRef, sealed))} {
		e := federation.AsError(err)
		if e == nil || e.Reason != "unknown_seal_key" || !strings.Contains(e.Detail, old.ActiveID()) || !strings.Contains(e.Detail, fresh.ActiveID()) || e.Hint == "" {
			t.Errorf("a wrong seal key: %+v", e)
		}
	}
}

func errOf(_ []byte, err error) error { return err }

func TestParseSealKeys(t *testing.T) {
	line := func() string {
		l, err := NewSealKey()
		if err != nil {
			t.Fatal(err)
		}
		return string(l)
	}
	a, b := line(), line()
	keys, err := ParseSealKeys([]byte("# made on Monday\r\n\n  " + strings.TrimSpace(a) + "  \r\n\n#" + b + b))
	if err != nil || len(keys.IDs()) != 2 {
		t.Fatalf("%v, %v", keys, err)
	}
	raw := base64.StdEncoding.EncodeToString
	for what, file := range map[string]string{
		"nothing":        "",
		"comments":       "# a\n\n",
		"a repeated key": a + b + a,
		"31 bytes":       raw(make([]byte, 31)),
		"33 bytes":       raw(make([]byte, 33)),
		"URL base64":     strings.NewReplacer("/", "_", "+", "-").Replace(raw(bytes.Repeat([]byte{0xfb, 0xff}, 16))),
		"hexadecimal":    strings.Repeat("0a", 32),
		"no padding":     strings.TrimRight(strings.TrimSpace(a), "="),
		"two on a line":  strings.TrimSpace(a) + " " + b,
		"a comment last": strings.TrimSpace(a) + " # mine",
		"too many":       strings.Join(manyLines(t, maxSealKeys+1), ""),
		"very large":     strings.Repeat("#\n", maxSealFile),
	} {
		_, err := ParseSealKeys([]byte(file))
		if e := federation.AsError(err); e == nil || e.Code != federation.Invalid || e.Hint == "" {
			t.Errorf("%s: %+v", what, e)
		} else if n := len(file); n > 20 && n < 200 && strings.Contains(e.Detail+e.Hint, file[:16]) {
			t.Errorf("%s: the error shows the key", what)
		}
	}
}

func manyLines(t *testing.T, n int) (lines []string) {
	for range n {
		l, err := NewSealKey()
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(l))
	}
	return lines
}

func TestLoadSealKeys(t *testing.T) {
	dir := t.TempDir()
	keys, content := sealKeys(t, 2)
	path := filepath.Join(dir, "seal.key")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadSealKeys(path)
	if err != nil || loaded.ActiveID() != keys.ActiveID() {
		t.Fatalf("%v, %v", loaded, err)
	}
	for _, mode := range []os.FileMode{0o400, 0o440} { // 0440 of a group that is ours, as in Kubernetes
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadSealKeys(path); err != nil {
			t.Errorf("mode %#o: %v", mode, err)
		}
	}
	for _, mode := range []os.FileMode{0o604, 0o602, 0o644, 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadSealKeys(path)
		if e := federation.AsError(err); e == nil || !strings.Contains(e.Hint, "chmod 600") {
			t.Errorf("mode %#o: %+v", mode, e)
		}
	}
	broken := filepath.Join(dir, "broken.key")
	if err := os.WriteFile(broken, []byte("nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "absent"), broken, filepath.Join(path, "below")} {
		_, err := LoadSealKeys(path)
		if e := federation.AsError(err); e == nil || e.Code != federation.Invalid || !strings.Contains(e.Detail, path) || e.Hint == "" {
			t.Errorf("%s: %+v", path, e)
		}
	}
}

func TestNothingPrintsSecrets(t *testing.T) {
	keys, file := sealKeys(t, 1)
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(file)))
	if err != nil {
		t.Fatal(err)
	}
	cp := testKeys()[cptoken.ControlPlane]
	zone := testKeys()[cptoken.Zone]
	secretBytes := [][]byte{raw, cp.Material(), zone.secret().rsa.D.Bytes(), zone.Material()[40:200]}
	type holder struct {
		Seal  *SealKeys
		Key   *SigningKey
		inner SigningKey
		seal  SealKeys
	}
	h := holder{keys, zone, *cp, *keys}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "seal", keys, "key", zone, "cp", cp, "value", *cp, "holder", h)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "seal", keys, "key", zone, "cp", cp, "value", *cp, "holder", h)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, v := range []any{keys, *keys, zone, *zone, cp, *cp, h, &h, []*SigningKey{cp}, map[string]SigningKey{"a": *cp}} {
			fmt.Fprintf(&log, verb, v)
		}
	}
	text := log.String()
	for i, secret := range secretBytes {
		for _, form := range []string{
			string(secret[:16]), fmt.Sprintf("%x", secret[:8]), fmt.Sprintf("%X", secret[:8]),
			strings.Trim(fmt.Sprint(secret[:8]), "[]"), base64.StdEncoding.EncodeToString(secret[:15]),
		} {
			if strings.Contains(text, form) {
				at := strings.Index(text, form)
				t.Errorf("secret %d is printed: %q", i, text[max(0, at-200):at])
			}
		}
	}
	if d := zone.secret().rsa.D.String()[:20]; strings.Contains(text, d) {
		t.Error("the private exponent is printed")
	}
	for _, want := range []string{"signing key zone/3", "signing key control-plane/2", "seal keys " + keys.ActiveID()} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not printed", want)
		}
	}
}

func FuzzParseSealKeys(f *testing.F) {
	_, file := sealKeys(f, 2)
	f.Add(file)
	f.Add([]byte("# nothing\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := ParseSealKeys(data)
		if err != nil {
			return
		}
		check, err := keys.NewCheck()
		if err != nil {
			t.Fatal(err)
		}
		if err := keys.VerifyCheck(check); err != nil {
			t.Fatal(err)
		}
	})
}
