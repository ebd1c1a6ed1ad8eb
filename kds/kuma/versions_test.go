package kuma

import (
	"fmt"
	"slices"
	"testing"
)

func TestWhatVersionsHeed(t *testing.T) {
	for version, zoneLists := range map[string]bool{
		"2.8.8": false, "2.9.0": false, "2.9.12": false, "2.10.0": true, "2.10.1": true, "2.14.3": true, "3.0.0": true, "10.0.0": true,
		"1.8.1": false, "2.10.0-rc.1": false, "2.10.1-preview": true, "2.11.0-rc.1": true, "2.10": true,
		"": false, "unknown": false, "dev": false, "2": false, "2.x.1": false, "v2.14.3": false, "dev-2.14": false,
	} {
		if got := Heeds(version, ZoneRevocations); got != zoneLists {
			t.Errorf("%q heeds lists of zone tokens: %t, want %t", version, got, zoneLists)
		}
		unheeded := Unheeded(version)
		if slices.Contains(unheeded, ZoneRevocations) == zoneLists {
			t.Errorf("%q: %q", version, unheeded)
		}
		for _, what := range []string{DataplaneKeys, CutOffs, OpenStreams, RegisteredKeys, Expulsions} {
			if Heeds(version, what) || !slices.Contains(unheeded, what) {
				t.Errorf("%q is said to heed %s", version, what)
			}
		}
	}
	for _, h := range table {
		if h.source == "" {
			t.Errorf("%s: nobody says how it is known", h.what)
		}
	}
	for i, r := range releases {
		if r.minor != fmt.Sprint(8+i) || r.source == "" || !Speaks("2."+r.minor+".0") {
			t.Errorf("release 2.%s is out of order, is not served to kumactl, or nobody says how it is known", r.minor)
		}
	}
	if next := fmt.Sprintf("2.%d.0", 8+len(releases)); Speaks(next) {
		t.Errorf("kumactl %s is served, and the table has no such release", next)
	}
	if Heeds("2.14.3", "nonsense") {
		t.Error("what nobody knows is heeded")
	}
}

func TestKumactlsThatAreServed(t *testing.T) {
	for version, served := range map[string]bool{
		"2.8.0": true, "2.8.8": true, "2.9.13": true, "2.10.0": true, "2.14.3": true, "2.14.0-preview.1": true,
		"2.7.29": false, "2.15.0": false, "3.0.0": false, "2.08.1": false, "12.9.1": false, "2.14": false, "unknown": false, "": false, "2.14.3\n": false, "2.14.3 <": false,
	} {
		if Speaks(version) != served {
			t.Errorf("%q is served: %t", version, !served)
		}
	}
}
