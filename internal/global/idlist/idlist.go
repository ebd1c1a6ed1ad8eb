// Package idlist reads lists of tokens' ids as operators send them: text, an id a line or
// between commas, up to millions of them.
package idlist

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// Bounds of a list.
const (
	MaxBytes = 256 << 20 // whoever reads a body bounds it
	maxIDs   = 5_000_000
)

// List is a list of ids, and the SHA-256 of it, an id a line, in hexadecimal.
type List struct {
	IDs    []string
	Digest string
}

// Read reads ids that are separated by line feeds or commas. Blanks around
// them and empty ones are left out. One bad id refuses the whole list and names
// its line; the body is read to its end all the same, so that the answer reaches
// a caller who is still sending.
func Read(body io.Reader) (List, error) {
	in := bufio.NewReaderSize(body, 64<<10)
	sum := sha256.New()
	list, word, line := List{}, make([]byte, 0, cptoken.MaxIDLen), 1
	for {
		b, err := in.ReadByte()
		if err == nil && b != ',' && b != '\n' {
			if len(word) <= 2*cptoken.MaxTokenBytes { // enough to tell what it is
				word = append(word, b)
			}
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return List{}, unreadable(err)
		}
		if id := strings.TrimSpace(string(word)); id != "" {
			if why := Bad(id); why != "" || len(list.IDs) == maxIDs {
				if why == "" {
					return List{}, drained(in, federation.Errorf(federation.TooLarge, "the list has more than %d ids", maxIDs))
				}
				return List{}, drained(in, federation.InvalidField("ids", "line %d %s", line, why).
					WithHint("nothing was changed: correct the line and send the list again"))
			}
			list.IDs = append(list.IDs, id)
			_, _ = io.WriteString(sum, id+"\n") // a hash takes everything
		}
		if err != nil {
			list.Digest = hex.EncodeToString(sum.Sum(nil))
			return list, nil
		}
		if word = word[:0]; b == '\n' {
			line++
		}
	}
}

// drained reads the rest of a body and returns the error.
func drained(in io.Reader, err error) error {
	_, _ = io.Copy(io.Discard, in) // the answer is settled
	return err
}

func unreadable(err error) error {
	var own *federation.Error
	if errors.As(err, &own) {
		return err
	}
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return federation.Errorf(federation.TooLarge, "the list has more than %d bytes", MaxBytes).WithHint("send it in several pieces")
	}
	return federation.Errorf(federation.Invalid, "the list could not be read to its end, and nothing was changed: %w", err)
}

// Bad says what is wrong with an id, without repeating it: somebody may have
// put a whole token there. It is "" for a good one.
func Bad(id string) string {
	switch {
	case strings.HasPrefix(id, "eyJ") && strings.Count(id, ".") >= 2:
		return "is a token, not a token's id: the id is the claim jti, shown by global inspect token"
	case len(id) > cptoken.MaxIDLen:
		return "is longer than an id, which has at most 128 bytes"
	case cptoken.ValidateID("ids", id) != nil:
		return "is not a token's id: ids have no blanks and stand between commas, and sha256: is followed by 64 hexadecimal digits"
	}
	return ""
}

// Unique checks the ids of a field and leaves out repetitions. It repeats no id in its
// errors, for the same reason.
func Unique(field string, ids []string) ([]string, error) {
	seen := make(map[string]bool, len(ids))
	unique := make([]string, 0, len(ids))
	for i, id := range ids {
		why := Bad(id)
		if id == "" {
			why = "is empty"
		}
		if why != "" {
			return nil, federation.InvalidField(field, "id number %d %s", i+1, why)
		}
		if !seen[id] {
			seen[id] = true
			unique = append(unique, id)
		}
	}
	return unique, nil
}
