package cli

import (
	"encoding/json"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
	"sigs.k8s.io/yaml"

	"github.com/meridiankds/meridian/federation"
)

// Format is how data is shown.
type Format struct {
	name string
	// bare leaves the header of a table out, names all but its first column too.
	bare, names, wide bool
	named             *naming // what ids are shown as; nil: they are not
}

// The formats. Scripts should use JSON or YAML: a table may gain columns.
var (
	FormatTable = Format{name: "table"}
	FormatWide  = Format{name: "wide", wide: true}
	FormatJSON  = Format{name: "json"}
	FormatYAML  = Format{name: "yaml"}
)

// String is the format as -o takes it.
func (f Format) String() string { return f.name }

// IsTable reports whether people are shown the data, and not programs.
func (f Format) IsTable() bool { return f.name == FormatTable.name || f.wide }

// OutputFlag returns the flag --output, -o. [Run] gives --no-headers and --quiet to each
// command that has it, and --watch to those that only show.
func OutputFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "output", Aliases: []string{"o"}, Value: FormatTable.name,
		Usage: "show the result as `FORMAT`: table, wide, json or yaml",
	}
}

// FormatOf returns the format that the command line asks for.
func FormatOf(c *cli.Context) (Format, error) {
	for _, f := range []Format{FormatTable, FormatWide, FormatJSON, FormatYAML} {
		if f.name == c.String("output") {
			f.bare, f.names, f.named = c.Bool("no-headers"), c.Bool("quiet"), namedOf(c.App)
			if f.wide && f.named != nil {
				f.named.showIDs()
			}
			return f, nil
		}
	}
	return Format{}, Usagef("use -o table, -o wide, -o json or -o yaml", "--output: %.20q is not a format", c.String("output"))
}

// Print writes data in the format; table draws it where a table is asked for.
// JSON has the names of the struct's json tags, YAML the same.
func Print(w io.Writer, f Format, data any, table func() io.WriterTo) error {
	var out []byte
	var err error
	switch f.name {
	case FormatJSON.name:
		out, err = json.MarshalIndent(data, "", "  ")
		out = append(out, '\n')
	case FormatYAML.name:
		out, err = yaml.Marshal(data)
	default:
		shown := table()
		if t, ok := shown.(formatted); ok {
			t.formatted(f)
			_, err := shown.WriteTo(w)
			return writeFailed(err)
		}
		var text strings.Builder
		_, _ = shown.WriteTo(&text) // it takes everything
		return Write(w, []byte(f.named.in(text.String())))
	}
	if err != nil {
		return federation.Errorf(federation.Internal, "showing the result: %w", err)
	}
	return Write(w, out)
}

// Write writes data as it is.
func Write(w io.Writer, data []byte) error {
	_, err := w.Write(data)
	return writeFailed(err)
}

// writeFailed names the failure to write data; nil stays nil.
func writeFailed(err error) error {
	if err == nil {
		return nil
	}
	return federation.Errorf(federation.Internal, "writing the result: %w", err)
}

// PrintSecret writes a secret alone. A line feed follows only on a terminal:
// programs that read a token from a file take every byte of it.
func PrintSecret(w io.Writer, secret string) error {
	if IsTerminal(w) {
		secret += "\n"
	}
	return Write(w, []byte(secret))
}
