package main

import (
	"strings"
	"testing"

	"github.com/meridiankds/meridian/internal/test/hints"
)

// TestHintsNameCommandsThatExist holds every command line that the source tells
// operators to type against this program's commands and flags.
func TestHintsNameCommandsThatExist(t *testing.T) {
	mentions, err := hints.Find("../..", "zone")
	if err != nil {
		t.Fatal(err)
	}
	if len(mentions) < 10 {
		t.Errorf("found %d mentions only: the test would prove nothing", len(mentions))
	}
	for _, m := range mentions {
		// Asked for help, nothing is run; commands and flags must be known.
		if code, _, errs := runApp(append(trimmed(m.Words[1:]), "--help")...); code != 0 {
			t.Errorf("%s\n%s", m, errs)
		}
	}
}

// trimmed takes the brackets of optional words off.
func trimmed(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = strings.Trim(w, "[].:'\"")
	}
	return out
}
