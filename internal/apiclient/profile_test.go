package apiclient

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
