package fleet

import (
	"reflect"
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/kds/kuma"
)

// TestUnheeding: zones count by what runs there now, or ran last; of two control planes of
// a zone the one that heeds less.
func TestUnheeding(t *testing.T) {
	f, _ := newFleet()
	of := func(zone, instance, version string, change ...func(*Session)) Session {
		s := with(session(zone, instance, 5), ofKuma)
		s.Version = version
		for _, c := range change {
			c(&s)
		}
		return s
	}
	later := func(s *Session) { s.Connected, s.LastHeard = begin.Add(time.Hour), begin.Add(time.Hour) }
	f.Update(Report{Member: "n1", Sessions: []Session{
		of("a-old", "1", "2.8.8"), of("b-new", "1", "2.14.3"), of("c-both", "1", "2.14.3"), of("d-gone", "1", "2.8.8", ended),
		of("e-upgraded", "1", "2.8.8", ended), of("f-unproven", "1", "2.9.1", provesNothing), of("h-unknown", "1", ""),
		session("i-ours", "1", 5), of("i-ours", "2", "2.8.8", ended),
	}})
	f.Update(Report{Member: "n2", Sessions: []Session{
		of("c-both", "2", "2.9.0"), of("e-upgraded", "2", "2.10.0"), of("d-gone", "2", "2.7.0", ended, later),
	}})
	var want []apitypes.UnheedingZone
	for _, z := range []KumaZone{{"a-old", "2.8.8"}, {"c-both", "2.9.0"}, {"d-gone", "2.7.0"}, {"f-unproven", "2.9.1"}, {"h-unknown", ""}} {
		want = append(want, apitypes.UnheedingZone{Zone: z.Zone, Version: z.Version, What: kuma.ZoneRevocations})
	}
	if got := f.Unheeding(kuma.ZoneRevocations); !reflect.DeepEqual(got, want) {
		t.Errorf("lists of zone tokens are not heeded by %v, want %v", got, want)
	}
	if got := f.Unheeding(kuma.CutOffs); len(got) != 7 {
		t.Errorf("cut-offs are not heeded by %v, want all seven zones of Kuma's", got)
	}
}
