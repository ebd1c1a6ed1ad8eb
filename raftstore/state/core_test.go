package state

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// testDER is the public part of one RSA key; making more costs time and shows
// nothing more.
var testDER = sync.OnceValue(newDER)

// otherDER is that of another one.
var otherDER = sync.OnceValue(newDER)

func newDER() []byte {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		panic(err)
	}
	return der
}

func fakeSealed() *storepb.Sealed {
	return &storepb.Sealed{SealKeyId: "00000000", Nonce: []byte("nonce"), Ciphertext: []byte("ciphertext")}
}

func preparing(kind cptoken.Kind, mesh string, serial uint64) *storepb.PrepareKey {
	p := &storepb.PrepareKey{Kind: string(kind), Mesh: mesh, Serial: serial, Alg: cptoken.AlgRS256, PublicDer: testDER(), Sealed: fakeSealed()}
	if kind == cptoken.ControlPlane {
		p.Alg, p.PublicDer, p.Fingerprint = cptoken.AlgHS256, nil, []byte("fingerprint")
	}
	return p
}

func foundingCommand() *storepb.Command {
	return &storepb.Command{By: "founding", TimeMs: testTime, Op: &storepb.Command_Found{Found: &storepb.Found{
		ClusterId: "cluster", History: &storepb.History{Id: historyID(1), CreatedMs: testTime},
		SealCheck: &storepb.SealCheck{Sealed: fakeSealed()}, Meshes: []string{"default"},
		Keys: []*storepb.PrepareKey{
			preparing(cptoken.ControlPlane, "", 1), preparing(cptoken.Zone, "", 1),
			preparing(cptoken.User, "", 1), preparing(cptoken.Dataplane, "default", 1),
		},
	}}}
}

const testTime = int64(1_800_000_000_000)

// core drives a State as Raft would: each command through its encoded form, at the
// next index.
type core struct {
	t     testing.TB
	s     *State
	index uint64
	now   int64
}

func newCore(t testing.TB) *core {
	c := &core{t: t, s: NewState(), index: 2, now: testTime}
	c.ok(foundingCommand())
	return c
}

func (c *core) apply(cmd *storepb.Command) *storepb.Result {
	c.t.Helper()
	cmd.Level = Level
	if cmd.GetFound() == nil {
		var err error
		if cmd.Level, err = needs(cmd.ProtoReflect()); err != nil {
			c.t.Fatal(err)
		}
	}
	if cmd.TimeMs == 0 {
		cmd.TimeMs = c.now
	}
	data, err := EncodeCommand(cmd)
	if err != nil {
		c.t.Fatal(err)
	}
	c.index++
	result, err := c.s.Apply(c.index, data)
	if err != nil {
		c.t.Fatal(err)
	}
	return result
}

func (c *core) ok(cmd *storepb.Command) *storepb.Result {
	c.t.Helper()
	r := c.apply(cmd)
	if r.Code != "" {
		c.t.Fatalf("%T: %s: %s", cmd.Op, r.Code, r.Detail)
	}
	return r
}

func (c *core) refused(code federation.Code, reason string, cmd *storepb.Command) *storepb.Result {
	c.t.Helper()
	before := c.s.Capture()
	r := c.apply(cmd)
	if r.Code != string(code) || r.Reason != reason || r.Detail == "" {
		c.t.Fatalf("%T: code %q reason %q detail %q, want %q %q", cmd.Op, r.Code, r.Reason, r.Detail, code, reason)
	}
	if c.s.revision != before.revision || c.s.log.Version() != before.log.Version() {
		c.t.Fatalf("%T was refused and changed something", cmd.Op)
	}
	return r
}

func cmdPrepare(kind cptoken.Kind, mesh string, serial uint64) *storepb.Command {
	return &storepb.Command{Op: &storepb.Command_PrepareKey{PrepareKey: preparing(kind, mesh, serial)}}
}

func step(kind cptoken.Kind, mesh string, serial uint64) *storepb.KeyStep {
	return &storepb.KeyStep{Kind: string(kind), Mesh: mesh, Kid: strconv.FormatUint(serial, 10)}
}

func cmdActivate(k *storepb.KeyStep) *storepb.Command {
	return &storepb.Command{Op: &storepb.Command_ActivateKey{ActivateKey: k}}
}

func cmdRemove(k *storepb.KeyStep, force bool) *storepb.Command {
	k.Force = force
	return &storepb.Command{Op: &storepb.Command_RemoveKey{RemoveKey: k}}
}

