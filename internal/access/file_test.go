package access

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
)

const first = `
bindings:
- role: auditor
  groups: [audit]
- role: issuer
  users: [ci]
  kinds: [zone-token]
  zones: [west]
  maxValidity: 720h
`

func TestFollowsTheFile(t *testing.T) {
	path, log := filepath.Join(t.TempDir(), "roles.yaml"), new(bytes.Buffer)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(first)
	f, err := OpenFile(path, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	may := func(p Permission) bool {
		return f.Roles().Of(Caller{Name: "x", Groups: []string{"audit"}}).Allow(p) == nil
	}
	digest := f.Roles().Digest()
	f.Check()
	if !may(Read) || may(Revoke) || f.Roles().Digest() != digest || log.Len() != 0 {
		t.Errorf("the file as it was: %s %s", f.Roles().Digest(), log)
	}
	write("bindings: [{role: revoker, groups: [audit]}]")
	f.Check()
	if may(Revoke) {
		t.Error("taken over at the first look, which may have seen half a file")
	}
	f.Check()
	if !may(Revoke) || may(Read) || f.Roles().Digest() == digest || !strings.Contains(log.String(), "role bindings were replaced") {
		t.Errorf("not taken over: %s", log)
	}
	log.Reset()
	write("bindings: [{role: king, groups: [audit]}]")
	for range 4 {
		f.Check()
	}
	if !may(Revoke) || strings.Count(log.String(), "cannot be used") != 1 {
		t.Errorf("a bad file: %s", log)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		f.Check()
	}
	if !may(Revoke) {
		t.Error("with the file gone, what was in force is not any more")
	}
}

func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	for want, text := range map[string]string{
		"holds no bindings":               "",
		"unknown member":                  "bindings: [{role: auditor, groups: [a], verbs: [all]}]",
		"not YAML":                        "bindings: [",
		"bindings[0]: role":               "bindings: [{groups: [a]}]",
		`bindings[0]: zones: are missing`: "bindings: [{role: issuer, users: [a], kinds: [zone-token]}]",
		"something else than names":       "bindings: all",
		"sets":                            "bindings: []\nbindings: []",
	} {
		path := filepath.Join(dir, "roles.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := OpenFile(path, slog.Default())
		e := federation.AsError(err)
		if err == nil || !strings.Contains(e.Error(), want) || e.Hint == "" || strings.Contains(e.Error(), "\n") || !strings.Contains(e.Error(), path) {
			t.Errorf("%q: %v (%+v)", text, err, e)
		}
	}
	open := filepath.Join(dir, "roles.yaml")
	if err := os.WriteFile(open, []byte(first), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o602, 0o622, 0o666} {
		if err := os.Chmod(open, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenFile(open, slog.Default()); err == nil || !strings.Contains(err.Error(), "written by others") || federation.AsError(err).Hint == "" {
			t.Errorf("mode %#o: %v", mode, err)
		}
	}
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(open, slog.Default()); err != nil {
		t.Errorf("mode 0644: %v", err)
	}
	if _, err := OpenFile(filepath.Join(dir, "none"), slog.Default()); err == nil {
		t.Error("a file that is not there")
	}
	var none *File
	if none.Roles().Of(Caller{Name: "x"}).Allow(AnyRole) == nil || none.Run(t.Context()) != nil {
		t.Error("no file binds somebody")
	}
}
