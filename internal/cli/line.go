package cli

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/meridiankds/meridian/internal/redact"
)

// maxLine bounds one line of a message in runes: what another machine sent as a
// detail must not scroll the operator's screen away.
const maxLine = 1000

// Line returns s as one line that is safe to show: control and formatting
// characters become blanks, runs of blanks one blank, anything shaped like a
// token is blotted out, and what is longer than 1000 characters is cut.
func Line(s string) string {
	var b strings.Builder
	n, blank := 0, true // a leading blank is dropped
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			r = ' '
		}
		if r == ' ' {
			if blank {
				continue
			}
			blank = true
		} else {
			blank = false
		}
		if n++; n > maxLine {
			b.WriteString("…")
			break
		}
		b.WriteRune(r)
	}
	return redact.Token.ReplaceAllString(strings.TrimRight(b.String(), " "), "<token>")
}

// LooksSecret reports whether an argument has the shape of something that must
// not be one: other users of the machine read arguments in the process table,
// and shells keep them.
func LooksSecret(arg string) bool {
	return redact.Token.MatchString(arg) || redact.PrivateKey.MatchString(arg)
}
