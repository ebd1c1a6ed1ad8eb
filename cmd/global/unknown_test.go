package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	console "github.com/meridiankds/meridian/internal/cli"
)

// narrowing are the flags of what shows something that name a zone, a mesh or a key: each with
// a name that is not there, or why there is nothing to say.
var narrowing = map[string]string{
	"get tokens --zone":      "get tokens --zone wset",
	"get tokens --mesh":      "get tokens --mesh defualt",
	"get tokens --key":       "get tokens --key 99",
	"get secrets --mesh":     "get secrets --mesh defualt",
	"get public-keys --mesh": "", // its format warns that there are no such keys
	"get revocations --mesh": "", // refused by every global: internal/global/adminapi
}

// TestNamesThatAreNotThereAreTold: a mistyped name shows no empty table, which reads as if there
// were nothing to see.
func TestNamesThatAreNotThereAreTold(t *testing.T) {
	var found []string
	leaves(newRunApp(t).Commands, nil, func(words []string, c *cli.Command) {
		command := strings.Join(words, " ")
		for _, f := range c.Flags {
			if name := f.Names()[0]; slices.Contains(watchable, command) && slices.Contains([]string{"zone", "mesh", "key"}, name) {
				found = append(found, command+" --"+name)
			}
		}
	})
	for _, flag := range found {
		line, listed := narrowing[flag]
		if !listed {
			t.Errorf("global %s is in no table: what does it say of a name that is not there?", flag)
		}
		if line == "" {
			continue
		}
		code, out, errs := newElection(t, 0).run(line)
		if code != console.ExitError || out != "" || !strings.Contains(errs, "hint: ") {
			t.Errorf("global %s: exit code %d\n%s%s", line, code, out, errs)
		}
	}
	if len(found) != len(narrowing) {
		t.Errorf("there are %q", found)
	}
}
