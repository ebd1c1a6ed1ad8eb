package raftstore

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/disk"
	"github.com/meridiankds/meridian/raftstore/state"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// secrets returns byte strings that would give a key away: pieces of its material
// as it is, and of its private numbers, also in the texts that programs make of
// bytes.
func secrets(t testing.TB, key *issue.SigningKey) [][]byte {
	t.Helper()
	material := key.Material()
	pieces := [][]byte{material}
	if key.Ref().Kind != cptoken.ControlPlane {
		priv, err := x509.ParsePKCS8PrivateKey(material)
		if err != nil {
			t.Fatal(err)
		}
		pieces = privateNumbers(t, priv)
	}
	var found [][]byte
	for _, p := range pieces {
		if len(p) < 32 {
			t.Fatalf("a private number of %d bytes", len(p))
		}
		// Windows of 24 bytes are unmistakable, and found wherever a copy was cut.
		for at := 0; at+24 <= len(p); at += 8 {
			w := p[at : at+24]
			found = append(found, w, []byte(hex.EncodeToString(w)), []byte(base64.StdEncoding.EncodeToString(w)))
		}
	}
	return found
}

// TestNoPrivateKeyOnDisk looks for the private material of every key in every file
// of the data folder: the log, a snapshot, the node's own file.
func TestNoPrivateKeyOnDisk(t *testing.T) {
	seal, dir := testSeal(t), t.TempDir()
	m := start(t, alone(t, dir, seal)).awaitReady()
	ctx := context.Background()
	imported := bytes.Repeat([]byte("an imported secret of 40 bytes.."), 2)
	if _, err := m.ImportKey(ctx, Origin{By: "ann"}, issue.Ref{Kind: cptoken.ControlPlane, Serial: 7}, imported); err != nil {
		t.Fatal(err)
	}
	if _, err := m.PrepareKey(ctx, Origin{By: "ann"}, cptoken.Zone, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := m.ApplyMesh(ctx, Origin{By: "ann"}, "shop"); err != nil {
		t.Fatal(err)
	}
	if err := m.raft.Load().Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	var needles [][]byte
	for _, k := range m.fsm.current().Records() {
		key, err := m.open(k)
		if err != nil {
			t.Fatal(err)
		}
		needles = append(needles, secrets(t, key)...)
	}
	m.stop()

	files := contents(t, dir)
	if len(files) != 5 { // node.json, standings.json, raft.db, and a snapshot's two
		t.Errorf("%d files", len(files))
	}
	for name, data := range files {
		for _, n := range needles {
			if bytes.Contains([]byte(data), n) {
				t.Fatalf("%s holds a piece of a private key", name)
			}
		}
	}
}

// TestTheSearchFindsAKey: the search above would find a key that was stored
// unsealed.
func TestTheSearchFindsAKey(t *testing.T) {
	for _, kind := range []cptoken.Kind{cptoken.ControlPlane, cptoken.Zone} {
		key, err := issue.Generate(issue.Ref{Kind: kind, Serial: 1})
		if err != nil {
			t.Fatal(err)
		}
		prepare := func(material []byte) []byte {
			return encoded(t, &storepb.Command{Level: 1, Op: &storepb.Command_PrepareKey{PrepareKey: &storepb.PrepareKey{
				Kind: string(kind), Serial: 2, Alg: key.Alg(), PublicDer: key.PublicDER(),
				Sealed: &storepb.Sealed{SealKeyId: "k", Nonce: []byte("n"), Ciphertext: material},
			}}})
		}
		found := 0
		for _, n := range secrets(t, key) {
			if bytes.Contains(prepare([]byte("sealed")), n) {
				t.Fatal("a needle is found in any command")
			}
			if bytes.Contains(prepare(key.Material()), n) {
				found++
			}
		}
		if found == 0 {
			t.Errorf("an unsealed %s key is not found", kind)
		}
	}
}

func TestImportedKeys(t *testing.T) {
	dir, seal := t.TempDir(), testSeal(t)
	m := start(t, alone(t, dir, seal)).awaitReady()
	ctx, o := context.Background(), Origin{By: "ann"}
	secret := bytes.Repeat([]byte{7}, 48)
	k, err := m.ImportKey(ctx, o, issue.Ref{Kind: cptoken.ControlPlane, Serial: 4}, secret)
	if err != nil || !k.Imported || k.Serial != 4 || k.State != cptoken.Prepared {
		t.Fatalf("import: %+v %v", k, err)
	}
	_, err = m.ImportKey(ctx, o, issue.Ref{Kind: cptoken.ControlPlane, Serial: 4}, secret)
	wantCode(t, err, "conflict", "serial_used")
	if _, err := m.ImportKey(ctx, o, issue.Ref{Kind: cptoken.ControlPlane, Serial: 5}, []byte("short")); err == nil {
		t.Error("a short key was imported")
	}
	// Serials jump by 100 after a loss, and must not begin anew.
	for _, serial := range []uint64{maxImported + 1, 1<<64 - 1} {
		_, err := m.ImportKey(ctx, o, issue.Ref{Kind: cptoken.ControlPlane, Serial: serial}, secret)
		wantCode(t, err, "invalid", "")
	}
	m.stop()
	m = start(t, alone(t, dir, seal)).awaitReady()
	key, imported := m.ControlPlaneKey(4)
	if key == nil || !imported || !bytes.Equal(key.Material(), secret) {
		t.Errorf("imported key %v, imported %v", key, imported)
	}
	if key, imported := m.ControlPlaneKey(1); key == nil || imported {
		t.Errorf("own key %v, imported %v", key, imported)
	}
}

// privateNumbers are the numbers of an RSA key that must not be known.
func privateNumbers(t testing.TB, key any) [][]byte {
	t.Helper()
	priv, ok := key.(*rsa.PrivateKey)
	if !ok {
		t.Fatalf("a key of type %T", key)
	}
	numbers := [][]byte{priv.D.Bytes(), priv.Precomputed.Dp.Bytes(), priv.Precomputed.Dq.Bytes(), priv.Precomputed.Qinv.Bytes()}
	for _, p := range priv.Primes {
		numbers = append(numbers, p.Bytes())
	}
	return numbers
}

// TestBrokenKey: a key whose public part is another's signs nothing, and does not
// keep the cluster from starting, as it could not be removed then.
func TestBrokenKey(t *testing.T) {
	dir, seal := t.TempDir(), testSeal(t)
	m := start(t, alone(t, dir, seal)).awaitReady()
	ctx, o := context.Background(), Origin{By: "ann"}
	p, err := m.newKey(m.fsm.current(), cptoken.Zone, "")
	if err != nil {
		t.Fatal(err)
	}
	p.PublicDer = anotherDER(t)
	id := cptoken.KeyID{Kind: cptoken.Zone, KID: "2"}
	if _, err := m.propose(ctx, o, "", &storepb.Command{Op: &storepb.Command_PrepareKey{PrepareKey: p}}); err != nil {
		t.Fatal(err)
	}
	_, err = m.ActivateKey(ctx, o, id)
	wantCode(t, err, federation.Conflict, "key_broken")
	// As a leader did that did not know.
	if _, err := m.propose(ctx, o, "", &storepb.Command{Op: &storepb.Command_ActivateKey{ActivateKey: keyStep(id)}}); err != nil {
		t.Fatal(err)
	}
	withheld(t, m, id) // by the member that just met it
	m.stop()
	m = start(t, alone(t, dir, seal)).awaitReady()
	_, err = m.Signer(cptoken.Zone, "")
	wantCode(t, err, federation.Internal, "key_broken")
	withheld(t, m, id) // by one that starts with it
	if _, err := m.RetireKey(ctx, o, id); err != nil {
		t.Fatal(err)
	}
	_, err = m.Signer(cptoken.Zone, "")
	wantCode(t, err, federation.Conflict, "no_active_key")
	if _, err := m.RemoveKey(ctx, o, id, RemoveOptions{Compromised: true}); err != nil {
		t.Fatal(err)
	}
}

// withheld checks that a member lets nobody verify with a key, and names it.
func withheld(t *testing.T, m *member, id cptoken.KeyID) {
	t.Helper()
	good := cptoken.KeyID{Kind: id.Kind, KID: "1"}
	if broken := m.Broken(); len(broken) != 1 || broken[0] != id {
		t.Errorf("broken are %v, want %s", broken, id)
	}
	if v := m.View(); v.Key(id) != nil || v.Key(good) == nil {
		t.Error("the view has the broken key, or lacks the other")
	}
	shown := m.Picture().Keys(id.Kind)
	if len(shown) != 1 || shown[0].ID != good {
		t.Errorf("Kuma zones are shown %d keys", len(shown))
	}
	d, err := m.Since(federation.Revision{})
	if err != nil {
		t.Fatal(err)
	}
	var sent, removed []cptoken.KeyID
	for c := range d.Changes {
		switch {
		case c.Key != nil && c.Key.ID.Kind == id.Kind:
			sent = append(sent, c.Key.ID)
		case c.RemovedKey != nil:
			removed = append(removed, *c.RemovedKey)
		}
	}
	if len(sent) != 1 || sent[0] != good || len(removed) != 1 || removed[0] != id {
		t.Errorf("zones are sent %v, and that %v are removed", sent, removed)
	}
}

// TestKeySealedElsewhere: a lone node that cannot unseal a key of the state says so, takes
// no writes and lets nobody verify with the key, until it is started with the seal key.
func TestKeySealedElsewhere(t *testing.T) {
	dir, line, otherLine := t.TempDir(), sealLine(t), sealLine(t)
	seal, other := sealKeys(t, line), sealKeys(t, otherLine)
	m := start(t, alone(t, dir, seal)).awaitReady()
	id, zone := cptoken.KeyID{Kind: cptoken.ControlPlane, KID: "1"}, cptoken.KeyID{Kind: cptoken.Zone, KID: "1"}
	user := cptoken.KeyID{Kind: cptoken.User, KID: "1"}
	var items []*storepb.Reseal_Item
	for _, id := range []cptoken.KeyID{id, user} {
		key, err := m.Signer(id.Kind, "")
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := other.Seal(m.ClusterID(), key.Ref(), key.Material())
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, &storepb.Reseal_Item{Id: state.KeyRef(id), Sealed: sealedTo(sealed)})
	}
	if _, err := m.propose(context.Background(), Origin{}, "", &storepb.Command{Op: &storepb.Command_Reseal{Reseal: &storepb.Reseal{Items: items}}}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, m.CanSign(), federation.Unavailable, "sealed")
	m.stop()

	m = start(t, alone(t, dir, seal)).awaitReady()
	wantCode(t, m.CanSign(), federation.Unavailable, "sealed")
	if got := m.Sealing().Unopened; !slices.Equal(got, []cptoken.KeyID{id, user}) {
		t.Errorf("cannot open %v", got)
	}
	if m.View().Key(user) != nil || m.View().Key(zone) == nil {
		t.Error("the view has the key that this node cannot open, or lacks another")
	}
	_, err := m.Revoke(context.Background(), Origin{}, cptoken.Zone, "", revokedIDs(1), "")
	wantCode(t, err, federation.Unavailable, "not_leader")
	m.stop()

	m = start(t, alone(t, dir, sealKeys(t, line, otherLine))).awaitReady()
	if err := m.CanSign(); err != nil {
		t.Error(err)
	}
	if key, _ := m.ControlPlaneKey(1); key == nil {
		t.Error("the key is not there")
	}
	if m.View().Key(user) == nil {
		t.Error("the view lacks the key")
	}
}

