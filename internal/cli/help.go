package cli

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
)

// help returns the text for the command that the line ends at: what it does, how
// it is called, the long story with examples, then its commands or flags.
func help(app *cli.App, l *line) string {
	at := l.leaf()
	usage, description, visible := app.Usage, app.Description, at.children
	if at.command != nil {
		usage, description = at.command.Usage, at.command.Description
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s: %s\n\nUsage:\n  %s\n", l.command(), usage, synopsis(l))
	if description != "" {
		text := strings.ReplaceAll(strings.TrimSpace(description), "{program}", app.Name)
		fmt.Fprintf(&b, "\n%s\n", text)
	}
	helpCommands(&b, visible)
	helpFlags(&b, at.flags)
	if len(l.path) == 1 {
		fmt.Fprintf(&b, "\nMore about a command: %s COMMAND --help\n", app.Name)
	}
	return b.String()
}

func synopsis(l *line) string {
	at := l.leaf()
	switch {
	case at.command != nil && at.command.UsageText != "":
		return at.command.UsageText
	case len(at.children) > 0:
		return l.command() + " COMMAND"
	}
	parts := []string{l.command()}
	if at.command.ArgsUsage != "" {
		parts = append(parts, at.command.ArgsUsage)
	}
	if len(at.flags) > 0 {
		parts = append(parts, "[flags]")
	}
	return strings.Join(parts, " ")
}

func helpCommands(b *bytes.Buffer, commands []*cli.Command) {
	if len(commands) == 0 {
		return
	}
	b.WriteString("\nCommands:\n")
	w := tabwriter.NewWriter(b, 0, 0, 3, ' ', 0)
	for _, c := range commands {
		if !c.Hidden {
			fmt.Fprintf(w, "  %s\t%s\n", c.Name, c.Usage)
		}
	}
	w.Flush()
}

// placeholder finds the word in backquotes that stands for a flag's value.
var placeholder = regexp.MustCompile("`([^`]+)`")

func helpFlags(b *bytes.Buffer, flags []cli.Flag) {
	if len(flags) == 0 {
		return
	}
	b.WriteString("\nFlags:\n")
	w := tabwriter.NewWriter(b, 0, 0, 3, ' ', 0)
	for _, f := range flags {
		if v, ok := f.(cli.VisibleFlag); ok && !v.IsVisible() {
			continue
		}
		if doc, ok := f.(cli.DocGenerationFlag); ok {
			fmt.Fprintf(w, "  %s\t%s\n", flagNames(doc), flagText(doc))
		}
	}
	w.Flush()
}

func flagNames(f cli.DocGenerationFlag) string {
	var names []string
	for _, n := range f.Names() {
		names = append(names, dashed(n))
	}
	text := strings.Join(names, ", ")
	if f.TakesValue() {
		value := "VALUE"
		if m := placeholder.FindStringSubmatch(f.GetUsage()); m != nil {
			value = m[1]
		}
		text += " " + value
	}
	return text
}

// flagText is the flag's usage with its default, unless that is nothing, and
// the environment variables that stand in for it.
func flagText(f cli.DocGenerationFlag) string {
	text := strings.ReplaceAll(f.GetUsage(), "`", "")
	value := f.GetDefaultText()
	if f.TakesValue() && !slices.Contains([]string{"", `""`, "0", "0s", "[]"}, value) {
		text += fmt.Sprintf(" (default %s)", strings.Trim(value, `"`))
	}
	if env := f.GetEnvVars(); len(env) > 0 {
		text += " [" + strings.Join(env, ", ") + "]"
	}
	return text
}
