package membership

import (
	"testing"
	"time"
)

func voter(id string, live bool) server {
	return server{id: id, voter: true, live: live, current: live}
}

func gone(id string, votes bool, silent time.Duration) server {
	return server{id: id, voter: votes, silent: silent}
}

func TestPlan(t *testing.T) {
	r := rules{expect: 3, stabilize: 10 * time.Second, deadAfter: time.Minute}
	self := server{id: "a", voter: true, self: true, live: true, current: true}
	newcomer := func(keepsUp time.Duration) server {
		return server{id: "d", live: true, current: true, keepsUp: keepsUp}
	}
	for name, tt := range map[string]struct {
		servers []server
		want    change
	}{
		"nothing to do":                         {[]server{self, voter("b", true), voter("c", true)}, change{}},
		"the founding does not wait":            {[]server{self, newcomer(0)}, change{promote: "d"}},
		"later one waits until it is stable":    {[]server{self, voter("b", true), voter("c", true), newcomer(9 * time.Second)}, change{}},
		"stable":                                {[]server{self, voter("b", true), voter("c", true), newcomer(10 * time.Second)}, change{promote: "d"}},
		"not caught up":                         {[]server{self, {id: "d", live: true}}, change{}},
		"not live":                              {[]server{self, {id: "d", current: true, keepsUp: time.Hour}}, change{}},
		"a dead newcomer":                       {[]server{self, voter("b", true), voter("c", true), gone("d", false, time.Minute)}, change{remove: "d"}},
		"a newcomer that is silent for a while": {[]server{self, voter("b", true), voter("c", true), gone("d", false, time.Second)}, change{}},
		"a dead voter that is needed":           {[]server{self, voter("b", true), gone("c", true, time.Hour)}, change{}},
		"a dead voter that was replaced":        {[]server{self, voter("b", true), voter("d", true), gone("c", true, time.Hour)}, change{remove: "c"}},
		"two dead of five":                      {[]server{self, voter("b", true), voter("c", true), gone("d", true, time.Hour), gone("e", true, time.Hour)}, change{}},
		"a replacement comes before a removal": {
			[]server{self, voter("b", true), gone("c", true, time.Hour), newcomer(10 * time.Second)}, change{promote: "d"}},
	} {
		got, ok := plan(tt.servers, r)
		got.why = ""
		if got != tt.want || ok != (tt.want != change{}) {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

func TestMayRemove(t *testing.T) {
	self := server{id: "a", voter: true, self: true}
	for name, tt := range map[string]struct {
		servers []server
		id      string
		want    bool
	}{
		"the dead one of three":              {[]server{self, voter("b", true), voter("c", false)}, "c", true},
		"the live one of three":              {[]server{self, voter("b", true), voter("c", false)}, "b", false},
		"one of two":                         {[]server{self, voter("b", false)}, "b", true},
		"one without a vote":                 {[]server{self, voter("b", true), {id: "d"}}, "d", true},
		"one of five, two others are dead":   {[]server{self, voter("b", true), voter("c", true), voter("d", false), voter("e", false)}, "b", false},
		"a dead one of five, another is too": {[]server{self, voter("b", true), voter("c", true), voter("d", false), voter("e", false)}, "e", true},
	} {
		if got := mayRemove(tt.servers, tt.id); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
