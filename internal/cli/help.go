package cli

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

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
	fmt.Fprintf(&b, "%s\n\nUsage:\n  %s\n", wrapped(l.command()+": "+usage, ""), synopsis(l))
	if description != "" {
		text := strings.ReplaceAll(strings.TrimSpace(description), "{program}", app.Name)
		fmt.Fprintf(&b, "\n%s\n", reflowed(text))
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
	var rows [][2]string
	for _, c := range commands {
		if !c.Hidden {
			rows = append(rows, [2]string{c.Name, c.Usage})
		}
	}
	b.WriteString("\nCommands:\n")
	columns(b, rows)
}

const (
	// helpWidth is how many columns a line of help has at most.
	helpWidth = 80
	// maxName is how wide the column of names is at most: the text of a longer one begins
	// below it.
	maxName = 26
)

// columns writes names, and beside each its text.
func columns(b *bytes.Buffer, rows [][2]string) {
	width := 0
	for _, row := range rows {
		if n := utf8.RuneCountInString(row[0]); n <= maxName {
			width = max(width, n)
		}
	}
	indent := strings.Repeat(" ", 2+width+3)
	for _, row := range rows {
		text := wrapped(row[1], indent)
		if n := utf8.RuneCountInString(row[0]); n > width {
			fmt.Fprintf(b, "  %s\n%s%s\n", row[0], indent, text)
			continue
		}
		fmt.Fprintf(b, "  %-*s   %s\n", width, row[0], text)
	}
}

// wrapped breaks a text into lines, of which all but the first begin with the indent: it
// stands behind as much already.
func wrapped(text, indent string) string {
	var b strings.Builder
	at := utf8.RuneCountInString(indent)
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case at+1+n > helpWidth:
			b.WriteString("\n" + indent)
			at = utf8.RuneCountInString(indent)
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += n
	}
	return b.String()
}

// reflowed wraps the paragraphs of a description that have a line which is too long. Lines
// that are indented, such as examples, are left as they are.
func reflowed(text string) string {
	paragraphs := strings.Split(text, "\n\n")
	for i, p := range paragraphs {
		long, indented := false, false
		for line := range strings.SplitSeq(p, "\n") {
			long = long || utf8.RuneCountInString(line) > helpWidth
			indented = indented || strings.HasPrefix(line, " ")
		}
		if long && !indented {
			paragraphs[i] = wrapped(p, "")
		}
	}
	return strings.Join(paragraphs, "\n\n")
}

// placeholder finds the word in backquotes that stands for a flag's value.
var placeholder = regexp.MustCompile("`([^`]+)`")

func helpFlags(b *bytes.Buffer, flags []cli.Flag) {
	if len(flags) == 0 {
		return
	}
	var rows [][2]string
	for _, f := range flags {
		if v, ok := f.(cli.VisibleFlag); ok && !v.IsVisible() {
			continue
		}
		if doc, ok := f.(cli.DocGenerationFlag); ok {
			rows = append(rows, [2]string{flagNames(doc), flagText(doc)})
		}
	}
	b.WriteString("\nFlags:\n")
	columns(b, rows)
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
