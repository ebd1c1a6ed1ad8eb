package apiclient

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/endpoints"
)

// TestSettingsAreWhatCounts: for every mix of flags, environment and profile, what is shown as
// the settings is what a command uses, and a profile's token goes to its own address alone.
func TestSettingsAreWhatCounts(t *testing.T) {
	t.Chdir(t.TempDir())
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	flagToken, envToken, profileToken := file("of-the-flag"), file("of-the-environment"), file("of-the-profile")
	const flagged, variable, kept = "https://flag.example:1", "https://env.example:2", "https://profile.example:3"
	for mix := range 32 {
		has := func(bit int) bool { return mix&(1<<bit) != 0 }
		flags, environment := Flags{}, map[string]string{}
		flags.Profile = Profile{Name: "prod", Address: kept, TokenFile: profileToken, CAFile: "profile.crt"}
		if has(0) {
			flags.Address = flagged
		}
		if has(1) {
			flags.TokenFile = flagToken
		}
		if has(2) {
			environment["GLOBAL_ADDRESS"] = variable
		}
		if has(3) {
			environment["GLOBAL_TOKEN_FILE"] = envToken
		}
		flags.ProfileByFlag = has(4)
		env := func(name string) string { return environment[name] }
		target, err := Resolve(API("global"), flags, env, strings.NewReader(""))
		if err != nil {
			t.Fatalf("mix %b: %v", mix, err)
		}
		shown := map[string]Setting{}
		for _, s := range flags.Settings(API("global"), env) {
			shown[s.Name] = s
		}
		used := ""
		if path := shown["token-file"].Value; path != "" {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			used = string(data)
		}
		if shown["address"].Value != target.Address || used != target.token || shown["ca-file"].Value != target.CAFile {
			t.Errorf("mix %b: settings %v, but asked is %s with the token %q and the CA %q", mix, shown, target.Address, target.token, target.CAFile)
		}
		if target.token == "of-the-profile" && target.Address != kept {
			t.Errorf("mix %b: the profile's token goes to %s", mix, target.Address)
		}
		want := map[bool]string{true: kept, false: variable}[flags.ProfileByFlag || !has(2)]
		if has(0) {
			want = flagged
		}
		if target.Address != want || (target.Profile == "prod") != (target.Address == kept) {
			t.Errorf("mix %b: asked is %s of profile %q, want %s", mix, target.Address, target.Profile, want)
		}
	}
}

// TestAMissingFileOfAProfileIsNamed: who gave no file's name learns whose it is, of each that a
// profile has.
func TestAMissingFileOfAProfileIsNamed(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"jane.token", "own.crt", "own.key"} {
		if err := os.WriteFile(name, []byte("a-token"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for flag, set := range map[string]func(*Profile){
		"token-file": func(p *Profile) { p.TokenFile = "gone" },
		"ca-file":    func(p *Profile) { p.CAFile = "gone" },
		"cert-file":  func(p *Profile) { p.CertFile, p.KeyFile = "gone", "own.key" },
		"key-file":   func(p *Profile) { p.CertFile, p.KeyFile = "own.crt", "gone" },
	} {
		for _, byFlag := range []bool{false, true} {
			flags := Flags{Profile: Profile{Name: "prod", Address: "https://profile.example:3"}, ProfileByFlag: byFlag}
			set(&flags.Profile)
			target, err := Resolve(API("global"), flags, func(string) string { return "" }, strings.NewReader(""))
			if err == nil {
				_, err = NewGlobal(target, "global/test")
			}
			e := federation.AsError(err)
			if e == nil || !strings.Contains(e.Detail, "profile prod: its "+flag+" is not there: gone") || !strings.Contains(e.Hint, "global config set prod --"+flag+" FILE") {
				t.Errorf("%s, by a flag %v: %+v", flag, byFlag, e)
			}
		}
	}
}

// TestAKilledNodesFolder: what a node left behind that was killed is taken for that, whoever
// answers at its address by now.
func TestAKilledNodesFolder(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(apitypes.HeaderService, "global")
		w.WriteHeader(http.StatusNotFound)
	}))
	defer other.Close()
	dir := t.TempDir()
	for address, want := range map[string]string{
		strings.TrimPrefix(other.URL, "http://"): "no zone runs in " + dir + " any more: at " + other.URL + ", where it was, answers a global",
		"127.0.0.1:1":                            "cannot reach the zone at http://127.0.0.1:1",
	} {
		if err := (endpoints.Endpoints{API: address, DP: "127.0.0.1:2"}).Write(dir); err != nil {
			t.Fatal(err)
		}
		target, err := Resolve(API("zone"), Flags{DataDir: dir}, func(string) string { return "" }, strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		zone, err := NewZone(target, "zone/test")
		if err != nil {
			t.Fatal(err)
		}
		_, err = zone.Status(t.Context())
		e := federation.AsError(err)
		if e == nil || !strings.Contains(e.Error(), want) || !strings.Contains(e.Hint, "start it there") {
			t.Errorf("%s: %v, hint %q", address, err, e.Hint)
		}
	}
}
