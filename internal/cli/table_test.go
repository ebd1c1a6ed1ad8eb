package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/meridiankds/meridian/federation"
)

func render(t *testing.T, w io.WriterTo) string {
	t.Helper()
	var b bytes.Buffer
	n, err := w.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("WriteTo = %d, %v, want %d, nil", n, err, b.Len())
	}
	return b.String()
}

func TestTableLooksLikeKumactls(t *testing.T) {
	table := NewTable("MESH", "NAME", "AGE")
	table.Row("default", "dataplane-token-signing-key-default-1", "49s")
	table.Row("", "short")
	table.Row("东京", "évil\x1b[31m", "1d")
	want := `MESH      NAME                                    AGE
default   dataplane-token-signing-key-default-1   49s
-         short                                   -
东京        évil [31m                               1d
`
	if got := render(t, table); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := render(t, NewTable("NAME", "AGE")); got != "NAME   AGE\n" {
		t.Errorf("an empty table shows %q", got)
	}
}

func TestFields(t *testing.T) {
	var f Fields
	f.Add("kind", "zone-token")
	f.Add("mesh", "")
	f.Add("key (kid)", "1")
	if got, want := render(t, &f), "kind:       zone-token\nkey (kid):  1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAge(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for ago, want := range map[time.Duration]string{
		0:                       "0s",
		-time.Hour:              "0s", // a clock that runs ahead
		7900 * time.Millisecond: "7s",
		59 * time.Second:        "59s",
		36*time.Minute + 59e9:   "36m",
		time.Hour:               "1h",
		47 * time.Hour:          "1d",
		364 * 24 * time.Hour:    "364d",
		800 * 24 * time.Hour:    "2y",
	} {
		if got := Age(now, now.Add(-ago)); got != want {
			t.Errorf("Age of %s = %q, want %q", ago, got, want)
		}
	}
	if got := Age(now.AddDate(1000, 0, 0), now); got != "1000y" {
		t.Errorf("Age of a thousand years = %q", got)
	}
	if got := Age(now, time.Time{}); got != "never" {
		t.Errorf("Age of no time = %q, want never", got)
	}
}

func TestMoment(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for want, at := range map[string]time.Time{
		"2026-12-22T12:00:00Z (in 30d)":    now.Add(30 * 24 * time.Hour),
		"2026-11-22T11:59:30Z (30s ago)":   now.Add(-30 * time.Second),
		"2026-11-22T12:00:00Z (0s ago)":    now.In(time.FixedZone("x", 3600)),
		"9999-12-31T23:59:59Z (in 7978y)":  time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		"0001-01-02T00:00:00Z (2027y ago)": time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC),
		"never":                            {},
	} {
		if got := Moment(at, now, "never"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestPrint(t *testing.T) {
	data := struct {
		Name  string `json:"name"`
		Total int    `json:"total"`
	}{"west", 3}
	table := func() io.WriterTo {
		t := NewTable("NAME")
		t.Row("west")
		return t
	}
	show := func(f Format) string {
		var b bytes.Buffer
		if err := Print(&b, f, data, table); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if got := show(FormatTable); got != "NAME\nwest\n" {
		t.Errorf("table: %q", got)
	}
	back := data
	back.Name, back.Total = "", 0
	if err := json.Unmarshal([]byte(show(FormatJSON)), &back); err != nil || back != data {
		t.Errorf("json: %v, %+v", err, back)
	}
	if got := show(FormatYAML); got != "name: west\ntotal: 3\n" {
		t.Errorf("yaml: %q", got)
	}
	if err := yaml.UnmarshalStrict([]byte(show(FormatYAML)), &back); err != nil || back != data {
		t.Errorf("yaml: %v, %+v", err, back)
	}
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestPrintTellsOfAFailedWrite(t *testing.T) {
	for _, f := range []Format{FormatTable, FormatJSON, FormatYAML} {
		err := Print(full{}, f, "x", func() io.WriterTo { return NewTable("A") })
		if federation.CodeOf(err) != federation.Internal || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("%s: %v", f, err)
		}
	}
	if err := PrintSecret(full{}, "x"); err == nil {
		t.Error("a token that was not written is a success")
	}
}

func TestPrintSecretAddsNothingOffTerminal(t *testing.T) {
	var b bytes.Buffer
	if err := PrintSecret(&b, "token"); err != nil || b.String() != "token" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// TestWideTablesStandCloser: what would not fit into 120 columns has two blanks between columns.
func TestWideTablesStandCloser(t *testing.T) {
	for width, blanks := range map[int]int{120: 3, 121: 2} {
		table := NewTable("ID", "NAME", "AGE")
		long := strings.Repeat("é", width-len("ID")-len("AGE")-2*3)
		table.Row("1", long, "49s")
		gap := strings.Repeat(" ", blanks)
		if got, want := render(t, table), "1 "+gap+long+gap+"49s\n"; !strings.HasSuffix(got, "\n"+want) {
			t.Errorf("%d columns: %q, want %q", width, got, want)
		}
	}
}