func cmdRevoke(kind cptoken.Kind, mesh string, expires int64, ids ...string) *storepb.Command {
	r := &storepb.Revoke{Kind: string(kind), Mesh: mesh, Reason: "why"}
	for _, id := range ids {
		r.Ids = append(r.Ids, &storepb.RevokedID{Id: id, ExpiresS: expires})
	}
	return &storepb.Command{By: "ann", Op: &storepb.Command_Revoke{Revoke: r}}
}

func cmdWithdraw(kind cptoken.Kind, mesh string, ids ...string) *storepb.Command {
	return &storepb.Command{Op: &storepb.Command_Withdraw{Withdraw: &storepb.Withdraw{Kind: string(kind), Mesh: mesh, Ids: ids}}}
}

func cmdCutOff(kind cptoken.Kind, kid string, before int64) *storepb.Command {
	return &storepb.Command{Op: &storepb.Command_SetCutOff{SetCutOff: &storepb.SetCutOff{Id: &storepb.KeyRef{Kind: string(kind), Kid: kid}, BeforeS: before}}}
}

func cmdPrune(watermark int64) *storepb.Command {
	return &storepb.Command{Op: &storepb.Command_Prune{Prune: &storepb.Prune{WatermarkMs: watermark}}}
}

func cmdMesh(name string, serial uint64) *storepb.Command {
	return &storepb.Command{Op: &storepb.Command_ApplyMesh{ApplyMesh: &storepb.ApplyMesh{Name: name, Key: preparing(cptoken.Dataplane, name, serial)}}}
}

func cmdDeleteMesh(name string) *storepb.Command {
	return &storepb.Command{Op: &storepb.Command_DeleteMesh{DeleteMesh: &storepb.DeleteMesh{Name: name}}}
}

func (c *core) keyState(kind cptoken.Kind, mesh string, serial uint64) cptoken.KeyState {
	k, ok := c.s.keys.Get(cptoken.KeyID{Kind: kind, Mesh: mesh, KID: cptoken.SerialKID(serial)})
	if !ok {
		return cptoken.Removed
	}
	return k.State
}

