package agent

import (
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
)

func TestReadResource(t *testing.T) {
	r, err := ReadResource("-", map[string]string{"name": "a", "ip": "10.0.0.9"}, strings.NewReader(
		"type: ZoneEgress\nname: \"{{name}}-{{{ name }}}\"\nnetworking: {address: {{ ip }}, port: 10002}\n"))
	if err != nil || r.String() != "ZoneEgress a-a" || r.Address != "10.0.0.9" {
		t.Errorf("%v, %v", r, err)
	}
}

func TestFilesThatAreNoResource(t *testing.T) {
	good := strings.ReplaceAll(resourceYAML, "{{ name }}", "a")
	for name, tt := range map[string]struct{ text, says string }{
		"an unknown field": {strings.Replace(good, "inbound", "inbounds", 1), "line 6: networking.inbounds"},
		"two documents":    {good + "---\n" + good, "a second document"},
		"10 MB":            {good + "#" + strings.Repeat("x", 10<<20), "is larger than 1024 KiB"},
		"empty":            {" \n", "dp.yaml is empty"},
		"no resource":      {"hello", "a resource is a map"},
		"another kind":     {"type: Mesh\nname: a\n", "is not the type of a proxy"},
		"a variable":       {resourceYAML, "no value was given for name"},
		"not YAML":         {"type: [", "line "},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, t.TempDir(), "dp.yaml", tt.text)
			_, err := ReadResource(path, nil, nil)
			e := federation.AsError(err)
			if e == nil || !strings.Contains(e.Detail, tt.says) || !strings.Contains(e.Detail, path) || strings.Contains(e.Detail, "\n") || e.Hint == "" {
				t.Errorf("got %+v", e)
			}
		})
	}
	if _, err := ReadResource("/nowhere", nil, nil); err == nil || err.Error() != "--dataplane-file /nowhere cannot be read: no such file or directory" {
		t.Errorf("got %v", err)
	}
}

func TestParseVar(t *testing.T) {
	if name, value, err := ParseVar("ip=a=b"); name != "ip" || value != "a=b" || err != nil {
		t.Errorf("%q, %q, %v", name, value, err)
	}
	for _, text := range []string{"", "ip", "=x", "a b=x", "ip=1\nname: x"} {
		if _, _, err := ParseVar(text); federation.CodeOf(err) != federation.Invalid {
			t.Errorf("%q: %v", text, err)
		}
	}
}
