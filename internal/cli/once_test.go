package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
)

// TestEachKeyOfALineOnce: in both formats, whoever adds the key.
func TestEachKeyOfALineOnce(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		var out bytes.Buffer
		log, err := NewLogger(&out, format, "info")
		if err != nil {
			t.Fatal(err)
		}
		log = log.With("component", "kds", "zone", "west")
		log.Info("first", "zone", "east", "component", "feed", "n", 1)
		log.With("zone", "north").Info("second", "level", 3, "zone", "south", slog.Int("n", 2))
		log.WithGroup("g").Info("third", "zone", "x", "zone", "y")
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

// TestTheLastLineIsJSONToo: what a server that logs JSON says of its end is a line of its
// log.
func TestTheLastLineIsJSONToo(t *testing.T) {
	var out bytes.Buffer
	log, err := NewLogger(&out, "json", "info")
	if err != nil {
		t.Fatal(err)
	}
	v := NewVoice("zone", strings.NewReader(""), &out)
	v.log = log
	v.Error(federation.Errorf(federation.Conflict, "the port is taken").WithHint("choose another"))
	v.Error(errors.New("plain"))
	v.Warn("something")
	v.Error(nil)
	var lines []map[string]string
	for line := range strings.Lines(out.String()) {
		var l map[string]string
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		lines = append(lines, l)
	}
	if len(lines) != 3 || lines[0]["level"] != "ERROR" || lines[0]["msg"] != "the port is taken" || lines[0]["hint"] != "choose another" ||
		lines[1]["msg"] != "plain" || lines[2]["level"] != "WARN" {
		t.Errorf("%v", lines)
	}
}
