package callers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// python returns an interpreter that has a module; it skips where there is none.
func python(t *testing.T, module string) string {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), name, "-c", "import "+module).Run() == nil {
			return name
		}
	}
	t.Skipf("no python3 with the module %s: install it from Debian or with pip", module)
	return ""
}

// run runs a program and decodes what it prints.
func run(t *testing.T, into any, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", args[0], err, out, stderr.String())
	}
}

// TestBadTokensDoNotEndTheConnectionOfGoodOnes: HTTP/2 clients that are not Go's ask
// about good and bad tokens over one connection; every one is answered.
func TestBadTokensDoNotEndTheConnectionOfGoodOnes(t *testing.T) {
	const count = 200
	for name, program := range map[string]func(t *testing.T) []string{
		"httpx": func(t *testing.T) []string {
			return []string{python(t, "httpx, h2"), "testdata/h2_httpx.py"}
		},
		"node": func(t *testing.T) []string {
			path, err := exec.LookPath("node")
			if err != nil {
				t.Skip("no node on the PATH: install nodejs")
			}
			return []string{path, "testdata/h2_node.mjs"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			command := program(t)
			z := startZone(t)
			_, port, _ := strings.Cut(z.address, ":")
			var got map[string]int
			run(t, &got, command[0], command[1], "https://localhost:"+port, z.ca,
				sign(t, map[string]any{"Mesh": "payments"}), sign(t, map[string]any{"Mesh": "payments", "exp": time.Now().Unix() - 60}), fmt.Sprint(count))
			if want := map[string]int{"good HTTP/2 200": count, "bad HTTP/2 401": count}; !maps.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

// TestAuthlibIntrospects: a client of RFC 7662 works unmodified.
func TestAuthlibIntrospects(t *testing.T) {
	interpreter := python(t, "authlib, requests")
	z := startZone(t)
	_, port, _ := strings.Cut(z.address, ":")
	var got []string
	run(t, &got, interpreter, "testdata/introspect_authlib.py", "https://localhost:"+port, z.ca, "egress",
		sign(t, map[string]any{"Zone": "west", "Scope": []string{"egress", "ingress"}}),
		sign(t, map[string]any{"Zone": "west", "Scope": []string{"ingress"}}),
		sign(t, map[string]any{"Zone": "east", "Scope": []string{"egress"}}),
		sign(t, map[string]any{"Zone": "west", "Scope": []string{"egress"}, "exp": time.Now().Unix() - 60}),
		"garbage")
	if want := []string{"zone/west", "insufficient_scope", "invalid_token", "invalid_token", "invalid_token"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
