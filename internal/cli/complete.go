package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Lister tells what there is of a kind of thing, "zone", "mesh", "key" or "kind", for who completes
// a word of a command line. It says nothing of failures, and takes no long time.
type Lister func(c *cli.Context, what string, given Given) []string

// Given is what stands on a command line before the word that is completed: the arguments,
// and the values of flags by their names.
type Given struct {
	Args  []string
	Flags map[string]string
}

// completionScripts have a shell ask the program itself, whose name stands for %[1]s.
var completionScripts = map[string]string{
	"bash": `_%[1]s() {
  local IFS=$'\n'
  COMPREPLY=($(compgen -W "$(%[1]s complete-words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _%[1]s %[1]s
`,
	"zsh": `#compdef %[1]s
_%[1]s() {
  local -a found
  found=("${(@f)$(%[1]s complete-words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  [[ -n "$found[1]" ]] && compadd -a found || _files
}
compdef _%[1]s %[1]s
`,
	"fish": `complete -c %[1]s -a '(%[1]s complete-words -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
`,
}

// Completion returns the command that prints what has a shell complete the program's command
// lines, and the one that such a shell asks. names may be nil.
func Completion(names Lister) []*cli.Command {
	return []*cli.Command{{
		Name: "completion", Usage: "print what has a shell complete commands, flags and names", ArgsUsage: "bash|zsh|fish",
		Description: "Put the line into your shell's startup file.\n\nExamples:\n  source <({program} completion bash)\n  source <({program} completion zsh)\n  {program} completion fish | source",
		Action: func(c *cli.Context) error {
			if err := Arguments(c, 1, 1, c.App.Name+" completion bash"); err != nil {
				return err
			}
			script, ok := completionScripts[c.Args().First()]
			if !ok {
				return Usagef("use bash, zsh or fish", "%.20q is not a shell that is known here", c.Args().First())
			}
			return Write(c.App.Writer, fmt.Appendf(nil, script, c.App.Name))
		},
	}, {
		Name: "complete-words", Usage: "list how the last word of a command line may go on", ArgsUsage: "-- WORD…", Hidden: true,
		Description: "A shell asks this.\n\nExamples:\n  {program} complete-words -- get zo",
		Action: func(c *cli.Context) error {
			words := c.Args().Slice()
			if len(words) == 0 {
				words = []string{""}
			}
			for _, w := range complete(c, words, names) {
				if err := Tell(c, w); err != nil {
					return err
				}
			}
			return nil
		},
	}}
}

// complete lists what may stand in place of the last word.
func complete(c *cli.Context, words []string, names Lister) (found []string) {
	last, before := words[len(words)-1], words[:len(words)-1]
	l := &line{path: []node{rootOf(c.App)}}
	flag, given := "", Given{Flags: map[string]string{}}
	for _, w := range before {
		switch at := l.leaf(); {
		case flag != "":
			given.Flags[flag], flag = w, ""
		case strings.HasPrefix(w, "-"):
			name, value, inline := strings.Cut(strings.TrimLeft(w, "-"), "=")
			if doc, ok := l.find(name).(cli.DocGenerationFlag); ok && doc.TakesValue() {
				if flag = doc.Names()[0]; inline {
					given.Flags[flag], flag = value, ""
				}
			}
		case len(at.children) > 0:
			_ = l.takeWord(w) // a word that is no command leads nowhere
		default:
			l.args = append(l.args, w)
		}
	}
	given.Args = l.args
	named := func(what string) []string {
		if names == nil {
			return nil
		}
		return names(c, what, given)
	}
	switch at := l.leaf(); {
	case flag != "":
		found = values(flag, named)
	case strings.HasPrefix(last, "-"):
		for _, n := range l.path {
			for _, f := range n.flags {
				found = append(found, dashed(f.Names()[0]))
			}
		}
	case len(at.children) > 0:
		found = visibleNames(at.children)
	default:
		found = arguments(at, len(l.args), named)
	}
	return slices.DeleteFunc(found, func(w string) bool { return !strings.HasPrefix(w, last) })
}

// values are what a flag takes.
func values(flag string, named func(what string) []string) []string {
	switch flag {
	case "profile":
		return named("profile")
	case "output":
		return []string{FormatTable.name, FormatWide.name, FormatJSON.name, FormatYAML.name}
	case "kind":
		return named("kind")
	case "log-level":
		return []string{"debug", "info", "warn", "error"}
	case "zone", "for-zone", "mesh":
		return named(strings.TrimPrefix(flag, "for-"))
	}
	return nil
}

// arguments are what a command takes in a place behind it.
func arguments(at node, place int, named func(what string) []string) []string {
	usage := strings.Fields(at.command.ArgsUsage)
	if place >= len(usage) {
		return nil
	}
	switch strings.Trim(usage[place], "[]…") {
	case "KIND":
		return named("kind")
	case "PROFILE":
		return named("profile")
	case "KEY":
		return named("key")
	case "NAME":
		for _, what := range []string{"zone", "mesh"} {
			if at.command.HasName(what) || at.command.HasName(what+"s") {
				return named(what)
			}
		}
	case "bash|zsh|fish":
		return []string{"bash", "zsh", "fish"}
	}
	return nil
}

// Man returns the command that prints the program's manual page, made of the help of all
// commands.
func Man() *cli.Command {
	return &cli.Command{
		Name: "man", Usage: "print the manual page of this program",
		Description: "In the form of man(7), with the help of every command.\n\nExamples:\n  {program} man > /usr/local/share/man/man1/{program}.1",
		Action: func(c *cli.Context) error {
			if err := NoArguments(c); err != nil {
				return err
			}
			var b strings.Builder
			fmt.Fprintf(&b, ".TH %s 1 \"\" \"%s %s\"\n.SH NAME\n%s \\- %s\n", strings.ToUpper(c.App.Name), c.App.Name, c.App.Version, c.App.Name, c.App.Usage)
			root := &line{path: []node{rootOf(c.App)}}
			section(&b, c.App, root, "DESCRIPTION")
			eachCommand(root, func(l *line) { section(&b, c.App, l, l.command()) })
			return Write(c.App.Writer, []byte(b.String()))
		},
	}
}

// section is the help of a command as it stands.
func section(b *strings.Builder, app *cli.App, l *line, title string) {
	fmt.Fprintf(b, ".SH \"%s\"\n.nf\n", strings.ToUpper(title))
	for text := range strings.Lines(help(app, l)) {
		text = strings.ReplaceAll(text, `\`, `\e`)
		if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
			text = `\&` + text
		}
		b.WriteString(text)
	}
	b.WriteString(".fi\n")
}

// eachCommand yields every command that is shown, in the order of the help.
func eachCommand(at *line, yield func(*line)) {
	for _, c := range at.leaf().children {
		if c.Hidden {
			continue
		}
		l := &line{path: append(slices.Clone(at.path), nodeOf(c))}
		yield(l)
		eachCommand(l, yield)
	}
}
