package support

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/metrics"
	"github.com/meridiankds/meridian/internal/runlog"
)

// unpacked returns the files of an archive by the name behind its directory.
func unpacked(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	files, in := map[string]string{}, tar.NewReader(zip)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		dir, name, ok := strings.Cut(h.Name, "/")
		if !ok || !strings.HasPrefix(dir, "support-global-") || h.Mode != 0o600 {
			t.Errorf("the archive has %s, mode %o", h.Name, h.Mode)
		}
		files[name] = string(data)
	}
}

const (
	token = "eyJhbGciOiJSUzI1NiJ9.eyJOYW1lIjoiamFuZSJ9.c2lnbmF0dXJl"
	key   = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"
)

// TestArchive fills a source with secrets and names wherever a careless line could have put
// them, and searches the archive.
func TestArchive(t *testing.T) {
	log, err := runlog.New(io.Discard, "text", "debug")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("api request", "caller", "jane.doe@example.com", "zone", "west", "name", "ann-of-sales", "token", token)
	log.Warn("refused", "error", `user "quoted-user" may not do this`, "cause", "ann-of-sales went away", "detail", "Authorization: Bearer abcdefgh")
	log.Error("broken", "error", key, "unlisted", "a-proxy-name")
	s := &Source{
		Program: "global", Version: "v1.2.3", Node: "n1", Settings: map[string]string{"api-addr": "127.0.0.1:5681", "stray": token},
		Metrics: metrics.New().Gathered(), Log: log, Now: time.Now,
	}
	answers := map[string]Answer{
		"status.json": func(w http.ResponseWriter, _ *http.Request) error {
			return json.NewEncoder(w).Encode(map[string]any{"zone": "west", "items": []any{map[string]any{"by": "jane.doe@example.com", "note": key}}, "stray": token})
		},
		"gone.json": func(http.ResponseWriter, *http.Request) error {
			return federation.Errorf(federation.Unavailable, "no leader")
		},
	}
	archive := func(subjects bool) map[string]string {
		data, err := s.Archive(t.Context(), subjects, answers)
		if err != nil {
			t.Fatal(err)
		}
		return unpacked(t, data)
	}
	files := archive(false)
	for _, name := range []string{"version.json", "settings.json", "status.json", "gone.json", "metrics.txt", "log.jsonl",
		"profiles/goroutine.txt", "profiles/heap.pb.gz", "profiles/threadcreate.txt", "profiles/cpu.pb.gz"} {
		if files[name] == "" {
			t.Errorf("%s is missing or empty", name)
		}
	}
	for name, want := range map[string]string{
		"version.json": "v1.2.3", "settings.json": "127.0.0.1:5681", "status.json": "west", "gone.json": "no leader", "metrics.txt": "go_goroutines",
		"log.jsonl": `"zone":"west"`, "profiles/goroutine.txt": "TestArchive",
	} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s has no %s:\n%s", name, want, files[name])
		}
	}
	secretParts := []string{"eyJhbGciOiJSUzI1NiJ9", "c2lnbmF0dXJl", "MIIEowIBAAKCAQEA", "abcdefgh"}
	names := []string{"jane.doe", "ann-of-sales", "quoted-user", "a-proxy-name"}
	for name, text := range files {
		for _, bad := range append(secretParts, names...) {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %q in it:\n%s", name, bad, text)
			}
		}
	}
	all := ""
	for name, text := range archive(true) {
		all += text
		for _, bad := range secretParts {
			if strings.Contains(text, bad) {
				t.Errorf("with subjects: %s has %q in it", name, bad)
			}
		}
	}
	for _, name := range names {
		if !strings.Contains(all, name) {
			t.Errorf("with subjects: there is no %s", name)
		}
	}
}

// TestOneArchiveAtATime: the second who asks is told to come again.
func TestOneArchiveAtATime(t *testing.T) {
	s := &Source{Program: "global", Metrics: metrics.New().Gathered(), Now: time.Now}
	s.making.Lock()
	_, err := s.Archive(t.Context(), false, nil)
	if e := federation.AsError(err); e == nil || e.Reason != "busy" || e.RetryAfter == 0 {
		t.Errorf("the second got %v", err)
	}
	var none *Source
	if _, err := none.Archive(t.Context(), false, nil); err == nil {
		t.Error("a process without a source made an archive")
	}
}
