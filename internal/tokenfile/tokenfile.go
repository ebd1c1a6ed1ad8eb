// Package tokenfile reads the files in which tokens are kept, for both servers, the
// agent and the command line alike. What editors and other tools make of a token, a
// byte order mark, UTF-16, quotes or base64, is refused by name: a server would try it
// for ever as a token that nobody accepts.
package tokenfile

import (
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
)

// maxToken bounds a token: verifiers refuse longer ones.
const maxToken = cptoken.MaxTokenBytes

// Malformed is the reason of an error about what a file holds, not about whether it can
// be read: no waiting makes a token of it.
const Malformed = "malformed_token_file"

// Read reads the token that a file holds, blanks around it taken off. The error names
// the file and shows nothing of its content. A file that others may write is refused;
// warn is told of one that others may read, nil: nobody is.
func Read(path string, warn func(string)) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", unreadable(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", unreadable(path, err)
	}
	warning, err := disk.CheckToken("token file", path, info)
	if err != nil {
		return "", err
	}
	if warning != "" && warn != nil {
		warn(warning)
	}
	return ReadFrom(path, f)
}

// ReadArgument is Read for what a command line names: "-" is standard input.
func ReadArgument(path string, stdin io.Reader, warn func(string)) (string, error) {
	if path == "-" {
		return ReadFrom("standard input", stdin)
	}
	return Read(path, warn)
}

// Hopeless reports whether an error of this package is about a file that stays unusable
// until somebody changes it. One that is absent or empty may be on its way.
func Hopeless(err error) bool {
	e := federation.AsError(err)
	return e != nil && (e.Reason == Malformed || e.Reason == disk.TooOpen)
}

// Follow returns a reader of a file that may be replaced while the program runs. A file
// that is unusable until somebody changes it is an error at once. warn is told once of a
// file that others may read.
func Follow(path string, warn func(string)) (read func() (string, error), err error) {
	var once sync.Once
	read = func() (string, error) {
		// A pipe gives its token once, and opening one that nobody writes to never ends.
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			return "", federation.Errorf(federation.Invalid, "%s is no file, and a token that may be replaced must be in one", path).
				WithReason(Malformed).WithHint("write the token into a file, and replace that by a rename")
		}
		return Read(path, func(text string) { once.Do(func() { warn(text) }) })
	}
	if _, err := read(); Hopeless(err) {
		return nil, err
	}
	return read, nil
}

// ReadFrom reads a token from a stream; name says in errors what it is.
func ReadFrom(name string, r io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, 2*maxToken+1024)) // of UTF-16, enough to know it by
	if err != nil {
		return "", unreadable(name, err)
	}
	token, err := Parse(name, string(data))
	if err == nil && token == "" {
		err = federation.Errorf(federation.Invalid, "%s is empty: a token was expected", name).
			WithHint("did the command that should have written it fail?")
	}
	return token, err
}

func unreadable(name string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return federation.Errorf(federation.Invalid, "reading a token from %s: %w", name, err).
		WithHint("name a file that holds the token and nothing else")
}

// Parse checks that s, blanks around it taken off, can be a token: one word of the
// characters that tokens are made of, 8 KiB at most, whole where it begins as every JWT
// does. An empty s is an empty token. name says where it came from.
func Parse(name, s string) (string, error) {
	if what, hint := disguise(s); what != "" {
		return "", federation.Errorf(federation.Invalid, "%s holds %s, not a token alone", name, what).
			WithReason(Malformed).WithHint("%s", hint)
	}
	s = strings.TrimSpace(s)
	if len(s) > maxToken {
		return "", federation.Errorf(federation.TooLarge, "%s holds more than %d bytes: that is no token", name, maxToken).
			WithReason(Malformed).WithHint("%s", asPrinted)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(letters, r) }) {
		return "", federation.Errorf(federation.Invalid, "%s does not hold one token alone", name).
			WithReason(Malformed).WithHint("%s", asPrinted)
	}
	if strings.HasPrefix(s, begins) && !isWhole(s) {
		return "", federation.Errorf(federation.Invalid, "%s holds a part of a token, or several run together, not a token alone", name).
			WithReason(Malformed).WithHint("%s", asPrinted)
	}
	return s, nil
}

const (
	// letters are what a JWT is made of.
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
	// begins is the base64 of a JSON object's beginning, as every JWT has it.
	begins = "eyJ"
)

// isWhole reports whether a text has the three parts of a JWT.
func isWhole(s string) bool {
	parts := strings.Split(s, ".")
	for _, part := range parts {
		if _, err := base64.RawURLEncoding.DecodeString(part); err != nil || part == "" {
			return false
		}
	}
	return len(parts) == 3
}

const asPrinted = "it must hold the token as `global generate` printed it, and nothing else"

// disguise names what a text is that is not a token but was made of one.
func disguise(s string) (what, hint string) {
	trimmed := strings.TrimSpace(s)
	switch {
	case strings.HasPrefix(s, "\xef\xbb\xbf"):
		return "a byte order mark", "write the file without a byte order mark (UTF-8 without BOM)"
	case strings.HasPrefix(s, "\xff\xfe"), strings.HasPrefix(s, "\xfe\xff"), halfNUL(s):
		return "UTF-16", "write the file as ASCII or UTF-8; in PowerShell: Out-File -Encoding ascii"
	case len(trimmed) > 1 && strings.ContainsAny(trimmed[:1], `"'`+"`") && trimmed[len(trimmed)-1] == trimmed[0]:
		return "a token in quotes", "take the quotes away"
	case strings.HasPrefix(trimmed, "Bearer "):
		return "a header's value", "take the word Bearer away"
	case isBase64(trimmed):
		return "a token in base64", "decode it: base64 -d"
	}
	return "", ""
}

// halfNUL reports whether every other byte is NUL, as in the UTF-16 of ASCII.
func halfNUL(s string) bool {
	if len(s) < 4 || len(s)%2 != 0 {
		return false
	}
	var even, odd int
	for i := range len(s) / 2 {
		if s[2*i] == 0 {
			even++
		}
		if s[2*i+1] == 0 {
			odd++
		}
	}
	half := len(s) / 2
	return even == half && odd == 0 || odd == half && even == 0
}

// isBase64 reports whether a text is the base64 of a token, as a Kubernetes secret shows
// one. A token itself has dots, which base64 has not.
func isBase64(s string) bool {
	if len(s) < 16 || strings.Contains(s, ".") {
		return false
	}
	plain := strings.NewReplacer("\r", "", "\n", "", "=", "", "-", "+", "_", "/").Replace(s)
	data, err := base64.RawStdEncoding.DecodeString(plain)
	if err != nil {
		return false
	}
	if what, _ := disguise(string(data)); what != "" {
		return true
	}
	return isWhole(strings.TrimSpace(string(data)))
}
