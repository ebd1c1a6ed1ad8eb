package tokenfile

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf16"

	"github.com/meridiankds/meridian/federation"
)

// token has the form of one.
const token = "eyJhbGciOiJSUzI1NiJ9.eyJab25lIjoid2VzdCJ9.c2lnbmF0dXJl"

// inUTF16 is a text as editors of another system write it.
func inUTF16(s string, bigEndian bool) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune("\ufeff" + s)) {
		low, high := byte(unit), byte(unit>>8)
		if bigEndian {
			low, high = high, low
		}
		b.WriteByte(low)
		b.WriteByte(high)
	}
	return b.String()
}

func TestWhatOthersMakeOfATokenIsRefusedByName(t *testing.T) {
	wrapped := base64.StdEncoding.EncodeToString([]byte(token))
	for content, word := range map[string]string{
		"\xef\xbb\xbf" + token + "\r\n":                     "byte order mark",
		inUTF16(token+"\n", false):                          "UTF-16",
		inUTF16(token+"\n", true):                           "UTF-16",
		inUTF16(token, false)[2:]:                           "UTF-16", // without a mark
		`"` + token + `"` + "\n":                            "quotes",
		"'" + token + "'":                                   "quotes",
		"Bearer " + token:                                   "header",
		wrapped + "\n":                                      "base64",
		wrapped[:20] + "\n" + wrapped[20:]:                  "base64",
		base64.RawURLEncoding.EncodeToString([]byte(token)): "base64",
		token + "\n" + token:                                "one token alone",
		token + "\xa0":                                      "one token alone",
		strings.Repeat("a", maxToken+1):                     "more than",
		token + token:                                       "run together",
		token[:30]:                                          "part of a token",
		strings.TrimSuffix(token, "c2lnbmF0dXJl"):           "part of a token",
		strings.ReplaceAll(token, ".", "%2E"):               "one token alone",
		`{"token":"` + token + `"}`:                         "one token alone",
		`token=` + token:                                    "one token alone",
		base64.StdEncoding.EncodeToString([]byte("\xef\xbb\xbf" + token)):   "base64",
		base64.StdEncoding.EncodeToString([]byte(inUTF16(token, false))):    "base64",
		base64.StdEncoding.EncodeToString([]byte(`"` + token + `"` + "\n")): "base64",
		base64.StdEncoding.EncodeToString([]byte(wrapped)):                  "base64",
	} {
		path := filepath.Join(t.TempDir(), "west.token")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Read(path, nil)
		e := federation.AsError(err)
		if got != "" || e == nil || e.Reason != Malformed || !strings.Contains(e.Detail, word) || !strings.Contains(e.Detail, path) {
			t.Errorf("%q: %q, %v, want an error about %q", content, got, err, word)
			continue
		}
		if text := e.Detail + e.Hint; strings.Contains(text, "eyJ") || e.Hint == "" {
			t.Errorf("%q: the error shows it, or has no hint: %s", content, text)
		}
	}
}

func TestTokensAreRead(t *testing.T) {
	for _, content := range []string{token, token + "\n", " " + token + "\r\n", "one-word"} {
		if got, err := Parse("here", content); err != nil || got != strings.TrimSpace(content) {
			t.Errorf("%q: %q, %v", content, got, err)
		}
	}
	if _, err := ReadFrom("here", strings.NewReader(" \n")); err == nil || !strings.Contains(err.Error(), "is empty") || federation.AsError(err).Reason != "" {
		t.Errorf("nothing: %v", err)
	}
	if _, err := Read(filepath.Join(t.TempDir(), "nowhere"), nil); err == nil || federation.AsError(err).Reason != "" {
		t.Errorf("no file: %v", err)
	}
}

func TestRightsOfTokenFiles(t *testing.T) {
	for mode, want := range map[os.FileMode]struct {
		ok     bool
		warned int
	}{0o600: {true, 0}, 0o400: {true, 0}, 0o644: {true, 1}, 0o604: {true, 1}, 0o666: {false, 0}, 0o602: {false, 0}} {
		path := filepath.Join(t.TempDir(), "west.token")
		if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		warned := 0
		if _, err := Read(path, func(string) { warned++ }); (err == nil) != want.ok || warned != want.warned {
			t.Errorf("mode %#o: %v, %d warnings", mode, err, warned)
		}
	}
}

// somebodyWrites has a token written to a pipe as soon as it is read, and returns what
// ends that.
func somebodyWrites(t *testing.T, pipe string) (end func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f, err := os.OpenFile(pipe, os.O_WRONLY, 0) // waits for a reader
		if err != nil {
			return
		}
		defer f.Close()
		_, _ = f.WriteString(token)
	}()
	return func() {
		f, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		<-done
	}
}

// TestWhatIsFollowedIsAFile: a pipe gives its token once, and one that nobody writes to
// would never let the program start.
func TestWhatIsFollowedIsAFile(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	paths := []string{dir, os.DevNull}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Logf("no named pipe can be made here: %v", err)
	} else {
		paths = append(paths, pipe)
		defer somebodyWrites(t, pipe)()
	}
	for _, path := range paths {
		if _, err := Follow(path, func(string) {}); err == nil || !Hopeless(err) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	path := filepath.Join(dir, "west.token")
	read, err := Follow(path, func(string) {})
	if err != nil {
		t.Fatalf("a file that is on its way: %v", err)
	}
	// As Kubernetes swaps what it mounts.
	if err := os.WriteFile(filepath.Join(dir, "next"), []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("next", path); err != nil {
		t.Fatal(err)
	}
	if got, err := read(); err != nil || got != token {
		t.Errorf("through a link: %q, %v", got, err)
	}
	if err := os.Chmod(filepath.Join(dir, "next"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := read(); !Hopeless(err) {
		t.Errorf("others may write what the link leads to: %v", err)
	}
}
