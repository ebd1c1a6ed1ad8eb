package apiclient

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/meridiankds/meridian/federation"
)

// maxToken bounds a token: verifiers refuse longer ones.
const maxToken = 8 << 10

// ReadToken reads the token that a file holds, blanks around it taken off; "-"
// is standard input. The error names the file and shows nothing of its content.
func ReadToken(path string, stdin io.Reader) (string, error) {
	if path == "-" {
		return readToken("standard input", stdin)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", unreadable(path, err)
	}
	defer f.Close()
	return readToken(path, f)
}

func readToken(name string, r io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxToken+1024))
	if err != nil {
		return "", unreadable(name, err)
	}
	token, err := ParseToken(name, string(data))
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

// ParseToken checks that s, blanks around it taken off, can be a token: one word
// of printable ASCII, 8 KiB at most. An empty s is an empty token. name says
// where it came from.
func ParseToken(name, s string) (string, error) {
	s = strings.TrimSpace(s)
	if len(s) > maxToken {
		return "", federation.Errorf(federation.TooLarge, "%s holds more than %d bytes: that is no token", name, maxToken).
			WithHint("it must hold the token as `global generate` printed it, and nothing else")
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return "", federation.Errorf(federation.Invalid, "%s does not hold one token alone", name).
				WithHint("it must hold the token as `global generate` printed it, and nothing else")
		}
	}
	return s, nil
}
