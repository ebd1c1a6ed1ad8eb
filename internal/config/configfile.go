// Package config reads the YAML file that --config names: each key is the
// name of a flag of the command, so that whatever can be said on the command
// line can be kept in a file. What the command line or the environment says
// counts more than the file. A key may also name a section, which is read apart
// into a structure of its owner's ([Section]).
package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"slices"
	"sort"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
	"github.com/meridiankds/meridian/internal/spelling"
)

// maxFile bounds the size of a file that is read.
const maxFile = 1 << 20

// Flags is what Apply sets: a command's flags by name, as urfave/cli's Context
// has them.
type Flags interface {
	IsSet(name string) bool
	Set(name, value string) error
	// Value returns what the flag holds. What a flag holds that takes several
	// values, or a pointer to that, has a method Value() []string.
	Value(name string) any
}

// Applied is what a config file said when it was applied, and what counts more than it.
type Applied struct {
	path            string
	known, sections []string
	said            map[string][]string
	before          map[string]string // of every flag, before the file was read
	fixed           map[string]bool   // flags that count more than the file
}

// Apply sets every flag that the file names and that is not set already. known
// lists the flags that a file may set, sections the keys that are read with
// [Section] instead. Nothing is set where anything in the file is wrong. Without a path
// there is no file.
func Apply(path string, known []string, flags Flags, sections ...string) (*Applied, error) {
	a := &Applied{path: path, known: known, sections: sections, before: map[string]string{}, fixed: map[string]bool{}}
	for _, name := range known {
		a.before[name], a.fixed[name] = fmt.Sprint(flags.Value(name)), flags.IsSet(name)
	}
	if path == "" {
		return a, nil
	}
	var err error
	if a.said, err = a.read(flags); err != nil {
		return nil, err
	}
	for key, list := range a.said {
		if a.fixed[key] {
			continue
		}
		for _, text := range list {
			if err := flags.Set(key, text); err != nil {
				return nil, federation.Errorf(federation.Invalid, "%s: %s: %w", path, key, err).
					WithHint("write a value that --%s takes", key)
			}
		}
	}
	return a, nil
}

// Again reads the file anew. It returns what the flag name comes to by it, and which other
// flags come to something else than when the file was applied; of sections it says nothing.
func (a *Applied) Again(name string, flags Flags) (value string, changed []string, err error) {
	value = a.before[name]
	if a.path == "" {
		return value, nil, nil
	}
	said, err := a.read(flags)
	if err != nil {
		return "", nil, err
	}
	if list := said[name]; !a.fixed[name] && len(list) > 0 {
		value = list[0]
	}
	for _, other := range a.known {
		if other != name && !a.fixed[other] && !slices.Equal(said[other], a.said[other]) {
			changed = append(changed, other)
		}
	}
	return value, changed, nil
}

// read reads what the file says of flags, as it would stand on the command line.
func (a *Applied) read(flags Flags) (map[string][]string, error) {
	values, err := read(a.path)
	if err != nil {
		return nil, err
	}
	texts := make(map[string][]string, len(values))
	for key, value := range values {
		if slices.Contains(a.sections, key) {
			continue
		}
		if !slices.Contains(a.known, key) {
			e := federation.Errorf(federation.Invalid, "%s: %.60q is not a setting", a.path, key)
			if near := spelling.Nearest(key, slices.Concat(a.known, a.sections)); near != "" {
				return nil, e.WithHint("did you mean %s?", near)
			}
			return nil, e.WithHint("the settings are the names of the flags: %s", strings.Join(sorted(slices.Concat(a.known, a.sections)), ", "))
		}
		if texts[key], err = asTexts(value); err != nil {
			return nil, federation.Errorf(federation.Invalid, "%s: %s: %w", a.path, key, err).
				WithHint("write it as on the command line, for example %s: VALUE", key)
		}
		if _, list := value.([]any); list && !takesSeveral(flags, key) {
			return nil, federation.Errorf(federation.Invalid, "%s: %s takes one value, not a list", a.path, key).
				WithHint("write %s: VALUE", key)
		}
	}
	return texts, nil
}

