package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPlot(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "run.json")
	lines := `{"name":"size","value":23,"unit":"MB","baseline":null,"ratio":null,"budget":35,"ok":true}
{"name":"growth-connect/1000","value":300,"unit":"ms","baseline":200,"ratio":1.5,"budget":null,"ok":true}
{"name":"growth-connect/1","value":2,"unit":"ms","baseline":1,"ratio":2,"budget":null,"ok":true}
{"name":"growth-verify/0","value":0.6,"unit":"µs","baseline":null,"ratio":null,"budget":null,"ok":true}
{"name":"growth-verify/1000000","value":0.7,"unit":"µs","baseline":null,"ratio":null,"budget":null,"ok":true}
`
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := plot(dir, file, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| 1 | 2 | 1 | 2 |\n| 1000 | 300 | 200 | 1.50 |", "| 1000000 | 0.7 | – | – |", "revoked ids"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the tables lack %q:\n%s", want, out.String())
		}
	}
	for _, name := range []string{"connect", "verify"} {
		f, err := os.Open(filepath.Join(dir, "growth-"+name+".svg"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		dec, circles := xml.NewDecoder(f), 0
		for {
			token, err := dec.Token()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("growth-%s.svg: %v", name, err)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
				circles++
			}
		}
		if want := map[string]int{"connect": 4, "verify": 2}[name]; circles != want {
			t.Errorf("growth-%s.svg has %d points, want %d", name, circles, want)
		}
	}
	if err := plot(dir, filepath.Join(dir, "none.json"), &out); err == nil {
		t.Error("a file that is not there was plotted")
	}
}
