package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
)

// fakeFlags records what is set.
type fakeFlags struct {
	set    map[string]bool
	values map[string][]string
}

func (f *fakeFlags) IsSet(name string) bool { return f.set[name] }

// several is what a flag holds that may be given more than once.
type several struct{}

func (*several) Value() []string { return nil }

func (f *fakeFlags) Value(name string) any {
	if name == "global-address" {
		return several{}
	}
	return ""
}

func (f *fakeFlags) Set(name, value string) error {
	if value == "unacceptable" {
		return errors.New("no such value")
	}
	f.values[name] = append(f.values[name], value)
	return nil
}

var known = []string{"zone", "global-address", "max-stale", "global-tls", "port"}

func apply(t *testing.T, text string, set ...string) (map[string][]string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &fakeFlags{set: map[string]bool{}, values: map[string][]string{}}
	for _, name := range set {
		f.set[name] = true
	}
	_, err := Apply(path, known, f)
	return f.values, err
}

func TestApply(t *testing.T) {
	got, err := apply(t, "zone: west\nglobal-address: [\"a:1\", \"b:2\"]\nmax-stale: 5m\nglobal-tls: false\nport: 5\n", "zone")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"global-address": {"a:1", "b:2"}, "max-stale": {"5m"}, "global-tls": {"false"}, "port": {"5"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("set %v, want %v (the zone was given on the command line)", got, want)
	}
}

func TestApplyRefusesAndSetsNothing(t *testing.T) {
	for name, tc := range map[string]struct{ text, word string }{
		"unknown key":    {"zone: west\nzonne: west\n", "zonne"},
		"key twice":      {"zone: west\nzone: east\n", "it sets \"zone\" twice"},
		"a list":         {"- zone\n", "something else than names"},
		"not YAML":       {"zone: [", "not YAML"},
		"map as value":   {"zone: {a: b}\n", "zone"},
		"list of lists":  {"global-address: [[a]]\n", "global-address"},
		"null":           {"zone:\n", "zone"},
		"list for one":   {"zone: [west, east]\n", "zone takes one value, not a list"},
		"list of one":    {"port: 5\nzone: [west]\n", "zone takes one value, not a list"},
		"no value":       {"zone: []\n", "zone takes one value, not a list"},
		"a tab":          {"zone:\n\tx: 1\n", "not YAML, line 2"},
		"text alone":     {"west\n", "something else than names"},
		"far too large":  {"zone: " + strings.Repeat("x", maxFile), "larger"},
		"config in file": {"config: other.yaml\n", "config"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := apply(t, tc.text)
			if err == nil || !strings.Contains(err.Error(), tc.word) {
				t.Errorf("error %v, want one that says %q", err, tc.word)
			}
			if e := federation.AsError(err); e.Hint == "" || strings.Contains(e.Detail, "JSON") || strings.Contains(e.Detail, "\n") {
				t.Errorf("%v: hint %q", e, e.Hint)
			}
			if code := federation.CodeOf(err); code != federation.Invalid && code != federation.TooLarge {
				t.Errorf("code %s", code)
			}
			if len(got) != 0 {
				t.Errorf("set %v", got)
			}
		})
	}
}

func TestApplyNamesTheFlagThatRefuses(t *testing.T) {
	_, err := apply(t, "port: unacceptable\n")
	if err == nil || !strings.Contains(err.Error(), "port") {
		t.Errorf("got %v", err)
	}
	if _, err := Apply(filepath.Join(t.TempDir(), "absent"), known, &fakeFlags{}); err == nil {
		t.Error("an absent file was read")
	}
}

// TestSection reads a section apart, and leaves it alone otherwise.
func TestSection(t *testing.T) {
	type section struct {
		Port int `json:"port"`
		Sub  struct {
			Name string `json:"name"`
		} `json:"sub"`
	}
	read := func(text string) (s section, err error) {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f := &fakeFlags{set: map[string]bool{}, values: map[string][]string{}}
		if _, err := Apply(path, known, f, "dpServer"); err != nil {
			return s, err
		}
		err = Section(path, "dpServer", &s)
		return s, err
	}
	s, err := read("zone: west\ndpServer:\n  port: 5678\n  sub:\n    name: x\n")
	if err != nil || s.Port != 5678 || s.Sub.Name != "x" {
		t.Errorf("%+v, %v", s, err)
	}
	for _, text := range []string{"zone: west\n", "dpServer:\n", "dpServer: {}\n"} {
		if s, err := read(text); err != nil || s != (section{}) {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
	for text, want := range map[string]string{
		"dpServer:\n  prot: 1\n":            `"prot" is not a setting`,
		"dpServer:\n  sub:\n    nmae: x\n":  `"nmae" is not a setting`,
		"dpServer:\n  port: many\n":         "port holds a string",
		"dpServer: x\n":                     "dpServer",
		"dpServer:\n  port: 1\n  port: 2\n": "twice",
		"dpserver:\n  port: 1\n":            `"dpserver" is not a setting`,
	} {
		if _, err := read(text); err == nil || !strings.Contains(err.Error(), want) || federation.AsError(err).Hint == "" {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestFilesThatOthersMayWrite: what is configured may be a command to run, or whom to
// believe.
func TestFilesThatOthersMayWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("zone: west\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode := os.FileMode(0o600); mode <= 0o607; mode++ {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		f := &fakeFlags{set: map[string]bool{}, values: map[string][]string{}}
		_, err := Apply(path, known, f)
		if want := mode&0o2 == 0; (err == nil) != want || !want && (!strings.Contains(err.Error(), path) || len(f.values) > 0) {
			t.Errorf("mode %#o: %v, %v", mode, err, f.values)
		}
		if _, err := Read(path, "roles file", "--roles-file"); (err == nil) != (mode&0o2 == 0) {
			t.Errorf("mode %#o, of another form: %v", mode, err)
		}
	}
}

// TestAgain: what a file says that was changed since it was applied. What counts more than
// the file still does, and what takes a restart is named.
func TestAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("zone: west\nport: 5\nmax-stale: 5m\n")
	f := &fakeFlags{set: map[string]bool{"max-stale": true}, values: map[string][]string{}}
	a, err := Apply(path, known, f, "dpServer")
	if err != nil {
		t.Fatal(err)
	}
	write("zone: east\nport: 6\nmax-stale: 6m\ndpServer: {}\n")
	value, changed, err := a.Again("zone", f)
	if err != nil || value != "east" || !reflect.DeepEqual(changed, []string{"port"}) {
		t.Errorf("again: %q, %v, %v", value, changed, err)
	}
	if value, _, err := a.Again("max-stale", f); err != nil || value != "" {
		t.Errorf("what counts more than the file comes to %q, %v", value, err)
	}
	write("port: 5\n")
	if value, changed, err := a.Again("zone", f); err != nil || value != "" || len(changed) > 0 {
		t.Errorf("what the file says nothing of comes to %q, %v, %v", value, changed, err)
	}
	write("zoone: west\n")
	if _, _, err := a.Again("zone", f); err == nil {
		t.Error("a file with a typing error was taken")
	}
	none, err := Apply("", known, f)
	if err != nil {
		t.Fatal(err)
	}
	if value, changed, err := none.Again("zone", f); value != "" || changed != nil || err != nil {
		t.Errorf("without a file: %q, %v, %v", value, changed, err)
	}
}
