package zones

import (
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/apitypes"
)

// TestWhatARestartForgets: sessions are not kept over a restart of the global. A zone that
// was connected before is not said never to have been.
func TestWhatARestartForgets(t *testing.T) {
	at := time.Now().Add(-90 * time.Second)
	for name, tc := range map[string]struct {
		zone          apitypes.ZoneState
		column, field string
	}{
		"never connected":            {apitypes.ZoneState{Name: "west"}, "never", "never"},
		"connected before a restart": {apitypes.ZoneState{Name: "west", FirstSeen: &at}, "not since start", "not since start"},
		"seen since":                 {apitypes.ZoneState{Name: "west", FirstSeen: &at, LastSeen: &at}, "1m", "(1m ago)"},
	} {
		var table, detail strings.Builder
		_, _ = zoneTable([]apitypes.ZoneState{tc.zone}, "").WriteTo(&table)
		if got := strings.Join(strings.Fields(strings.Split(table.String(), "\n")[1])[2:], " "); !strings.HasPrefix(got, tc.column) {
			t.Errorf("%s: the column says %q, want %q", name, got, tc.column)
		}
		_, _ = zoneFields(apitypes.ZoneDetail{ZoneState: tc.zone}, "", at.Add(90*time.Second)).WriteTo(&detail)
		_, last, _ := strings.Cut(detail.String(), "last seen:")
		if got, _, _ := strings.Cut(last, "\n"); !strings.HasSuffix(got, tc.field) {
			t.Errorf("%s: last seen %q, want %q", name, got, tc.field)
		}
	}
}

// TestNothingBehindIsExplained: an instance may hold an older revision than the global and
// lack nothing, because what was changed since concerns no zone.
func TestNothingBehindIsExplained(t *testing.T) {
	none, one := uint64(0), uint64(1)
	for want, s := range map[string]apitypes.Session{
		"nothing": {Revision: "h@28", Behind: &none},
		"nothing: what was changed since concerns no zone": {Revision: "h@26", Behind: &none},
		"1 change": {Revision: "h@26", Behind: &one},
		"unknown":  {Revision: "g@30"},
	} {
		if got := lag(s, "h@28"); got != want {
			t.Errorf("%s of h@28: %q, want %q", s.Revision, got, want)
		}
	}
}
