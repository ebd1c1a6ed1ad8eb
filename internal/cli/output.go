package cli

import (
	"encoding/json"
	"io"

	"github.com/urfave/cli/v2"
	"sigs.k8s.io/yaml"

	"github.com/meridiankds/meridian/federation"
)

// Format is how data is shown.
type Format string

// The formats. Scripts should use JSON or YAML: a table may gain columns.
const (
	FormatTable Format = "table"
	FormatJSON  Format = "json"
	FormatYAML  Format = "yaml"
)

// OutputFlag returns the flag --output, -o.
func OutputFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "output", Aliases: []string{"o"}, Value: string(FormatTable),
		Usage: "show the result as `FORMAT`: table, json or yaml",
	}
}

// FormatOf returns the format that the command line asks for.
func FormatOf(c *cli.Context) (Format, error) {
	switch f := Format(c.String("output")); f {
	case FormatTable, FormatJSON, FormatYAML:
		return f, nil
	default:
		return "", Usagef("use -o table, -o json or -o yaml", "--output: %.20q is not a format", string(f))
	}
}

// Print writes data in the format; table draws it where a table is asked for.
// JSON has the names of the struct's json tags, YAML the same.
func Print(w io.Writer, f Format, data any, table func() io.WriterTo) error {
	var out []byte
	var err error
	switch f {
	case FormatJSON:
		out, err = json.MarshalIndent(data, "", "  ")
		out = append(out, '\n')
	case FormatYAML:
		out, err = yaml.Marshal(data)
	default:
		_, err := table().WriteTo(w)
		return writeFailed(err)
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
