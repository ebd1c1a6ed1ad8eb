package cli

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/internal/spelling"
)

// node is a program or a command of it: what a word on the command line leads to.
type node struct {
	name     string
	flags    []cli.Flag
	children []*cli.Command
	command  *cli.Command // nil for the program itself
}

func rootOf(app *cli.App) node { return node{name: app.Name, flags: app.Flags, children: app.Commands} }

func nodeOf(c *cli.Command) node {
	return node{name: c.Name, flags: c.Flags, children: c.Subcommands, command: c}
}

// takesArguments reports whether words behind the command are its arguments.
func (n node) takesArguments() bool {
	return n.command != nil && (n.command.ArgsUsage != "" || n.command.Args)
}

// line is a command line, understood.
type line struct {
	path    []node    // from the program to the command
	flags   []flagUse // in the order given
	args    []string  // what is neither command nor flag
	help    bool      // help was asked for
	version bool      // the version was asked for
}

// flagUse is one flag as it was given.
type flagUse struct {
	name  string   // without dashes
	words []string // as given: "--zone west" is two, "--zone=west" one
}

// leaf is the command that the line ends at.
func (l *line) leaf() node { return l.path[len(l.path)-1] }

// command is the command as a user types it.
func (l *line) command() string {
	names := make([]string, len(l.path))
	for i, n := range l.path {
		names[i] = n.name
	}
	return strings.Join(names, " ")
}

// understand sorts the words behind the program's name into commands, flags and
// arguments. Flags may stand anywhere; "--" ends them. What it returns as an
// error is a usage error.
func understand(app *cli.App, words []string) (*line, error) {
	l := &line{path: []node{rootOf(app)}}
	for _, w := range words {
		if LooksSecret(w) {
			return nil, Usagef("others on this machine can read arguments: give a file, or - for standard input",
				"a token or key must not be an argument")
		}
	}
	for len(words) > 0 {
		var err error
		word := words[0]
		switch {
		case word == "--":
			l.args = append(l.args, words[1:]...)
			words = nil
		case len(word) > 1 && word[0] == '-':
			words, err = l.takeFlag(words)
		default:
			words, err = words[1:], l.takeWord(word)
		}
		if err != nil {
			return nil, err
		}
	}
	if l.help || l.version {
		return l, nil
	}
	return l, l.check()
}

// takeWord follows a command, or keeps an argument.
func (l *line) takeWord(word string) error {
	at := l.leaf()
	for _, c := range at.children {
		if c.HasName(word) {
			l.path = append(l.path, nodeOf(c))
			return nil
		}
	}
	switch {
	case word == "help" && len(at.children) > 0:
		l.help = true
		return nil
	case len(at.children) == 0:
		l.args = append(l.args, word)
		return nil
	}
	names := visibleNames(at.children)
	hint := fmt.Sprintf("the commands are: %s", strings.Join(names, ", "))
	if near := spelling.Nearest(word, names); near != "" {
		hint = fmt.Sprintf("did you mean `%s %s`?", l.command(), near)
	}
	return Usagef(hint, "%s: unknown command %.40q", l.command(), word)
}

// takeFlag keeps a flag and its value, and returns the words behind them. A flag
// that stands in front of its command is looked for among those of every command
// that may still come.
func (l *line) takeFlag(words []string) ([]string, error) {
	name, _, inline := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(words[0], "-"), "-"), "=")
	switch {
	case name == "help" || name == "h":
		l.help = true
		return words[1:], nil
	case name == "version" && len(l.path) == 1:
		l.version = true
		return words[1:], nil
	}
	flag := l.find(name)
	if flag == nil {
		if short, ok := l.attached(words[0]); ok {
			return l.takeFlag(append(short, words[1:]...))
		}
		return nil, l.unknownFlag(name)
	}
	use := flagUse{name: name, words: words[:1]}
	if doc, ok := flag.(cli.DocGenerationFlag); ok && doc.TakesValue() && !inline {
		if len(words) < 2 || l.isFlag(words[1]) {
			return nil, Usagef(fmt.Sprintf("see `%s --help`", l.command()), "%s needs a value", dashed(name))
		}
		use.words = words[:2]
	}
	if _, ok := flag.(*cli.DurationFlag); ok {
		use.words = slices.Clone(use.words)
		use.words[len(use.words)-1] = hours(use.words[len(use.words)-1])
	}
	l.flags = append(l.flags, use)
	return words[len(use.words):], nil
}