// Section reads one top-level key of the file into what into points to, by the
// names of its JSON fields; a name that it does not have is an error. Where the
// file has no such key nothing is changed.
func Section(path, name string, into any) error {
	values, err := read(path)
	if err != nil {
		return err
	}
	value, ok := values[name]
	if !ok || value == nil {
		return nil
	}
	data, err := json.Marshal(value)
	if err != nil {
		return federation.Errorf(federation.Invalid, "%s: %s: %w", path, name, err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return federation.Errorf(federation.Invalid, "%s: %s: %s", path, name, misfit(err)).WithCause(err).
			WithHint("check the names under %s, and how far each line is indented", name)
	}
	return nil
}

// misfit is what does not fit into a section, in words of the file.
func misfit(err error) string {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return fmt.Sprintf("%s holds a %s, which it cannot", kind.Field, kind.Value)
	}
	if _, field, ok := strings.Cut(err.Error(), "unknown field "); ok {
		return field + " is not a setting"
	}
	return "it cannot be read"
}

// takesSeveral reports whether the flag may be given more than once.
func takesSeveral(flags Flags, name string) bool {
	held := reflect.TypeOf(flags.Value(name))
	return held != nil && reflect.PointerTo(held).Implements(reflect.TypeFor[interface{ Value() []string }]())
}

// form is the hint for a file that is not what it should be.
const form = "it holds a line NAME: VALUE for each flag, without the dashes, for example data-dir: /var/lib/meridian"

func read(path string) (map[string]any, error) {
	data, err := contents(path, "config file", "--config", form)
	if err != nil {
		return nil, err
	}
	values := map[string]any{}
	if err := yaml.UnmarshalStrict(data, &values); err != nil {
		return nil, federation.Errorf(federation.Invalid, "the config file %s cannot be used: %s", path, complaint(err)).
			WithCause(err).WithHint(form)
	}
	return values, nil
}

// Read returns the bytes of a YAML file of another form, which must not be larger
// than a config file. what and flag name it in errors.
func Read(path, what, flag string) ([]byte, error) {
	return contents(path, what, flag, "what "+flag+" names is a file that people write")
}

// Unmarshal reads YAML into a struct. Members that the struct does not have and
// members that are given twice are errors. path and what name the file in them.
func Unmarshal(data []byte, path, what string, into any) error {
	if err := yaml.UnmarshalStrict(data, into); err != nil {
		text := complaint(err)
		if _, field, ok := strings.Cut(err.Error(), "unknown field "); ok {
			text = "it has the unknown member " + field
		}
		return federation.Errorf(federation.Invalid, "the %s %s cannot be used: %s", what, path, text).WithCause(err)
	}
	return nil
}

// Marshal writes what [Unmarshal] reads.
func Marshal(v any) ([]byte, error) {
	data, err := yaml.Marshal(v)
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "writing YAML: %w", err)
	}
	return data, nil
}

func contents(path, what, flag, hint string) ([]byte, error) {
	f, err := disk.Open(path)
	if err != nil {
		return nil, unreadable(path, what, flag, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, unreadable(path, what, flag, err)
	}
	if err := disk.CheckWritten(what, path, info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, unreadable(path, what, flag, err)
	}
	if len(data) > maxFile {
		return nil, federation.Errorf(federation.TooLarge, "the %s %s is larger than %d bytes", what, path, maxFile).
			WithHint("%s", hint)
	}
	return data, nil
}

func unreadable(path, what, flag string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return federation.Errorf(federation.Invalid, "the %s %s cannot be read: %w", what, path, err).
		WithHint("name a file that this user may read with %s", flag)
}

// complaint is what is wrong with the text of a file, without the YAML library's
// account of how it goes about reading one.
func complaint(err error) string {
	text := err.Error()
	if strings.Contains(text, "cannot unmarshal") {
		return "it holds something else than names with values"
	}
	if _, twice, ok := strings.Cut(text, "key "); ok && strings.Contains(twice, "already set in map") {
		return "it sets " + strings.TrimSuffix(strings.TrimSpace(strings.SplitN(twice, " already", 2)[0]), ",") + " twice"
	}
	if _, at, ok := strings.Cut(text, "yaml: "); ok {
		at = strings.Replace(at, "found character that cannot start any token", "a tab, or another character that cannot begin a value", 1)
		return "it is not YAML, " + at
	}
	return "it is not YAML"
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
