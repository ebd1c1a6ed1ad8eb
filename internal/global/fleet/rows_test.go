package fleet

import (
	"slices"
	"testing"
	"time"
)

// on is a session of an instance with its connection's number, which ended where end is set.
func on(instance string, connection uint64, ended bool) Session {
	return with(session("west", instance, 5), func(s *Session) {
		s.Connection = connection
		if ended {
			s.Disconnected = begin.Add(time.Second)
		}
	})
}

func kumas(instance string, connected time.Duration, ended bool) Session {
	return with(on(instance, 0, ended), func(s *Session) {
		s.Meridian, s.Connected, s.LastHeard = false, begin.Add(connected), begin.Add(connected)
	})
}

func notProved(s Session) Session { s.Authenticated = false; return s }

// TestOneRowForEachInstance: an instance that was at several members stands once, where it
// was last, by its own count.
func TestOneRowForEachInstance(t *testing.T) {
	type row struct{ instance, member string }
	for name, tt := range map[string]struct {
		reports map[string][]Session // by member
		after   time.Duration
		want    []row
		online  bool
	}{
		"moved":                    {map[string][]Session{"n1": {on("a", 1, true)}, "n2": {on("a", 2, false)}}, 0, []row{{"a", "n2"}}, true},
		"moved and came back":      {map[string][]Session{"n1": {on("a", 3, false)}, "n2": {on("a", 2, true)}}, 0, []row{{"a", "n1"}}, true},
		"was everywhere":           {map[string][]Session{"n1": {on("a", 7, true)}, "n2": {on("a", 9, true)}, "n3": {on("a", 8, true)}}, 0, []row{{"a", "n2"}}, false},
		"a member has not noticed": {map[string][]Session{"n1": {on("a", 1, false)}, "n2": {on("a", 2, true)}}, 0, []row{{"a", "n2"}}, false},
		"two instances":            {map[string][]Session{"n1": {on("a", 1, false), on("b", 1, true)}, "n2": {on("b", 2, false)}}, 0, []row{{"a", "n1"}, {"b", "n2"}}, true},
		"who proves nothing hides nobody": {map[string][]Session{"n1": {on("a", 1, false)}, "n2": {notProved(on("a", 1<<60, false))}}, 0,
			[]row{{"a", "n1"}}, true},
		"gone for less than a day":       {map[string][]Session{"n1": {on("a", 1, true)}}, 23 * time.Hour, []row{{"a", "n1"}}, false},
		"gone for a day":                 {map[string][]Session{"n1": {on("a", 1, true)}}, 25 * time.Hour, nil, false},
		"Kuma's, a new instance a start": {map[string][]Session{"n1": {kumas("a", 0, true)}, "n2": {kumas("b", time.Minute, true)}, "n3": {kumas("c", 2*time.Minute, false)}}, 0, []row{{"c", "n3"}}, true},
		"Kuma's, all ended":              {map[string][]Session{"n1": {kumas("a", time.Hour, true)}, "n2": {kumas("b", 0, true)}}, 0, []row{{"a", "n1"}}, false},
		"Kuma's, at a member that died": {map[string][]Session{"dead": {kumas("a", 0, false)}, "n2": {kumas("b", time.Minute, false)}}, 0,
			[]row{{"b", "n2"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f, c := newFleet()
			for member, sessions := range tt.reports {
				r := Report{Member: member, Sessions: sessions}
				if member == "dead" {
					r.LeaseUntil = begin.Add(-time.Second)
				}
				f.Update(r)
			}
			c.advance(tt.after)
			zones := f.Zones()
			if len(zones) != 1 || zones[0].LastSeen.IsZero() {
				t.Fatalf("zones: %+v", zones)
			}
			var got []row
			for _, s := range zones[0].Sessions {
				got = append(got, row{s.Instance, s.Member})
			}
			slices.SortFunc(got, func(a, b row) int { return int(a.instance[0]) - int(b.instance[0]) })
			if !slices.Equal(got, tt.want) || tt.after == 0 && zones[0].Online != tt.online {
				t.Errorf("rows %v, online %v; want %v, %v", got, zones[0].Online, tt.want, tt.online)
			}
		})
	}
}
