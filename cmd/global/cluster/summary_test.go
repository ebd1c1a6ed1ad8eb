package cluster

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

func TestSummary(t *testing.T) {
	voters := func(live ...bool) apitypes.Cluster {
		c := apitypes.Cluster{Leader: "1", AnsweredBy: "1"}
		for i, l := range live {
			c.Members = append(c.Members, apitypes.Member{Name: "global-" + string(rune('1'+i)), Voter: true, Leader: i == 0, Live: l})
		}
		return c
	}
	zone := func(name string, online bool, behind uint64) apitypes.ZoneState {
		return apitypes.ZoneState{Name: name, Enabled: true, Online: online, Sessions: []apitypes.Session{{Online: online, Behind: &behind}}}
	}
	diverged := voters(true, true, true)
	diverged.Members[2].Diverged = true
	off := voters(true, true, true)
	off.Members[1].Clock = &apitypes.MemberClock{AheadSeconds: 60, Off: true}
	lost := voters(true, true, true)
	lost.Losses = []apitypes.Loss{{}}
	newer := voters(true, true, true)
	newer.NewerHistories = []string{"a"}
	doubted := voters(true, true, true)
	doubted.Doubts = []apitypes.Doubt{{ShownBy: "zone west", Why: "waits"}}
	warned := voters(true, true, true)
	warned.Warning = "something"
	advised := voters(true, true, true, true)
	advised.Advice = "4 voters tolerate the loss of no more members than 3 would"
	leaderless := voters(true, true, true)
	leaderless.Members[0].Leader = false
	follower := voters(false, false, false)
	follower.AnsweredBy = "2"
	reader := voters(true, true, true)
	reader.Members = append(reader.Members, apitypes.Member{Name: "reader", NonVoter: true})

	for _, tt := range []struct {
		members apitypes.Cluster
		zones   []apitypes.ZoneState
		says    string
		code    int
	}{
		{voters(true, true, true), nil, "3 of 3 voters live, tolerates the loss of 1; leader global-1; 0 zones; no alarms", console.ExitOK},
		{reader, nil, "3 of 3 voters live, tolerates the loss of 1; leader global-1", console.ExitOK},
		{voters(true, true, true), []apitypes.ZoneState{zone("a", true, 0), zone("b", true, 3), zone("c", false, 0), {Name: "d"}},
			"3 zones: 1 behind (b), 1 offline (c); no alarms", console.ExitOK},
		{voters(true, true, false), nil, "2 of 3 voters live (away: global-3), tolerates the loss of 0; leader global-1; 0 zones; no alarms", console.ExitPending},
		{advised, nil, "4 of 4 voters live, tolerates the loss of 1; leader global-1; 0 zones; no alarms", console.ExitOK},
		{voters(true, true, true, true, false), nil, "4 of 5 voters live (away: global-5), tolerates the loss of 1", console.ExitOK},
		{voters(true, true), nil, "2 of 2 voters live, tolerates the loss of 0", console.ExitPending},
		{voters(true), []apitypes.ZoneState{zone("a", true, 0)}, "1 of 1 voter live, tolerates the loss of 0; leader global-1; 1 zone; no alarms", console.ExitPending},
		{diverged, nil, "1 alarm: member global-3 has diverged", console.ExitPending},
		{off, nil, "1 alarm: the clock of member global-2 is off by +1m0s", console.ExitPending},
		{lost, nil, "1 alarm: acknowledged changes were lost, and nobody has confirmed it: 1", console.ExitPending},
		{newer, nil, "1 alarm: zones hold a newer history", console.ExitPending},
		{doubted, nil, "1 alarm: zone west holds what this cluster does not have", console.ExitPending},
		{warned, nil, "1 alarm: something", console.ExitPending},
		{follower, nil, "2 alarms: too few voters answer to change anything; the leader does not answer: this is what another member knows", console.ExitPending},
		{leaderless, nil, "no leader; 0 zones; 1 alarm: no leader is known", console.ExitPending},
	} {
		s := summarize(tt.members, tt.zones)
		if got := s.String(); !strings.Contains(got, tt.says) {
			t.Errorf("it says %q, not %q", got, tt.says)
		}
		if got := console.ExitCode(s.verdict()); got != tt.code {
			t.Errorf("%q: exit code %d, want %d", tt.says, got, tt.code)
		}
		if s.alone() { // not asked how safe it is, this command says of one node alone that nothing is wrong
			tt.code = console.ExitOK
		}
		if slices.ContainsFunc(tt.members.Members, func(m apitypes.Member) bool { return !m.Live }) { // who looks at members is told of each
			tt.code = console.ExitPending
		}
		if got := console.ExitCode(judge(tt.members, s)); got != tt.code {
			t.Errorf("%q: cluster status ends with the exit code %d, want %d", tt.says, got, tt.code)
		}
	}
}

// TestEveryListOfAStatusIsAnAlarm: whatever is listed beside the members has the commands end
// with the exit code 3.
func TestEveryListOfAStatusIsAnAlarm(t *testing.T) {
	one := apitypes.Member{ID: "1", Voter: true, Leader: true, Live: true}
	for i := range reflect.TypeFor[apitypes.Cluster]().NumField() {
		status := apitypes.Cluster{Leader: "1", AnsweredBy: "1", Members: []apitypes.Member{one, one, one}}
		f := reflect.TypeFor[apitypes.Cluster]().Field(i)
		if f.Type.Kind() != reflect.Slice || f.Name == "Members" {
			continue
		}
		if code := console.ExitCode(alarm(status)); code != console.ExitOK {
			t.Fatalf("a good cluster ends with %d", code)
		}
		reflect.ValueOf(&status).Elem().Field(i).Set(reflect.MakeSlice(f.Type, 1, 1))
		if code := console.ExitCode(alarm(status)); code != console.ExitPending {
			t.Errorf("cluster status with %s ends with the exit code %d, want %d", f.Name, code, console.ExitPending)
		}
		if code := console.ExitCode(summarize(status, nil).verdict()); code != console.ExitPending {
			t.Errorf("status with %s ends with the exit code %d, want %d", f.Name, code, console.ExitPending)
		}
	}
}
