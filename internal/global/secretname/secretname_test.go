package secretname

import (
	"testing"

	"github.com/meridiankds/meridian/cptoken"
)

func TestSecretNames(t *testing.T) {
	tests := []struct {
		mesh, name string
		want       Ref
		shown      string // where it differs from name
	}{
		{"", "control-plane-signing-key-0001", Ref{Kind: cptoken.ControlPlane, Serial: 1}, ""},
		{"", "control-plane-signing-key-9999", Ref{Kind: cptoken.ControlPlane, Serial: 9999}, ""},
		{"", "control-plane-signing-key-12345", Ref{Kind: cptoken.ControlPlane, Serial: 12345}, ""},
		{"", "control-plane-signing-key-2", Ref{Kind: cptoken.ControlPlane, Serial: 2}, "control-plane-signing-key-0002"},
		{"", "control-plane-signing-key-002", Ref{Kind: cptoken.ControlPlane, Serial: 2}, "control-plane-signing-key-0002"},
		{"", "zone-token-signing-key-1", Ref{Kind: cptoken.Zone, Serial: 1}, ""},
		{"", "zone-token-signing-key-18446744073709551615", Ref{Kind: cptoken.Zone, Serial: 1<<64 - 1}, ""},
		{"", "user-token-signing-key-30", Ref{Kind: cptoken.User, Serial: 30}, ""},
		{"", "control-plane-token-revocations", Ref{Kind: cptoken.ControlPlane}, ""},
		{"", "zone-token-revocations", Ref{Kind: cptoken.Zone}, ""},
		{"", "zoneegress-token-revocations", Ref{Kind: cptoken.Zone, AddOnly: true}, ""},
		{"", "user-token-revocations", Ref{Kind: cptoken.User}, ""},
		{"default", "dataplane-token-signing-key-default-1", Ref{Kind: cptoken.Dataplane, Mesh: "default", Serial: 1}, ""},
		{"a-1", "dataplane-token-signing-key-a-1-2", Ref{Kind: cptoken.Dataplane, Mesh: "a-1", Serial: 2}, ""},
		{"default", "dataplane-token-revocations-default", Ref{Kind: cptoken.Dataplane, Mesh: "default"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := Parse(tt.mesh, tt.name)
			if !ok || got != tt.want {
				t.Fatalf("parsed as %+v, %t, want %+v", got, ok, tt.want)
			}
			shown := tt.shown
			if shown == "" {
				shown = tt.name
			}
			if got.Name() != shown {
				t.Errorf("shown as %q, want %q", got.Name(), shown)
			}
		})
	}
}

func TestNotASecretName(t *testing.T) {
	tests := []struct{ mesh, name string }{
		{"", ""},
		{"", "my-secret"},
		{"", "zone-token-signing-key-"},
		{"", "zone-token-signing-key-0"},
		{"", "zone-token-signing-key-01"},
		{"", "zone-token-signing-key-1 "},
		{"", "zone-token-signing-key-+1"},
		{"", "zone-token-signing-key--1"},
		{"", "zone-token-signing-key-1.0"},
		{"", "zone-token-signing-key-18446744073709551616"},
		{"", "zone-token-signing-key-99999999999999999999999999"},
		{"", "Zone-token-signing-key-1"},
		{"", "zone-token-signing-public-key-1"},
		{"", "control-plane-signing-key-0000"},
		{"", "control-plane-signing-key-00001"},
		{"", "control-plane-token-signing-key-1"},
		{"", "zone-token-revocations-default"},
		{"", "zone-token-revocations/"},
		// What belongs to a mesh is not global, and the other way round.
		{"", "dataplane-token-signing-key-default-1"},
		{"", "dataplane-token-signing-key--1"},
		{"", "dataplane-token-revocations-default"},
		{"", "dataplane-token-revocations-"},
		{"default", "zone-token-signing-key-1"},
		{"default", "zone-token-revocations"},
		{"default", "zoneegress-token-revocations"},
		// Another mesh's.
		{"default", "dataplane-token-signing-key-other-1"},
		{"default", "dataplane-token-revocations-other"},
		{"a", "dataplane-token-signing-key-a-1-2"},
	}
	for _, tt := range tests {
		if got, ok := Parse(tt.mesh, tt.name); ok {
			t.Errorf("%q in mesh %q stands for %+v, want nothing", tt.name, tt.mesh, got)
		}
	}
}
