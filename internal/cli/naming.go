package cli

import (
	"strings"
	"sync"

	"github.com/urfave/cli/v2"
)

// naming knows what operators call things that answers name by their ids: the members of
// a global. Each line and table of the program has the names in place of the ids; -o wide
// has both, and JSON and YAML have what was answered. Doing it where text leaves the
// program covers every message there is, also those that a server wrote.
type naming struct {
	mu  sync.Mutex
	of  map[string]string // names by id
	ids bool              // show them too
	// whom is the cluster that the command asks, where questions are to name it. It is set
	// before the command acts.
	whom string
}

// namedKey is where an app keeps them.
const namedKey = "named"

// namedOf returns those of an app, nil before [Run] prepared it.
func namedOf(app *cli.App) *naming {
	n, _ := app.Metadata[namedKey].(*naming)
	return n
}

// Learn has an app show names in place of ids from now on.
func Learn(app *cli.App, names map[string]string) {
	if n := namedOf(app); n != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.of = names
	}
}

// showIDs has ids shown beside the names.
func (n *naming) showIDs() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ids = true
}

// in returns the text with names in place of ids, or with both where ids are wanted too.
func (n *naming) in(text string) string {
	if n == nil {
		return text
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var pairs []string
	for id, name := range n.of {
		if n.ids && name != id {
			name += " (" + id + ")"
		}
		pairs = append(pairs, id, name)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
