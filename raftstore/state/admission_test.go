package state

import (
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// TestWhatWakesAdmission: what concerns sessions of zones is told apart from what
// does not.
func TestWhatWakesAdmission(t *testing.T) {
	c := newCore(t)
	revoke := func(kind cptoken.Kind, mesh, id string) *storepb.Command {
		return &storepb.Command{Op: &storepb.Command_Revoke{Revoke: &storepb.Revoke{
			Kind: string(kind), Mesh: mesh, Ids: []*storepb.RevokedID{{Id: id}},
		}}}
	}
	for _, step := range []struct {
		name string
		cmd  *storepb.Command
		want bool
	}{
		{"a control plane token revoked", revoke(cptoken.ControlPlane, "", randomUUID()), true},
		{"one without a UUID", revoke(cptoken.ControlPlane, "", "a-name"), true},
		{"the same again", revoke(cptoken.ControlPlane, "", "a-name"), false},
		{"a zone token revoked", revoke(cptoken.Zone, "", randomUUID()), true},
		{"a dataplane token revoked", revoke(cptoken.Dataplane, "default", randomUUID()), false},
		{"a user token revoked", revoke(cptoken.User, "", randomUUID()), false},
		{"a refused change", revoke(cptoken.ControlPlane, "", ""), false},
		{"a zone disabled", &storepb.Command{Op: &storepb.Command_ApplyZone{ApplyZone: &storepb.ApplyZone{Name: "west"}}}, true},
		{"a zone deleted", &storepb.Command{Op: &storepb.Command_DeleteZone{DeleteZone: &storepb.DeleteZone{Name: "west"}}}, true},
		{"a cut-off", &storepb.Command{Op: &storepb.Command_SetCutOff{SetCutOff: &storepb.SetCutOff{
			Id: &storepb.KeyRef{Kind: string(cptoken.ControlPlane)}, BeforeS: testTime/1000 - 60,
		}}}, true},
		{"a key prepared", &storepb.Command{Op: &storepb.Command_PrepareKey{PrepareKey: preparing(cptoken.ControlPlane, "", 2)}}, true},
	} {
		before := c.s.Capture()
		c.apply(step.cmd)
		if got := AdmissionChanged(before, c.s.Capture()); got != step.want {
			t.Errorf("%s: wakes %t, want %t", step.name, got, step.want)
		}
	}
}