func TestKeyLife(t *testing.T) {
	c := newCore(t)
	c.refused(federation.Conflict, "serial_used", cmdPrepare(cptoken.Zone, "", 1))
	c.ok(cmdPrepare(cptoken.Zone, "", 2))
	c.refused(federation.Conflict, "already_prepared", cmdPrepare(cptoken.Zone, "", 3))
	c.refused(federation.Conflict, "wrong_state", &storepb.Command{Op: &storepb.Command_RetireKey{RetireKey: step(cptoken.Zone, "", 2)}})
	r := c.ok(cmdActivate(step(cptoken.Zone, "", 2)))
	if got := c.keyState(cptoken.Zone, "", 1); got != cptoken.Retiring {
		t.Errorf("the former key is %s", got)
	}
	k, _ := c.s.keys.Get(cptoken.KeyID{Kind: cptoken.Zone, KID: "1"})
	if k.RetiringIndex != r.Index || k.Index != r.Index || k.Public.State != cptoken.Retiring {
		t.Errorf("the former key: %+v", k.Key)
	}
	if r := c.ok(cmdActivate(step(cptoken.Zone, "", 2))); r.Changed != 0 {
		t.Error("activating twice changed something")
	}
	c.refused(federation.Conflict, "wrong_state", cmdActivate(step(cptoken.Zone, "", 1)))
	c.refused(federation.Conflict, "key_active", cmdRemove(step(cptoken.Zone, "", 2), true))
	c.refused(federation.Conflict, "may_cut_tokens", cmdRemove(step(cptoken.Zone, "", 1), false))
	c.ok(cmdRemove(step(cptoken.Zone, "", 1), true))
	c.refused(federation.NotFound, "", cmdRemove(step(cptoken.Zone, "", 1), true))
	c.refused(federation.Conflict, "serial_used", cmdPrepare(cptoken.Zone, "", 1))
	c.ok(cmdPrepare(cptoken.Zone, "", 9))
	c.ok(cmdRemove(step(cptoken.Zone, "", 9), false)) // prepared: it never signed
	c.refused(federation.Conflict, "serial_used", cmdPrepare(cptoken.Zone, "", 9))
	c.ok(&storepb.Command{Op: &storepb.Command_RetireKey{RetireKey: step(cptoken.Zone, "", 2)}})
	if c.s.Active(cptoken.Zone, "") != nil {
		t.Error("something signs after the only key retired")
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	c := newCore(t)
	hs := preparing(cptoken.Zone, "", 2)
	hs.Alg = cptoken.AlgHS256
	pub := preparing(cptoken.ControlPlane, "", 2)
	pub.PublicDer = testDER()
	unsealed := preparing(cptoken.Zone, "", 2)
	unsealed.Sealed = nil
	for name, p := range map[string]*storepb.PrepareKey{
		"HS256 for zones": hs, "a public control plane key": pub, "nothing sealed": unsealed,
		"a mesh where none belongs": preparing(cptoken.Zone, "default", 2),
		"no mesh":                   preparing(cptoken.Dataplane, "", 2),
		"serial 0":                  preparing(cptoken.Zone, "", 0),
	} {
		if r := c.apply(&storepb.Command{Op: &storepb.Command_PrepareKey{PrepareKey: p}}); r.Code != string(federation.Invalid) {
			t.Errorf("%s: %q %s", name, r.Code, r.Detail)
		}
	}
	c.refused(federation.NotFound, "no_mesh", cmdPrepare(cptoken.Dataplane, "nowhere", 1))
	if len(c.s.keysOf(cptoken.Zone, "")) != 1 {
		t.Error("a refused key is there")
	}
}

func TestMeshKeepsItsSerials(t *testing.T) {
	c := newCore(t)
	c.ok(cmdMesh("shop", 1))
	if got := c.keyState(cptoken.Dataplane, "shop", 1); got != cptoken.Prepared {
		t.Errorf("the key of a new mesh is %s", got)
	}
	c.ok(cmdActivate(step(cptoken.Dataplane, "shop", 1)))
	c.ok(cmdDeleteMesh("shop"))
	if got := c.keyState(cptoken.Dataplane, "shop", 1); got != cptoken.Removed {
		t.Errorf("the key of a deleted mesh is %s", got)
	}
	c.refused(federation.Conflict, "serial_used", cmdMesh("shop", 1))
	if _, ok := c.s.meshes.Get("shop"); ok {
		t.Error("the mesh is there although its key was refused")
	}
	c.ok(cmdMesh("shop", 2))
	if r := c.ok(cmdMesh("shop", 3)); r.Changed != 0 {
		t.Error("applying a mesh twice changed something")
	}
}

func TestRegisteredKeys(t *testing.T) {
	c := newCore(t)
	register := func(kind cptoken.Kind, kid string) *storepb.Command {
		return &storepb.Command{Op: &storepb.Command_RegisterKey{RegisterKey: &storepb.RegisterKey{
			Id: &storepb.KeyRef{Kind: string(kind), Kid: kid}, Alg: cptoken.AlgRS256, PublicDer: testDER(),
			Constraints: &storepb.Constraints{Zones: []string{"west"}, Scopes: []string{"egress"}, MaxLifetimeS: 3600},
		}}}
	}
	c.refused(federation.Invalid, "", register(cptoken.Zone, "12"))
	c.refused(federation.Invalid, "", register(cptoken.Zone, ""))
	c.refused(federation.Invalid, "", register(cptoken.User, "ci"))
	c.refused(federation.Invalid, "", register(cptoken.ControlPlane, "ci"))
	c.ok(register(cptoken.Zone, "ci"))
	c.refused(federation.Conflict, reasonRegistered, register(cptoken.Zone, "ci"))
	k := view{c.s}.Key(cptoken.KeyID{Kind: cptoken.Zone, KID: "ci"})
	if k == nil || k.Registered == nil || k.Registered.MaxLifetime != time.Hour || k.State != cptoken.Retiring {
		t.Fatalf("registered key: %+v", k)
	}
	rebind := register(cptoken.Zone, "ci")
	rebind.GetRegisterKey().Replace = true
	if r := c.ok(rebind); r.Changed != 0 {
		t.Error("the same bounds again changed something")
	}
	rebind.GetRegisterKey().Constraints = &storepb.Constraints{MaxLifetimeS: 60, AllowNoId: true}
	if r := c.ok(rebind); r.Changed != 1 {
		t.Error("other bounds changed nothing")
	}
	if k := (view{c.s}).Key(cptoken.KeyID{Kind: cptoken.Zone, KID: "ci"}); k.Registered.MaxLifetime != time.Minute || len(k.Registered.Zones) != 0 || !k.Registered.AllowNoID {
		t.Errorf("the new bounds are %+v", k.Registered)
	}
	rebind.GetRegisterKey().PublicDer = otherDER()
	c.refused(federation.Conflict, reasonRegistered, rebind)
	remove := &storepb.KeyStep{Kind: string(cptoken.Zone), Kid: "ci"}
	c.refused(federation.Conflict, "wrong_state", cmdActivate(remove))
	c.ok(cmdRemove(remove, true))
	c.refused(federation.Conflict, "", register(cptoken.Zone, "ci"))
}

func TestRevokingAgainKeepsTheLaterExpiry(t *testing.T) {
	c := newCore(t)
	id, now := randomUUID(), testTime/1000
	for _, step := range []struct{ revoke, want int64 }{
		{now + 10, now + 10}, {now + 5, now + 10}, {now + 20, now + 20}, {0, 0}, {now + 30, 0},
	} {
		c.ok(cmdRevoke(cptoken.Zone, "", step.revoke, id, id))
		r := c.s.Revocations(cptoken.Zone, "", "", 0)
		if len(r) != 1 || r[0].Expires != step.want || c.s.list(listID{cptoken.Zone, ""}).live != 1 {
			t.Errorf("after %d: %+v, want %d", step.revoke, r, step.want)
		}
	}
	for _, bad := range []string{"", "a,b", " a", "a\n", string(make([]byte, 129))} {
		c.refused(federation.Invalid, "", cmdRevoke(cptoken.Zone, "", 0, randomUUID(), bad))
	}
	c.refused(federation.NotFound, "no_mesh", cmdRevoke(cptoken.Dataplane, "nowhere", 0, id))
}

func TestRevocationsArePagedInOrder(t *testing.T) {
	c := newCore(t)
	var ids []string
	for i := range 300 {
		ids = append(ids, randomUUID(), "sha256:"+strconv.Itoa(i), "00000000-x"+strconv.Itoa(i), "zz"+strconv.Itoa(i))
	}
	c.ok(cmdRevoke(cptoken.User, "", 0, ids...))
	c.ok(cmdWithdraw(cptoken.User, "", ids[0], ids[1]))
	all := c.s.Revocations(cptoken.User, "", "", 0)
	if len(all) != len(ids)-2 {
		t.Fatalf("%d revocations, want %d", len(all), len(ids)-2)
	}
	var paged []Revocation
	for after := ""; ; {
		page := c.s.Revocations(cptoken.User, "", after, 7)
		if len(page) == 0 {
			break
		}
		paged = append(paged, page...)
		after = page[len(page)-1].ID
	}
	if len(paged) != len(all) {
		t.Fatalf("%d in pages, %d at once", len(paged), len(all))
	}
	for i := range all {
		if paged[i] != all[i] || i > 0 && all[i-1].ID >= all[i].ID {
			t.Fatalf("revocation %d: %q after %q", i, paged[i].ID, all[max(i-1, 0)].ID)
		}
	}
}

func TestCutOffsNeverMoveBack(t *testing.T) {
	c := newCore(t)
	now := testTime / 1000
	c.ok(cmdCutOff(cptoken.Zone, "", now-100))
	c.ok(cmdCutOff(cptoken.Zone, "1", now-50))
	if r := c.ok(cmdCutOff(cptoken.Zone, "", now-200)); r.Changed != 0 {
		t.Error("a cut-off moved back")
	}
	c.refused(federation.Invalid, "", cmdCutOff(cptoken.Zone, "", now+3600))
	v := view{c.s}
	if got := v.CutOff(cptoken.Zone, "", "1").Unix(); got != now-50 {
		t.Errorf("cut-off of key 1: %d", got)
	}
	if got := v.CutOff(cptoken.Zone, "", "2").Unix(); got != now-100 {
		t.Errorf("cut-off of key 2: %d", got)
	}
	if !v.CutOff(cptoken.User, "", "1").IsZero() {
		t.Error("a cut-off of another kind")
	}
}

func TestZonesAreTombstones(t *testing.T) {
	c := newCore(t)
	see := &storepb.Command{Op: &storepb.Command_SeeZone{SeeZone: &storepb.SeeZone{Name: "west"}}}
	before := c.ok(see)
	if before.Changed != 1 {
		t.Error("the first sight of a zone changed nothing")
	}
	if r := c.ok(see); r.Changed != 0 {
		t.Error("the second sight of a zone changed something")
	}
	rev := c.s.Revision()
	c.ok(&storepb.Command{Op: &storepb.Command_DeleteZone{DeleteZone: &storepb.DeleteZone{Name: "west"}}})
	c.refused(federation.Forbidden, "zone_deleted", see)
	c.now += 1000
	c.ok(&storepb.Command{Op: &storepb.Command_ApplyZone{ApplyZone: &storepb.ApplyZone{Name: "west", Enabled: false, Auth: "certificate"}}})
	z, _ := c.s.zones.Get("west")
	if z.Deleted || z.Enabled || z.Auth != federation.AuthCertificate || z.FirstSeen.IsZero() || z.Created != millis(c.now) {
		t.Errorf("zone %+v", z)
	}
	if c.s.Revision() == rev {
		t.Error("a change of a zone's record, which is acknowledged, did not move the revision")
	}
	rev = c.s.Revision()
	if c.ok(see); c.s.Revision() != rev {
		t.Error("the sight of a zone moved the revision")
	}
}

func TestRequestIDs(t *testing.T) {
	c := newCore(t)
	revoke := func(id string) *storepb.Command {
		cmd := cmdRevoke(cptoken.Zone, "", 0, id)
		cmd.RequestId = "r1"
		return cmd
	}
	id := randomUUID()
	first := c.ok(revoke(id))
	if again := c.ok(revoke(id)); again.Index != first.Index || again.Changed != 1 {
		t.Errorf("the repetition came to %v", again)
	}
	c.refused(federation.Conflict, "request_id_reused", revoke(randomUUID()))
	c.now += requestLife.Milliseconds() + 1
	if later := c.ok(revoke(id)); later.Index == first.Index {
		t.Error("a request id is remembered for ever")
	}
	// A refusal is not remembered: its reason may go away.
	bad := cmdActivate(step(cptoken.Zone, "", 2))
	bad.RequestId = "r2"
	c.refused(federation.NotFound, "", bad)
	c.ok(cmdPrepare(cptoken.Zone, "", 2))
	c.ok(bad)
}

func TestTimeNeverGoesBack(t *testing.T) {
	c := newCore(t)
	c.now += 50_000
	c.ok(cmdPrune(c.now))
	c.now -= 40_000
	c.ok(cmdRevoke(cptoken.Zone, "", 0, "x"))
	if r := c.s.Revocations(cptoken.Zone, "", "", 0); r[0].At != millis(testTime+50_000) {
		t.Errorf("revoked at %v", r[0].At)
	}
	c.ok(cmdPrune(c.now))
	if c.s.watermark != testTime+50_000 {
		t.Error("the watermark went back")
	}
	c.refused(federation.Invalid, "", cmdPrune(testTime+60_000))
}

func TestNothingBeforeFounding(t *testing.T) {
	c := &core{t: t, s: NewState(), now: testTime}
	c.refused(federation.Unavailable, "not_founded", cmdRevoke(cptoken.Zone, "", 0, "x"))
	c.ok(foundingCommand())
	c.refused(federation.Conflict, "founded", foundingCommand())
}

// TestMessagesNameKeysAsUsersDo: what operators read is what they can type.
func TestMessagesNameKeysAsUsersDo(t *testing.T) {
	c := newCore(t)
	for want, id := range map[string]cptoken.KeyID{
		"key zone-token 7 does":                          {Kind: cptoken.Zone, KID: "7"},
		"key control-plane-token 7 does":                 {Kind: cptoken.ControlPlane, KID: "7"},
		"key dataplane-token 7 of mesh default does not": {Kind: cptoken.Dataplane, Mesh: "default", KID: "7"},
	} {
		if _, err := c.s.findKey(&storepb.KeyStep{Kind: string(id.Kind), Mesh: id.Mesh, Kid: id.KID}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q", err, want)
		}
	}
}

// TestKeyUnderAFormerSealKeyIsRefused: a key that was sealed before a rotation ended
// and arrives after it would need the old seal key for ever.
func TestKeyUnderAFormerSealKeyIsRefused(t *testing.T) {
	c := newCore(t)
	late := cmdPrepare(cptoken.Zone, "", 2)
	late.GetPrepareKey().Sealed.SealKeyId = "ffffffff"
	c.refused("conflict", "seal_key_changed", late)
}
