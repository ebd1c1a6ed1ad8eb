package yamldoc

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
)

const limit = 1 << 20

func TestParse(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"yaml":              {"a: 1\nb: [x, yes, 010, 0x10, 1_000, .5]\nc: {d: null}\n", `{"a":1,"b":["x","yes",8,16,1000,0.5],"c":{"d":null}}`},
		"json":              {`{"a":1.10,"b":["\ud83d\ude00","\/"],"c":{"d":true}}`, `{"a":1.10,"b":["😀","/"],"c":{"d":true}}`},
		"flow that is yaml": {"{a: b}", `{"a":"b"}`},
		"an empty second":   {"a: b\n---\n", `{"a":"b"}`},
		"comments first":    {"# hello\n---\na: b\n", `{"a":"b"}`},
		"an alias":          {"a: &x {b: c}\nd: *x\n", `{"a":{"b":"c"},"d":{"b":"c"}}`},
		"a time":            {"a: 0001-01-01T00:00:00Z", `{"a":"0001-01-01T00:00:00Z"}`},
		"quoted":            {`a: "1"`, `{"a":"1"}`},
	} {
		n, err := Parse([]byte(tc.in), limit)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := string(n.CompactJSON()); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x]\n"
	for c := byte('b'); c < 'k'; c++ {
		prev := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [*" + strings.Join([]string{prev, prev, prev, prev, prev, prev, prev, prev}, ",*") + "]\n"
	}
	for name, tc := range map[string]struct{ in, want string }{
		"nothing":         {"", "line 1: the document is empty"},
		"only comments":   {"# a\n", "line 1: the document is empty"},
		"two":             {"a: 1\n---\nb: 1\n", "line 2: a second document begins"},
		"twice":           {"a: 1\nb: 2\na: 3\n", "line 3: a: is given twice"},
		"twice in json":   {"{\"x\":{\"a\":1,\n\"a\":2}}", "line 2: x.a: is given twice"},
		"not yaml":        {"a: b\n c: [\n", "line 2: not YAML"},
		"merge":           {"a: &x {b: c}\nd:\n  <<: *x\n", "line 3: d.<<: merging"},
		"a map as a name": {"? {a: b}\n: c\n", "line 1: a name must be text"},
		"infinity":        {"a: .inf", "line 1: a: is not a number"},
		"binary":          {"a: !!binary aGVsbG8=", "line 1: a: a value with the tag !!binary"},
		"deep":            {strings.Repeat("[", 100) + strings.Repeat("]", 100), "nests more than 64 levels"},
		"deep json":       {`{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}", "nests more than 64 levels"},
		"a bomb":          {bomb, "more than 65536 values"},
		"not utf-8":       {"a: b\nc: \xff", "line 2: is not UTF-8"},
		"an unknown name": {"a: *x\n", "unknown anchor"},
	} {
		_, err := Parse([]byte(tc.in), limit)
		if federation.CodeOf(err) != federation.Invalid || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	if _, err := Parse(make([]byte, 11), 10); federation.CodeOf(err) != federation.TooLarge {
		t.Errorf("too large: %v", err)
	}
}

func TestJSONKeepsLines(t *testing.T) {
	in := "# first\na: 1\n\nb:\n- x\n- y:\n    z: \"two\\nlines\"\n"
	n, err := Parse([]byte(in), limit)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(n.JSON()), "\n")
	for line, want := range map[int]string{2: `"a":1`, 4: `"b"`, 5: `"x"`, 6: `"y"`, 7: `"z":"two\nlines"`} {
		if !strings.Contains(lines[line-1], want) {
			t.Errorf("line %d is %s, want %s in it", line, lines[line-1], want)
		}
	}
}

func TestBind(t *testing.T) {
	type inner struct {
		Port uint32 `json:"port"`
	}
	type outer struct {
		Name string            `json:"name"`
		On   bool              `json:"on"`
		List []inner           `json:"list"`
		Ptr  *inner            `json:"ptr"`
		Tags map[string]string `json:"tags"`
		Any  *Node             `json:"any"`
	}
	bind := func(in string, strict bool) (o outer, err error) {
		n, err := Parse([]byte(in), limit)
		if err != nil {
			t.Fatal(err)
		}
		return o, Bind(n, &o, strict)
	}
	o, err := bind("name: 1.10\non: true\nlist: [{port: 80}, {port: '81'}, {port: 8.2e1}]\nptr: {port: 1}\ntags: {a: true, b: 007}\nany: [1]\nnew: 1\n", false)
	if err != nil || o.Name != "1.10" || !o.On || len(o.List) != 3 || o.List[1].Port != 81 || o.List[2].Port != 82 ||
		o.Ptr.Port != 1 || o.Tags["a"] != "true" || o.Any.Kind != List {
		t.Errorf("%+v, %v", o, err)
	}
	for in, want := range map[string]string{
		"name: x\nNAME: y":         "line 2: NAME: is not known here",
		"list:\n- {prot: 1}":       "line 2: list[0].prot: is not known here, which has: port",
		"list: {}":                 "list: must be a list, is a map",
		"name: [x]":                "name: must be text, is a list",
		"on: yes":                  "on: must be true or false, is text",
		"list:\n- port: -1":        "line 2: list[0].port: must be a whole number",
		"ptr: {port: 1.5}":         "ptr.port: must be a whole number",
		"ptr: {port: 4294967296}":  "ptr.port: must be a whole number",
		"ptr: {port: 1e999999999}": "ptr.port: must be a whole number",
		"tags: x":                  "tags: must be a map",
		"tags: {a: [x]}":           "tags.a: must be text",
	} {
		if _, err := bind(in, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"a: 1\nb: [x, {c: d}]\n", `{"a":[1,"x",null,true]}`, "a: &x [1]\nb: *x\n", "---\n---\n", "a: !!int x", "? a\n: b", "a: |\n  b\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := Parse(data, 64<<10)
		if err != nil {
			if c := federation.CodeOf(err); c != federation.Invalid && c != federation.TooLarge {
				t.Fatalf("an error of code %s: %v", c, err)
			}
			return
		}
		for _, out := range [][]byte{n.JSON(), n.CompactJSON()} {
			if !json.Valid(out) {
				t.Fatalf("not JSON: %q from %q", out, data)
			}
		}
		if n.Kind != Map {
			return
		}
		again, err := Parse(n.CompactJSON(), len(n.CompactJSON()))
		if err != nil {
			t.Fatalf("reading what was written: %v", err)
		}
		if string(again.CompactJSON()) != string(n.CompactJSON()) {
			t.Fatalf("%s became %s", n.CompactJSON(), again.CompactJSON())
		}
	})
}

// A stranger's document may be large, and what is made of it not many times as large.
func TestParseBoundsItsMemory(t *testing.T) {
	fill := func(what string) string { return strings.Repeat(what, (limit-100<<10)/len(what)) }
	deep := strings.Repeat(`{"`+strings.Repeat("k", maxShown)+`":`, MaxDepth-4)
	for name, in := range map[string]string{
		"lists in json": `{"a":[` + fill("[],") + "0]}",
		"deep in json":  deep + "[" + fill("0,") + "0]" + strings.Repeat("}", MaxDepth-4),
		"numbers":       "[" + fill("0,") + "0]",
		"maps":          "[" + fill("{},") + "0]",
		"names":         "{" + fill("a,") + "a: 1}",
		"questions":     "{" + fill("?,") + "a: 1}",
		"items":         fill("- "),
		"lines":         fill("-\n"),
		"documents":     fill("---\n"),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Parse([]byte(in), limit)
		runtime.ReadMemStats(&after)
		if federation.CodeOf(err) != federation.Invalid || !strings.Contains(err.Error(), "more than 65536 values") {
			t.Errorf("%s: %v", name, err)
		}
		if made := after.TotalAlloc - before.TotalAlloc; made > 100*limit {
			t.Errorf("%s: %d bytes were made of %d", name, made, len(in))
		}
	}
	// What a zone lists of its services is within it.
	ingress := "type: ZoneIngress\nservices:\n" + strings.Repeat("- tags: {kuma.io/service: backend_default_svc_8080, version: v1}\n  instances: 3\n  mesh: default\n", 9000)
	if _, err := Parse([]byte(ingress), limit); err != nil {
		t.Errorf("an ingress of 9000 services: %v", err)
	}
}
