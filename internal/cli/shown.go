package cli

import (
	"fmt"
	"io"
	"math"
	"regexp"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// Sentence is a result of one line.
type Sentence string

// WriteTo implements [io.WriterTo].
func (s Sentence) WriteTo(w io.Writer) (int64, error) {
	n, err := fmt.Fprintln(w, Line(string(s)))
	return int64(n), err
}

// Tell prints what a command did, where it has no other result.
func Tell(c *cli.Context, text string) error {
	_, err := Sentence(namedOf(c.App).in(text)).WriteTo(c.App.Writer)
	return err
}

// Listing is a list as JSON and YAML show it: all pages in one.
type Listing[T any] struct {
	Total int `json:"total"`
	Items []T `json:"items"`
}

// Items returns the list as JSON and YAML show it.
func Items[T any](list []T) Listing[T] { return Listing[T]{Total: len(list), Items: list} }

// shownNames is how many names a message lists: with a thousand zones the rest
// is a number.
const shownNames = 10

// Names lists names in a sentence, and counts those that are too many.
func Names(list []string) string {
	if len(list) <= shownNames {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:shownNames], ", "), len(list)-shownNames)
}

// Group is a list of names behind what they are names of: "zones east, west". It is
// empty where there are none.
func Group(label string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	return label + " " + Names(names)
}

// Groups joins those groups that are not empty.
func Groups(groups ...string) string {
	var parts []string
	for _, g := range groups {
		if g != "" {
			parts = append(parts, g)
		}
	}
	return strings.Join(parts, "; ")
}

// Counted is a number with its noun: "1 zone", "2 zones".
func Counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Fetched says how often a key set was fetched at a zone, and when last.
func Fetched(set string, count uint64, last, now time.Time) string {
	return fmt.Sprintf("%s, %s, last %s", set, Counted(int(min(count, math.MaxInt)), "time", "times"), Moment(last, now, "never"))
}

// unquoted is what a shell takes as it stands.
var unquoted = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// Quoted writes a word as a shell reads it back.
func Quoted(word string) string {
	if unquoted.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
