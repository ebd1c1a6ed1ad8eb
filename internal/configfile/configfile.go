// Package configfile reads the YAML file that --config names: each key is the
// name of a flag of the command, so that whatever can be said on the command
// line can be kept in a file. What the command line or the environment says
// counts more than the file.
package configfile

import (
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/meridiankds/meridian/federation"
)

// maxFile bounds the size of a file that is read.
const maxFile = 1 << 20

// Flags is what Apply sets: a command's flags by name, as urfave/cli's Context
// has them.
type Flags interface {
	IsSet(name string) bool
	Set(name, value string) error
}

// Apply sets every flag that the file names and that is not set already. known
// lists the flags that a file may set. Nothing is set where anything in the file
// is wrong.
func Apply(path string, known []string, flags Flags) error {
	values, err := read(path)
	if err != nil {
		return err
	}
	allowed := make(map[string]bool, len(known))
	for _, name := range known {
		allowed[name] = true
	}
	texts := make(map[string][]string, len(values))
	for key, value := range values {
		if !allowed[key] {
			return federation.Errorf(federation.Invalid, "%s: %.60q is not a setting", path, key).
				WithHint("the settings are the names of the flags: %s", strings.Join(sorted(known), ", "))
		}
		if texts[key], err = asTexts(value); err != nil {
			return federation.Errorf(federation.Invalid, "%s: %s: %w", path, key, err)
		}
	}
	for key, list := range texts {
		if flags.IsSet(key) {
			continue
		}
		for _, text := range list {
			if err := flags.Set(key, text); err != nil {
				return federation.Errorf(federation.Invalid, "%s: %s: %w", path, key, err)
			}
		}
	}
	return nil
}

func read(path string) (map[string]any, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "reading the config file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "reading the config file %s: %w", path, err)
	}
	if len(data) > maxFile {
		return nil, federation.Errorf(federation.TooLarge, "the config file %s is larger than %d bytes", path, maxFile)
	}
	values := map[string]any{}
	if err := yaml.UnmarshalStrict(data, &values); err != nil {
		return nil, federation.Errorf(federation.Invalid, "the config file %s is not YAML with one value a flag: %w", path, err)
	}
	return values, nil
}

// asTexts turns a value of the file into what would stand on the command line.
func asTexts(value any) ([]string, error) {
	switch v := value.(type) {
	case string:
		return []string{v}, nil
	case bool, float64, int64:
		return []string{fmt.Sprint(v)}, nil
	case []any:
		var texts []string
		for _, element := range v {
			text, err := asTexts(element)
			if _, nested := element.([]any); nested || err != nil {
				return nil, fmt.Errorf("a list may hold texts and numbers only")
			}
			texts = append(texts, text...)
		}
		return texts, nil
	}
	return nil, fmt.Errorf("want a text, a number, true, false or a list of them")
}

func sorted(list []string) []string {
	list = append([]string(nil), list...)
	sort.Strings(list)
	return list
}
