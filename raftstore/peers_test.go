package raftstore

import (
	"maps"
	"testing"

	"github.com/meridiankds/meridian/raftstore/disk"
	"github.com/meridiankds/meridian/raftstore/raftnet"
)

// TestWhereMembersAre: a member is where it was found last, by another node's word at the
// earliest, and where it joined until it was found. The cluster's configuration keeps the
// latter: hashicorp/raft never sees an address change. What was found outlives a restart.
func TestWhereMembersAre(t *testing.T) {
	dir, seal := t.TempDir(), testSeal(t)
	m := start(t, alone(t, dir, seal)).awaitReady()
	if err := m.AddMember("b", "b.example:5683"); err != nil {
		t.Fatal(err)
	}
	want := func(b string) {
		t.Helper()
		at := map[string]string{}
		for _, member := range m.Members() {
			at[member.ID] = member.Address
		}
		if both := map[string]string{m.NodeID(): m.cfg.Layer.Addr().String(), "b": b}; !maps.Equal(at, both) {
			t.Errorf("members at %v, want %v", at, both)
		}
		dialled, err := addresses{m.Store}.ServerAddr("b")
		if err != nil || dialled != raftnet.JoinAddress("b", b) {
			t.Errorf("Raft dials %s, %v; want b at %s", dialled, err, b)
		}
	}
	want("b.example:5683")
	m.Locate("b", "elsewhere:5683")
	want("elsewhere:5683")
	if err := m.AddMember("b", "again.example:5683"); err != nil {
		t.Fatal(err)
	}
	want("again.example:5683")
	if server := m.configured("b"); server.Address != raftnet.JoinAddress("b", "b.example:5683") {
		t.Errorf("the configuration has %s", server.Address)
	}
	m.Locate("", "nobody:1")
	m.Locate("b", "")
	want("again.example:5683")
	m.stop()
	if kept, err := disk.LoadMemory(dir); err != nil || kept.Places["b"] != "again.example:5683" {
		t.Errorf("standings.json has %v, %v", kept.Places, err)
	}
}

// TestPlacesAreBounded: of nodes that come and go, those that are known are kept.
func TestPlacesAreBounded(t *testing.T) {
	m := start(t, alone(t, t.TempDir(), testSeal(t))).awaitReady()
	m.Locate("b", "b:1")
	for i := range 2 * maxPlaces {
		m.Locate(string(rune('A'+i)), "c:1")
	}
	m.Locate("b", "b:2")
	m.memory.mu.Lock()
	defer m.memory.mu.Unlock()
	if places := m.memory.present.Places; len(places) != maxPlaces || places["b"] != "b:2" {
		t.Errorf("%d places, b at %s", len(places), places["b"])
	}
}