func sealLine(t testing.TB) string {
	t.Helper()
	line, err := issue.NewSealKey()
	if err != nil {
		t.Fatal(err)
	}
	return string(line)
}

func sealKeys(t testing.TB, lines ...string) *issue.SealKeys {
	t.Helper()
	keys, err := issue.ParseSealKeys([]byte(strings.Join(lines, "")))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestReseal: every key goes over to the first seal key of the file, also where the
// rotation was interrupted; then the old one is not needed any more.
func TestReseal(t *testing.T) {
	dir, old, fresh := t.TempDir(), sealLine(t), sealLine(t)
	m := start(t, alone(t, dir, sealKeys(t, old))).awaitReady()
	ctx, o := context.Background(), Origin{By: "ann"}
	for i := range resealItems + 10 {
		if _, err := m.ImportKey(ctx, o, issue.Ref{Kind: cptoken.ControlPlane, Serial: uint64(i + 2)}, bytes.Repeat([]byte{byte(i)}, 32)); err != nil {
			t.Fatal(err)
		}
	}
	keys := len(m.Keys())
	token := issueUser(t, m)
	m.stop()

	// Another order in the file changes nothing by itself.
	oldID, freshID := sealKeys(t, old).ActiveID(), sealKeys(t, fresh).ActiveID()
	m = start(t, alone(t, dir, sealKeys(t, fresh, old))).awaitReady()
	if _, err := m.PrepareKey(ctx, o, cptoken.User, ""); err != nil {
		t.Fatal(err)
	}
	keys++
	if s := m.Sealing(); s.Active != oldID || s.Sealed[oldID] != keys {
		t.Fatalf("before: %+v", s)
	}
	// One batch, as a rotation that was interrupted leaves it.
	st := m.fsm.current()
	batch, err := resealBatch(st, m.cfg.Seal, func(k *state.KeyRecord) bool { return k.Sealed().SealKeyId == oldID })
	if err != nil || len(batch.Items) != resealItems {
		t.Fatalf("batch of %d: %v", len(batch.Items), err)
	}
	if _, err := m.propose(ctx, o, "", &storepb.Command{Op: &storepb.Command_Reseal{Reseal: batch}}); err != nil {
		t.Fatal(err)
	}
	m.stop()
	m = start(t, alone(t, dir, sealKeys(t, fresh, old))).awaitReady()
	if s := m.Sealing(); s.Active != oldID || s.Sealed[freshID] != resealItems {
		t.Fatalf("half way: %+v", s)
	}
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	_, err = m.Reseal(stopped, o)
	wantCode(t, err, federation.Unavailable, "")
	done, err := m.Reseal(ctx, o)
	if err != nil || done.Keys != keys-resealItems || done.Under != freshID || len(done.Dropped) != 1 || done.Dropped[0] != oldID {
		t.Fatalf("rotated %+v: %v", done, err)
	}
	if again, err := m.Reseal(ctx, o); err != nil || again.Keys != 0 || len(again.Dropped) != 0 {
		t.Errorf("again: %+v: %v", again, err)
	}
	if _, err := m.PrepareKey(ctx, o, cptoken.Zone, ""); err != nil {
		t.Fatal(err)
	}
	if s := m.Sealing(); s.Active != freshID || s.Sealed[freshID] != keys+1 || len(s.Sealed) != 1 {
		t.Errorf("after: %+v", s)
	}
	// The check in node.json follows, so that the old key may go.
	for n, isNew, err := disk.LoadIdentity(dir); n.SealCheck.SealKeyID != freshID; n, isNew, err = disk.LoadIdentity(dir) {
		if isNew || err != nil {
			t.Fatal(err)
		}
	}
	m.stop()
	_, err = Open(alone(t, dir, sealKeys(t, old)))
	wantCode(t, err, federation.Invalid, "wrong_seal_key")
	m = start(t, alone(t, dir, sealKeys(t, fresh))).awaitReady()
	if err := m.CanSign(); err != nil {
		t.Error(err)
	}
	v := cptoken.NewVerifier(cptoken.VerifierOptions{})
	if _, err := v.Verify(m.View(), cptoken.User, token); err != nil {
		t.Errorf("a token of before: %v", err)
	}
	if key, _ := m.ControlPlaneKey(7); key == nil || key.Material()[0] != 5 {
		t.Error("an imported key is not what it was")
	}
}

func issueUser(t testing.TB, m *member) string {
	t.Helper()
	signer, err := m.Signer(cptoken.User, "")
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := signer.Issue(cptoken.Claims{Kind: cptoken.User, Name: "ann"}, 0, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// anotherDER is the public part of a key that nobody else has.
func anotherDER(t testing.TB) []byte {
	t.Helper()
	key, err := issue.Generate(issue.Ref{Kind: cptoken.Zone, Serial: 99})
	if err != nil {
		t.Fatal(err)
	}
	return key.PublicDER()
}

// TestAnOpenedNodeTrustsNobodyAgain: a node that starts has not applied its log before it
// hears a leader, and refuses all the same whom the log, or a snapshot, has expelled, and
// former seal keys; not who was readmitted.
func TestAnOpenedNodeTrustsNobodyAgain(t *testing.T) {
	for name, snapshot := range map[string]bool{"from the log": false, "from a snapshot": true} {
		t.Run(name, func(t *testing.T) {
			dir, old, fresh := t.TempDir(), sealLine(t), sealLine(t)
			m := start(t, alone(t, dir, sealKeys(t, fresh, old))).awaitReady()
			ctx, o := context.Background(), Origin{By: "ann"}
			if m.Sealing().Active != sealKeys(t, fresh).ActiveID() {
				t.Fatal("founded under another key than the first one")
			}
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(m.Expel(ctx, o, Expelled{ID: "thief"}))
			must(m.Expel(ctx, o, Expelled{ID: "found-again"}))
			must(m.Readmit(ctx, o, "found-again"))
			m.stop()
			m = start(t, alone(t, dir, sealKeys(t, old, fresh))).awaitReady()
			_, err := m.Reseal(ctx, o)
			must(err)
			if snapshot {
				must(m.raft.Load().Snapshot().Error())
			}
			m.stop()

			opened, err := Open(alone(t, dir, sealKeys(t, old, fresh)))
			must(err)
			for what, is := range map[string]struct{ got, want bool }{
				"the thief is expelled":         {opened.IsExpelled("thief"), true},
				"who was readmitted is":         {opened.IsExpelled("found-again"), false},
				"the former seal key is former": {opened.FormerSealKey(sealKeys(t, fresh).ActiveID()), true},
				"the present one is":            {opened.FormerSealKey(sealKeys(t, old).ActiveID()), false},
			} {
				if is.got != is.want {
					t.Errorf("%s: %v", what, is.got)
				}
			}
			// Once the state has caught up it decides alone.
			m = start(t, alone(t, dir, sealKeys(t, old, fresh))).awaitReady()
			must(m.Readmit(ctx, o, "thief"))
			if m.IsExpelled("thief") {
				t.Error("expelled for good")
			}
		})
	}
}
