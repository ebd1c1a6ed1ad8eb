package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/zone/resource"
)

// placeholder is what a variable's value is put in place of.
var placeholder = regexp.MustCompile(`\{\{\{?\s*([A-Za-z0-9_.-]+)\s*\}?\}\}`)

// ReadResource reads a proxy's resource from a file; "-" is stdin. Each {{ name }}
// in it is replaced by the variable of that name. The error is one line that names
// the file and, where it can, line and field.
func ReadResource(path string, vars map[string]string, stdin io.Reader) (*resource.Resource, error) {
	name, data, err := readFile(path, stdin)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(string(data)) == "" {
		return nil, federation.Errorf(federation.Invalid, "%s is empty", name).WithHint(form)
	}
	text, err := fill(string(data), vars)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "%s: %w", name, err).
			WithHint("give each {{ name }} a value with --dataplane-var name=value")
	}
	r, err := resource.ParseFile([]byte(text))
	if err != nil {
		e := *federation.AsError(err)
		e.Detail = name + ": " + e.Detail
		if e.Hint == "" {
			e.Hint = form
		}
		return nil, &e
	}
	return r, nil
}

// form is the hint for a file that is no resource.
const form = "it must hold one resource of the type Dataplane, ZoneIngress or ZoneEgress, in YAML"

func readFile(path string, stdin io.Reader) (name string, data []byte, err error) {
	fail := func(err error) (string, []byte, error) {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return "", nil, federation.Errorf(federation.Invalid, "--dataplane-file %s cannot be read: %w", path, err).
			WithHint("name a file that this user may read")
	}
	name, from := "standard input", stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return fail(err)
		}
		defer f.Close()
		name, from = path, f
	}
	data, err = io.ReadAll(io.LimitReader(from, resource.MaxBytes+1))
	switch {
	case err != nil:
		return fail(err)
	case len(data) > resource.MaxBytes:
		return "", nil, federation.Errorf(federation.TooLarge, "%s is larger than %d KiB", name, resource.MaxBytes>>10).WithHint(form)
	}
	return name, data, nil
}

// fill puts the variables' values in place of their names.
func fill(text string, vars map[string]string) (string, error) {
	missing := map[string]bool{}
	text = placeholder.ReplaceAllStringFunc(text, func(match string) string {
		name := placeholder.FindStringSubmatch(match)[1]
		value, ok := vars[name]
		if !ok {
			missing[name] = true
		}
		return value
	})
	if len(missing) > 0 {
		var names []string
		for name := range missing {
			names = append(names, name)
		}
		slices.Sort(names)
		return "", fmt.Errorf("no value was given for %s", strings.Join(names, ", "))
	}
	return text, nil
}

// ParseVar reads "name=value". The value is one line: lines would change what the
// file says.
func ParseVar(text string) (name, value string, err error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok || !placeholder.MatchString("{{"+name+"}}") {
		return "", "", federation.InvalidField("--dataplane-var", "%.60q is not NAME=VALUE", text)
	}
	if strings.ContainsAny(value, "\r\n") {
		return "", "", federation.InvalidField("--dataplane-var", "the value of %.60s has more than one line", name)
	}
	return name, value, nil
}
