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
		return server{id: "d", live: true, heard: true, current: true, keepsUp: keepsUp}
	}
	replica := server{id: "d", live: true, heard: true, current: true, nonVoter: true, keepsUp: time.Hour}
	unwilling := func(s server) server { s.nonVoter = true; return s }
	restarted := func(s server) server { s.restarts = 1; return s }
	for name, tt := range map[string]struct {
		servers []server
		want    change
	}{
		"nothing to do":                            {[]server{self, voter("b", true), voter("c", true)}, change{}},
		"the founding does not wait":               {[]server{self, newcomer(0)}, change{promote: "d"}},
		"later one waits until it is stable":       {[]server{self, voter("b", true), voter("c", true), newcomer(9 * time.Second)}, change{}},
		"stable":                                   {[]server{self, voter("b", true), voter("c", true), newcomer(10 * time.Second)}, change{promote: "d"}},
		"died while its lease runs":                {[]server{self, voter("b", true), voter("c", true), {id: "d", live: true, current: true, keepsUp: 11 * time.Second}}, change{}},
		"and at the founding":                      {[]server{self, {id: "d", live: true, current: true}}, change{}},
		"not caught up":                            {[]server{self, {id: "d", live: true, heard: true}}, change{}},
		"not live":                                 {[]server{self, {id: "d", heard: true, current: true, keepsUp: time.Hour}}, change{}},
		"a dead newcomer":                          {[]server{self, voter("b", true), voter("c", true), gone("d", false, time.Minute)}, change{remove: "d"}},
		"a newcomer that is silent for a while":    {[]server{self, voter("b", true), voter("c", true), gone("d", false, time.Second)}, change{}},
		"a dead voter that is needed":              {[]server{self, voter("b", true), gone("c", true, time.Hour)}, change{}},
		"a dead voter that was replaced":           {[]server{self, voter("b", true), voter("d", true), gone("c", true, time.Hour)}, change{remove: "c"}},
		"two dead of five":                         {[]server{self, voter("b", true), voter("c", true), gone("d", true, time.Hour), gone("e", true, time.Hour)}, change{}},
		"a replica is never promoted":              {[]server{self, voter("b", true), voter("c", true), replica}, change{}},
		"nor where too few vote":                   {[]server{self, replica}, change{}},
		"others are promoted beside it":            {[]server{self, newcomer(0), unwilling(newcomer(time.Hour))}, change{promote: "d"}},
		"a dead replica":                           {[]server{self, unwilling(gone("d", false, time.Minute))}, change{remove: "d"}},
		"a replica that is silent for a while":     {[]server{self, unwilling(gone("d", false, time.Second))}, change{}},
		"a voter that is not needed gives up":      {[]server{self, voter("b", true), voter("c", true), unwilling(voter("d", true))}, change{demote: "d"}},
		"one that is needed keeps its vote":        {[]server{self, voter("b", true), unwilling(voter("c", true))}, change{}},
		"and while another is dead":                {[]server{self, voter("b", true), voter("c", false), unwilling(voter("d", true))}, change{}},
		"of one that is silent nobody takes it":    {[]server{self, voter("b", true), voter("c", true), unwilling(voter("d", false))}, change{}},
		"a leader that wants no vote hands over":   {[]server{unwilling(self), voter("b", true), voter("c", true)}, change{handTo: "b"}},
		"not to one that wants none either":        {[]server{unwilling(self), unwilling(voter("b", true)), voter("c", true)}, change{handTo: "c"}},
		"nor to one that is dead":                  {[]server{unwilling(self), voter("b", false), voter("c", false)}, change{}},
		"where nobody wants a vote somebody leads": {[]server{unwilling(self), unwilling(voter("b", true)), unwilling(voter("c", true))}, change{}},
		"of five that want none three keep theirs": {[]server{unwilling(self), unwilling(voter("b", true)), unwilling(voter("c", true)), unwilling(voter("d", true)), unwilling(voter("e", true))}, change{demote: "b"}},
		"restarted, it must be stable for longer":  {[]server{self, voter("b", true), voter("c", true), restarted(newcomer(19 * time.Second))}, change{}},
		"and is promoted then":                     {[]server{self, voter("b", true), voter("c", true), restarted(newcomer(20 * time.Second))}, change{promote: "d"}},
		"restarted in the founding":                {[]server{self, restarted(newcomer(19 * time.Second))}, change{}},
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

func TestKeepsVote(t *testing.T) {
	self, c := server{id: "a", voter: true, self: true}, voter("c", true)
	c.nonVoter = true
	for name, tt := range map[string]struct {
		servers []server
		want    string
	}{
		"needed":                   {[]server{self, voter("b", true), c}, "c"},
		"not needed, and soon not": {[]server{self, voter("b", true), c, voter("d", true)}, ""},
		"without one already":      {[]server{self, voter("b", true), {id: "c", nonVoter: true}}, ""},
	} {
		if got := keepsVote(tt.servers, 3); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
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