// attached cuts a flag of one letter off its value: -ojson is -o json.
func (l *line) attached(word string) ([]string, bool) {
	if len(word) < 3 || word[0] != '-' || word[1] == '-' {
		return nil, false
	}
	flag, ok := l.find(word[1:2]).(cli.DocGenerationFlag)
	if !ok || !flag.TakesValue() {
		return nil, false
	}
	return []string{word[:2], word[2:]}, true
}

// days is a length of time that begins with days, behind "--flag=" or alone.
var days = regexp.MustCompile(`^(-.*=)?(\d{1,6})d((?:\d.*)?)$`)

// hours writes the days of a length of time, which Go does not know, as hours: 1d12h as
// 24h12h. A day has 24 of them.
func hours(word string) string {
	m := days.FindStringSubmatch(word)
	if m == nil {
		return word
	}
	n, err := strconv.Atoi(m[2])
	if err != nil {
		return word
	}
	return m[1] + strconv.Itoa(24*n) + "h" + m[3]
}

// isFlag reports whether a word that should be a value is a flag of this
// command, whose own value was forgotten.
func (l *line) isFlag(word string) bool {
	return strings.HasPrefix(word, "--") && l.find(strings.TrimPrefix(word, "--")) != nil
}

// find returns the flag of that name on the path, or below the last command of
// it; nil where there is none.
func (l *line) find(name string) cli.Flag {
	for _, n := range slices.Backward(l.path) {
		if f := lookup(n.flags, name); f != nil {
			return f
		}
	}
	return below(l.leaf().children, name)
}

func below(commands []*cli.Command, name string) cli.Flag {
	for _, c := range commands {
		if f := lookup(c.Flags, name); f != nil {
			return f
		}
		if f := below(c.Subcommands, name); f != nil {
			return f
		}
	}
	return nil
}

func lookup(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func (l *line) unknownFlag(name string) error {
	hint := fmt.Sprintf("see `%s --help`", l.command())
	var known []string
	for _, n := range l.path {
		for _, f := range n.flags {
			known = append(known, f.Names()...)
		}
	}
	if near := spelling.Nearest(name, known); near != "" {
		hint = fmt.Sprintf("did you mean %s?", dashed(near))
	}
	return Usagef(hint, "%s: unknown flag %.40s", l.command(), dashed(name))
}

// check finds what only the whole line shows.
func (l *line) check() error {
	at := l.leaf()
	if len(at.children) > 0 && !l.acts() {
		if len(l.path) == 1 && len(l.flags) == 0 {
			l.help = true // the bare program
			return nil
		}
		return Usagef(fmt.Sprintf("the commands are: %s", strings.Join(visibleNames(at.children), ", ")),
			"%s needs a command", l.command())
	}
	for _, use := range l.flags {
		if !slices.ContainsFunc(l.path, func(n node) bool { return lookup(n.flags, use.name) != nil }) {
			return l.unknownFlag(use.name)
		}
	}
	if len(l.args) > 0 && !at.takesArguments() {
		return Usagef(fmt.Sprintf("see `%s --help`", l.command()), "%s takes no arguments, got %.40q", l.command(), l.args[0])
	}
	return nil
}

// acts reports whether a command that has commands does something by itself: it is given a
// flag of its own.
func (l *line) acts() bool {
	at := l.leaf()
	return at.command != nil && at.command.Action != nil &&
		slices.ContainsFunc(l.flags, func(use flagUse) bool { return lookup(at.flags, use.name) != nil })
}

// arranged returns the words in the order that urfave/cli reads: each flag
// behind the command that has it, and all of them before the arguments.
func (l *line) arranged() []string {
	var words []string
	used := make([]bool, len(l.flags))
	for i, n := range l.path {
		words = append(words, n.name)
		for j, use := range l.flags {
			// A flag that several commands of the path know belongs to the last.
			later := slices.ContainsFunc(l.path[i+1:], func(m node) bool { return lookup(m.flags, use.name) != nil })
			if !used[j] && !later && lookup(n.flags, use.name) != nil {
				words = append(words, use.words...)
				used[j] = true
			}
		}
	}
	if len(l.args) > 0 {
		words = append(append(words, "--"), l.args...)
	}
	return words
}

func visibleNames(commands []*cli.Command) []string {
	var names []string
	for _, c := range commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	return names
}

// dashed writes a flag as users do.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}
