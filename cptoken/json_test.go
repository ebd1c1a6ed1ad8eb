package cptoken

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// readAll reads one JSON text of any shape.
func readAll(s string) string {
	r := reader{s: s}
	r.skip()
	if err := r.finish("text"); err != nil {
		return err.Error()
	}
	return ""
}

func TestReaderTakesWhatRFC8259Allows(t *testing.T) {
	for _, s := range []string{
		`{}`, `[]`, `""`, `0`, `-0`, `-1.5e+10`, `1E5`, `true`, `false`, `null`,
		" {\t\"a\" :\r\n[ 1 , {\"b\":null} ] } ",
		`{"a":{"x":1},"b":{"x":1}}`, // the same key in different objects
		`{"":1}`,
		`"\u0041\ud83d\ude00\"\\\/\b\f\n\r\t"`,
		`"é\u0000"`,
		`[[[[[[[[]]]]]]]]`,
	} {
		if why := readAll(s); why != "" {
			t.Errorf("%s: %s", s, why)
		}
	}
}

func TestReaderRefuses(t *testing.T) {
	for what, s := range map[string]string{
		"nothing":                   ``,
		"blanks":                    `  `,
		"two texts":                 `{}{}`,
		"a tail":                    `{}x`,
		"a NUL behind":              "{}\x00",
		"a byte order mark":         "\ufeff{}",
		"an open object":            `{"a":1`,
		"a comma too many":          `{"a":1,}`,
		"a comma first":             `{,"a":1}`,
		"a comma missing":           `{"a":1 "b":2}`,
		"a colon missing":           `{"a" 1}`,
		"a value missing":           `{"a":}`,
		"a key without quotes":      `{a:1}`,
		"a key that is a number":    `{1:1}`,
		"an open array":             `[1`,
		"an array's last comma":     `[1,]`,
		"an array's first comma":    `[,1]`,
		"two values":                `[1 2]`,
		"crossed brackets":          `{"a":[}]`,
		"a doubled key":             `{"a":1,"b":2,"a":3}`,
		"a doubled key, escaped":    `{"a":1,"\u0061":3}`,
		"a doubled key inside":      `{"x":[{"a":1,"a":1}]}`,
		"a doubled empty key":       `{"":1,"":1}`,
		"an open string":            `"abc`,
		"a string of a backslash":   `"\`,
		"a line break in a string":  "\"a\nb\"",
		"a control after an escape": "\"\\n\x01\"",
		"an unknown escape":         `"\x41"`,
		"a short escape":            `"\u00`,
		"a bad escape":              `"\u00g0"`,
		"a lone high surrogate":     `"\ud800"`,
		"a lone low surrogate":      `"\udc00"`,
		"two high surrogates":       `"\ud800\ud800"`,
		"a leading zero":            `01`,
		"a plus":                    `+1`,
		"a bare minus":              `-`,
		"a bare point":              `.5`,
		"no digit behind the point": `1.`,
		"an empty exponent":         `1e`,
		"hexadecimal":               `0x10`,
		"NaN":                       `NaN`,
		"a very long number":        strings.Repeat("1", maxNumber+1),
		"a wrong literal":           `nul`,
		"an upper-case literal":     `True`,
		"a comment":                 `{/**/}`,
		"single quotes":             `{'a':1}`,
		"depth":                     strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1),
		"depth of objects":          strings.Repeat(`{"a":`, maxDepth+1) + "1" + strings.Repeat("}", maxDepth+1),
		"many keys in one":          `{` + members(maxMembers+1) + `}`,
		"many keys":                 `[` + strings.Repeat(`{`+members(maxMembers)+`},`, maxKeys/maxMembers) + `{"a":1}]`,
		"many values":               `[` + strings.Repeat("0,", maxValues) + `0]`,
	} {
		if readAll(s) == "" {
			t.Errorf("%s is accepted", what)
		}
	}
}

func TestReaderTakesWhatReachesABound(t *testing.T) {
	for what, s := range map[string]string{
		"depth":            strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth),
		"many keys in one": `{` + members(maxMembers) + `}`,
		"many values":      `[` + strings.Repeat("0,", maxValues-2) + `0]`,
		"a long number":    strings.Repeat("1", maxNumber),
	} {
		if why := readAll(s); why != "" {
			t.Errorf("%s: %s", what, why)
		}
	}
}

// members returns n members with different keys.
func members(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = `"` + strings.Repeat("k", i+1) + `":0`
	}
	return strings.Join(list, ",")
}

// FuzzReader holds the reader against the standard library's: it accepts nothing
// that the other refuses, and both read the same text.
func FuzzReader(f *testing.F) {
	for _, s := range []string{`{"a":[1,"\u0041",{}]}`, `"\ud83d\ude00"`, `{"a":1,"a":2}`, `-1.5e+10`, west, header1} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return // Parse refuses it before
		}
		if readAll(s) != "" {
			return
		}
		if !json.Valid([]byte(s)) {
			t.Fatalf("accepted, and it is not JSON: %q", s)
		}
		r := reader{s: s}
		if r.next() != '"' {
			return
		}
		var want string
		if err := json.Unmarshal([]byte(s), &want); err != nil {
			t.Fatal(err)
		}
		if got := r.text(); got != want {
			t.Fatalf("read %q, want %q", got, want)
		}
	})
}
