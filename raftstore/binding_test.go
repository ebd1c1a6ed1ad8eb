package raftstore

import (
	"bytes"
	"context"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/raftstore/state"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// TestAKeyOfAnotherClusterIsBroken: the sealed part of a key, moved here from another
// cluster with the same seal key, opens for nobody.
func TestAKeyOfAnotherClusterIsBroken(t *testing.T) {
	m := start(t, alone(t, t.TempDir(), testSeal(t))).awaitReady()
	key, err := m.Signer(cptoken.User, "")
	if err != nil {
		t.Fatal(err)
	}
	id := key.Ref().KeyID()
	for name, cluster := range map[string]string{"of another cluster": "another", "of none": ""} {
		sealed, err := m.cfg.Seal.Seal(cluster, key.Ref(), key.Material())
		if err != nil {
			t.Fatal(err)
		}
		replaceSeal(t, m, id, sealedTo(sealed))
		if broken := m.Broken(); len(broken) != 1 || broken[0] != id {
			t.Errorf("%s: broken are %v", name, broken)
		}
	}
	sealed, err := m.cfg.Seal.Seal(m.ClusterID(), key.Ref(), key.Material())
	if err != nil {
		t.Fatal(err)
	}
	replaceSeal(t, m, id, sealedTo(sealed))
	if broken := m.Broken(); len(broken) != 0 {
		t.Errorf("its own seal: broken are %v", broken)
	}
}

func replaceSeal(t *testing.T, m *member, id cptoken.KeyID, sealed *storepb.Sealed) {
	t.Helper()
	_, err := m.propose(context.Background(), Origin{}, "", &storepb.Command{Op: &storepb.Command_Reseal{Reseal: &storepb.Reseal{
		Items: []*storepb.Reseal_Item{{Id: state.KeyRef(id), Sealed: sealed}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSealsAreBoundWithTheSecret: a cluster of a level without a secret seals its keys
// for no cluster, as older members expect. When it goes over, they are all bound before
// the secret is there, which is when other seals stop to count.
func TestSealsAreBoundWithTheSecret(t *testing.T) {
	m := founded(t, state.LevelSecret-1)
	ctx := context.Background()
	for i := range resealItems { // more than one batch
		ref := issue.Ref{Kind: cptoken.ControlPlane, Serial: uint64(i + 2)}
		if _, err := m.ImportKey(ctx, ann, ref, bytes.Repeat([]byte{byte(i)}, 32)); err != nil {
			t.Fatal(err)
		}
	}
	bound := func() (n, all int) {
		st := m.fsm.current()
		for _, k := range st.Records() {
			all++
			if _, err := m.cfg.Seal.Open(st.Cluster(), refOf(k), sealedFrom(k.Sealed())); err == nil {
				n++
			}
		}
		return n, all
	}
	if n, all := bound(); n != 0 || all <= resealItems || len(m.Broken()) != 0 {
		t.Errorf("at first %d of %d seals are bound, broken are %v", n, all, m.Broken())
	}
	if err := m.RaiseLevel(ctx, ann, state.LevelSecret); err != nil {
		t.Fatal(err)
	}
	if n, all := bound(); n != all || len(m.fsm.current().Secrets()) != 1 || len(m.Broken()) != 0 {
		t.Errorf("then %d of %d seals are bound, broken are %v", n, all, m.Broken())
	}
	if _, err := m.PrepareKey(ctx, ann, cptoken.User, ""); err != nil {
		t.Fatal(err)
	}
	if n, all := bound(); n != all {
		t.Errorf("a later key is not bound: %d of %d", n, all)
	}
}
