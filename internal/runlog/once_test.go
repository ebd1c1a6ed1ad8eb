package runlog

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// TestEachKeyOfALineOnce: in both formats, whoever adds the key.
func TestEachKeyOfALineOnce(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		var out bytes.Buffer
		log, err := New(&out, format, "info")
		if err != nil {
			t.Fatal(err)
		}
		with := log.With("component", "kds", "zone", "west")
		with.Info("first", "zone", "east", "component", "feed", "n", 1)
		with.With("zone", "north").Info("second", "level", 3, "zone", "south", slog.Int("n", 2))
		with.WithGroup("g").Info("third", "zone", "x", "zone", "y")
		for line := range strings.Lines(out.String()) {
			for _, key := range []string{"component", "level", "n", "msg", "time"} {
				quoted := map[string]string{"json": `"` + key + `":`, "text": " " + key + "="}[format]
				if strings.Count(" "+line, quoted) > 1 {
					t.Errorf("%s: %s has %s twice", format, line, key)
				}
			}
		}
		for _, want := range map[string][]string{
			"json": {`"component":"feed","zone":"east","n":1`, `"zone":"south","level_":3,"n":2`, `"g":{"zone":"y"}`},
			"text": {"component=feed zone=east n=1", "zone=south level_=3 n=2", "g.zone=y"},
		}[format] {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %s in\n%s", format, want, out.String())
			}
		}
	}
}
