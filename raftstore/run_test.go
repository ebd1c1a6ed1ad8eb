package raftstore

import (
	"context"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

func TestFoundingMakesTheFirstKeys(t *testing.T) {
	m := start(t, alone(t, t.TempDir(), testSeal(t))).awaitReady()
	if !m.IsLeader() {
		t.Fatal("a lone node is ready and does not lead")
	}
	want := []cptoken.KeyID{
		{Kind: cptoken.ControlPlane, KID: "1"}, {Kind: cptoken.Zone, KID: "1"},
		{Kind: cptoken.Dataplane, Mesh: "default", KID: "1"}, {Kind: cptoken.User, KID: "1"},
	}
	keys := m.Keys()
	if len(keys) != len(want) {
		t.Fatalf("%d keys, want %d", len(keys), len(want))
	}
	for i, k := range keys {
		if k.ID != want[i] || k.State != cptoken.Active || len(k.Fingerprint) == 0 {
			t.Errorf("key %d is %v %s", i, k.ID, k.State)
		}
		if (k.Public == nil) != (k.ID.Kind == cptoken.ControlPlane) {
			t.Errorf("key %v: public part %v", k.ID, k.Public)
		}
		if _, err := m.Signer(k.ID.Kind, k.ID.Mesh); err != nil {
			t.Errorf("signer of %v: %v", k.ID, err)
		}
	}
	if key, imported := m.ControlPlaneKey(1); key == nil || imported {
		t.Errorf("control plane key: %v, imported %v", key, imported)
	}
	if key, _ := m.ControlPlaneKey(2); key != nil {
		t.Error("a control plane key that was never made")
	}
	cluster, rev := m.Head()
	if cluster == "" || cluster != m.ClusterID() || rev.IsZero() {
		t.Errorf("head %q %v", cluster, rev)
	}
	if id, addr := m.Leader(); id != m.NodeID() || addr == "" {
		t.Errorf("leader %q %q", id, addr)
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	dir, seal := t.TempDir(), testSeal(t)
	m := start(t, alone(t, dir, seal)).awaitReady()
	ctx := context.Background()
	ids := revokedIDs(3)
	change, err := m.Revoke(ctx, Origin{By: "ann"}, cptoken.Zone, "", ids, "lost laptop")
	if err != nil || change.Changed != 3 {
		t.Fatalf("revoke: %+v %v", change, err)
	}
	node, cluster, keys := m.NodeID(), m.ClusterID(), m.Keys()
	m.stop()

	// Another port: the node must find itself under its new address.
	m = start(t, alone(t, dir, seal)).awaitReady()
	if m.NodeID() != node || m.ClusterID() != cluster {
		t.Errorf("node %s of %s became %s of %s", node, cluster, m.NodeID(), m.ClusterID())
	}
	if _, rev := m.Head(); rev != change.Revision {
		t.Errorf("revision %v, want %v", rev, change.Revision)
	}
	for i, k := range m.Keys() {
		if k.ID != keys[i].ID || string(k.Fingerprint) != string(keys[i].Fingerprint) {
			t.Errorf("key %v is not what it was", k.ID)
		}
	}
	for _, id := range ids {
		if !m.View().Revoked(cptoken.Zone, "", id.ID) {
			t.Errorf("%s is no longer revoked", id.ID)
		}
	}
	r := m.Revocations(cptoken.Zone, "", "", 0)
	if len(r) != 3 || r[0].Reason != "lost laptop" || r[0].By != "ann" {
		t.Errorf("revocations %+v", r)
	}
	_, at := m.Leader()
	all := m.Members()
	if want := m.cfg.Layer.Addr().String(); len(all) != 1 || all[0].Address != want || at != want {
		t.Errorf("members %+v, leader at %s, want %s", all, at, want)
	}
}

// TestALoneNodeWaitsForNobody: there is no leader that it could hear of, also not
// under the address that it had before. By timeout it would lead after a minute or
// two, which is longer than the test waits.
func TestALoneNodeWaitsForNobody(t *testing.T) {
	dir, seal := t.TempDir(), testSeal(t)
	for range 2 {
		cfg := alone(t, dir, seal)
		cfg.ElectionTimeout = time.Minute
		start(t, cfg).awaitReady().stop()
	}
}

func TestWritesBeforeStartAreRefused(t *testing.T) {
	s, err := Open(alone(t, t.TempDir(), testSeal(t)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Revoke(context.Background(), Origin{}, cptoken.Zone, "", revokedIDs(1), "")
	wantCode(t, err, federation.Unavailable, "not_leader")
	if _, err := s.Since(federation.Revision{}); federation.CodeOf(err) != federation.Unavailable {
		t.Errorf("since: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if _, err := s.LeaderContext(ctx); err == nil {
		t.Error("leadership of a store that does not run")
	}
}

func TestRotation(t *testing.T) {
	m := start(t, alone(t, t.TempDir(), testSeal(t))).awaitReady()
	ctx, o := context.Background(), Origin{By: "ann", RequestID: "r1"}
	k, err := m.PrepareKey(ctx, o, cptoken.Zone, "")
	if err != nil || k.State != cptoken.Prepared || k.Serial != 2 {
		t.Fatalf("prepare: %+v %v", k, err)
	}
	again, err := m.PrepareKey(ctx, o, cptoken.Zone, "")
	if err != nil || again.ID != k.ID {
		t.Fatalf("prepare again: %+v %v", again, err)
	}
	if s, _ := m.Signer(cptoken.Zone, ""); s.Ref().Serial != 1 {
		t.Error("a prepared key signs")
	}
	watch := m.Watch()
	if k, err = m.ActivateKey(ctx, o, k.ID); err != nil || k.State != cptoken.Active {
		t.Fatalf("activate: %+v %v", k, err)
	}
	<-watch
	if s, _ := m.Signer(cptoken.Zone, ""); s.Ref().Serial != 2 {
		t.Error("the activated key does not sign")
	}
	_, err = m.RemoveKey(ctx, o, k.ID, RemoveOptions{Force: true})
	wantCode(t, err, federation.Conflict, "key_active")
	old := cptoken.KeyID{Kind: cptoken.Zone, KID: "1"}
	_, err = m.RemoveKey(ctx, o, old, RemoveOptions{})
	wantCode(t, err, federation.Conflict, "may_cut_tokens")
	if k, err = m.RemoveKey(ctx, o, old, RemoveOptions{Force: true}); err != nil || k.State != cptoken.Removed {
		t.Fatalf("remove: %+v %v", k, err)
	}
	if m.View().Key(old) != nil {
		t.Error("a removed key verifies")
	}
}
