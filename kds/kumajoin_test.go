package kds_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kuma"
	"github.com/meridiankds/meridian/kds/server"
	"github.com/meridiankds/meridian/keysync"
)

// has waits until the zone holds just these keys, in the form of KeyID.String.
func (m *kumaMember) has(t *testing.T, keys ...string) {
	t.Helper()
	slices.Sort(keys)
	var got []string
	deadline := time.Now().Add(kdstest.Patience)
	for {
		got = nil
		for _, k := range m.store.View().Keys() {
			got = append(got, k.ID.String())
		}
		slices.Sort(got)
		if slices.Equal(got, keys) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the zone holds %q, want %q: %s", got, keys, m.log)
		}
		time.Sleep(2 * time.Millisecond) // between two looks
	}
}

// revoked waits until an id is revoked at the zone, or is not.
func (m *kumaMember) revoked(t *testing.T, kind cptoken.Kind, mesh, id string, want bool) {
	t.Helper()
	kdstest.Eventually(t, fmt.Sprintf("revoked %s: %v", id, want), func() bool { return m.store.View().Revoked(kind, mesh, id) == want })
}

// filled is a global of Kuma's with a key and a list of each kind.
func filled(t *testing.T) *stockGlobal {
	s := startStock(t)
	s.set(kuma.TypeGlobalSecret, stockSecret(t, "zone-token-signing-public-key-1", "", publicPEM(throwAway())),
		stockSecret(t, "zone-token-revocations", "", " z-1, z-2\n"), stockSecret(t, "envoy-admin-ca", "", "none of ours"))
	s.set(kuma.TypeSecret, stockSecret(t, "dataplane-token-signing-key-default-1", "default", privatePEM(throwAway())),
		stockSecret(t, "dataplane-token-revocations-default", "default", "d-1"))
	return s
}

// TestZoneUnderKumasGlobal: a zone of ours finds out what it has joined, takes keys
// and lists, and follows what changes.
func TestZoneUnderKumasGlobal(t *testing.T) {
	s := filled(t)
	m := joinStock(t, "", s.addr)
	m.has(t, "zone/1", "dataplane/default/1")
	for _, id := range []string{"z-1", "z-2"} {
		m.revoked(t, cptoken.Zone, "", id, true)
	}
	m.revoked(t, cptoken.Dataplane, "default", "d-1", true)
	kdstest.Eventually(t, "the zone to be in step", func() bool { return m.Status().Current })
	if st := m.Status(); !st.Connected || st.Kind != kds.KindKuma || st.Member != "" || st.Address != s.addr {
		t.Errorf("status %+v", st)
	}
	if cluster, rev := m.store.Position(); cluster != kdstest.Cluster || rev.History != kuma.History(kdstest.Cluster) || rev.Index != 1 {
		t.Errorf("position %s %s", cluster, rev)
	}

	s.push(kuma.TypeSecret, nil, stockSecret(t, "dataplane-token-revocations-default", "default", "d-2"))
	m.revoked(t, cptoken.Dataplane, "default", "d-2", true)
	m.revoked(t, cptoken.Dataplane, "default", "d-1", false)
	s.push(kuma.TypeGlobalSecret, nil, stockSecret(t, "zone-token-signing-public-key-2", "", publicPEM(throwAway())))
	m.has(t, "zone/1", "zone/2", "dataplane/default/1")
	s.push(kuma.TypeGlobalSecret, []string{"zone-token-signing-public-key-1.", "zone-token-revocations."})
	m.has(t, "zone/2", "dataplane/default/1")
	m.revoked(t, cptoken.Zone, "", "z-1", false)
	s.push(kuma.TypeMesh, nil, stockResource(t, "other", "", nil, emptyMesh()))
	kdstest.Eventually(t, "everything to be acknowledged", func() bool {
		acks, nacks := s.answersTo(kuma.TypeGlobalSecret)
		meshes, _ := s.answersTo(kuma.TypeMesh)
		return acks == 3 && len(nacks) == 0 && meshes == 2
	})

	// What the global asks for on the other calls is answered with nothing.
	kdstest.Eventually(t, "the global's questions to be answered", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.upward) == 2 && len(s.answered) == 1
	})
	for _, r := range s.upward {
		if len(r.GetResources()) != 0 || r.GetNonce() == "" || r.GetTypeUrl() == "" {
			t.Errorf("the zone sent %v", r)
		}
	}
	first := s.seen[0]
	if first.GetNode().GetId() != "west" || first.GetNode().GetMetadata().GetFields()["control-plane-id"].GetStringValue() == "" {
		t.Errorf("the first request is %v", first)
	}
	for _, r := range s.seen {
		if r.GetTypeUrl() == kds.ChangesType {
			t.Error("it asked a global of Kuma's for what that does not know")
		}
	}
}

// TestPrivateKeysAreDropped looks for the bytes of a private key that a zone was
// sent, in everything that it keeps or says.
func TestPrivateKeysAreDropped(t *testing.T) {
	s := filled(t)
	m := joinStock(t, "", s.addr)
	m.has(t, "zone/1", "dataplane/default/1")
	s.push(kuma.TypeSecret, nil, stockSecret(t, "dataplane-token-signing-key-default-2", "default", privatePEM(throwAway())),
		stockSecret(t, "dataplane-token-signing-key-default-3", "default", "-----BEGIN RSA PRIVATE KEY-----\nbm90IGEga2V5\n-----END RSA PRIVATE KEY-----\n"))
	m.has(t, "zone/1", "dataplane/default/1", "dataplane/default/2")
	m.leave(t)
	key := throwAway()
	secrets := map[string][]byte{
		"the private exponent": key.D.Bytes(), "a prime": key.Primes[0].Bytes(), "the other prime": key.Primes[1].Bytes(),
		"its PEM": []byte(privatePEM(key)[100:160]),
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(m.path), "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	said := map[string][]byte{"the log": []byte(m.log.String())}
	for _, f := range files {
		if said[f], err = os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	for where, data := range said {
		for what, secret := range secrets {
			for form, look := range map[string][]byte{
				"": secret, "base64 ": []byte(base64.StdEncoding.EncodeToString(secret))[:40], "hexadecimal ": fmt.Appendf(nil, "%x", secret)[:40],
			} {
				if bytes.Contains(data, look) {
					t.Errorf("%s has %s%s", where, form, what)
				}
			}
		}
	}
	if pub := key.N.Bytes(); !bytes.Contains(said[m.path], pub) {
		t.Error("the file does not have the public half: the test proves nothing")
	}
	if !strings.Contains(m.log.String(), "dataplane-token-signing-key-default-3: ") {
		t.Error("a key that cannot be read is left out without a word")
	}
}

// TestKumasGlobalIsLost: losing the stream deletes nothing, nor does a global that
// has forgotten, while what it explicitly says counts.
func TestKumasGlobalIsLost(t *testing.T) {
	s := filled(t)
	s.push(kuma.TypeSecret, nil)
	m := joinStock(t, "", s.addr)
	m.has(t, "zone/1", "dataplane/default/1")
	kdstest.Eventually(t, "the zone to be in step", func() bool { return m.Status().Current })
	_, before := m.store.Position()

	again := func() {
		t.Helper()
		s.mu.Lock()
		joined := s.joined
		s.mu.Unlock()
		s.drop()
		kdstest.Eventually(t, "the zone to be back", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.joined > joined && m.Status().Current
		})
	}
	again()
	if _, rev := m.store.Position(); rev != before {
		t.Errorf("the same again made %s of %s", rev, before)
	}
	s.set(kuma.TypeGlobalSecret)
	s.set(kuma.TypeSecret)
	again()
	m.has(t, "zone/1", "dataplane/default/1")
	m.revoked(t, cptoken.Zone, "", "z-1", true)
	m.revoked(t, cptoken.Dataplane, "default", "d-1", true)
	if !strings.Contains(m.log.String(), "they stay in use") || !strings.Contains(m.log.String(), "they stay revoked") {
		t.Error("the log does not tell")
	}

	// While the zone is down, a key is replaced and one id withdrawn.
	m.leave(t)
	s.set(kuma.TypeGlobalSecret, stockSecret(t, "zone-token-signing-public-key-2", "", publicPEM(throwAway())), stockSecret(t, "zone-token-revocations", "", "z-2"))
	m = joinStock(t, m.path, s.addr)
	m.has(t, "zone/2", "dataplane/default/1")
	m.revoked(t, cptoken.Zone, "", "z-1", false)
	m.revoked(t, cptoken.Zone, "", "z-2", true)
	m.revoked(t, cptoken.Dataplane, "default", "d-1", true)
}

// TestKumasGlobalInAnyOrder: answers may come in any order, twice, in pieces, and
// with things in them that nobody knows.
func TestKumasGlobalInAnyOrder(t *testing.T) {
	for _, order := range [][]string{
		{kuma.TypeSecret, kuma.TypeMesh, kuma.TypeGlobalSecret, kuma.TypeConfig},
		{kuma.TypeConfig, kuma.TypeGlobalSecret, kuma.TypeGlobalSecret, kuma.TypeSecret, kuma.TypeSecret, kuma.TypeConfig, kuma.TypeMesh},
		{kuma.TypeMesh, kuma.TypeConfig, kuma.TypeSecret, kuma.TypeGlobalSecret},
	} {
		t.Run(strings.Join(order, " "), func(t *testing.T) {
			s := filled(t)
			s.order = order
			m := joinStock(t, "", s.addr)
			m.has(t, "zone/1", "dataplane/default/1")
			m.revoked(t, cptoken.Dataplane, "default", "d-1", true)
			s.push("SomeFutureType", nil, &discovery.Resource{})
			s.push(kuma.TypeSecret, []string{"never-there.default", ""}, stockSecret(t, "dataplane-token-signing-public-key-default-9", "default", publicPEM(throwAway())),
				stockSecret(t, "dataplane-token-signing-key-default-007", "default", publicPEM(throwAway())),
				stockSecret(t, "dataplane-token-signing-key-default-8", "prod", publicPEM(throwAway())),
				stockResource(t, "renamed-abc123", "default", map[string]string{kuma.LabelDisplay: "dataplane-token-signing-key-default-4"}, kuma.SecretSpec([]byte(publicPEM(throwAway())))))
			m.has(t, "zone/1", "dataplane/default/1", "dataplane/default/4", "dataplane/default/9")
		})
	}
}

// TestKumasGlobalSendsRubbish: what is none of Kuma's resources is refused, and the
// zone goes on with what it has.
func TestKumasGlobalSendsRubbish(t *testing.T) {
	s := filled(t)
	m := joinStock(t, "", s.addr)
	m.has(t, "zone/1", "dataplane/default/1")
	s.push(kuma.TypeSecret, nil, &discovery.Resource{Resource: &anypb.Any{TypeUrl: "type.googleapis.com/kuma.mesh.v1alpha1.KumaResource", Value: []byte{0xff, 0xff}}})
	kdstest.Eventually(t, "the refusal", func() bool { _, nacks := s.answersTo(kuma.TypeSecret); return len(nacks) == 1 })
	kdstest.Eventually(t, "the zone to come back", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.joined == 2 })
	m.has(t, "zone/1", "dataplane/default/1")
}

// TestKumasClusterIsAnother: a zone never takes another cluster's state, whatever
// the kinds of the two globals.
func TestKumasClusterIsAnother(t *testing.T) {
	s := filled(t)
	m := joinStock(t, "", s.addr)
	m.has(t, "zone/1", "dataplane/default/1")
	_, held := m.store.Position()
	m.leave(t)

	refused := func(m *kumaMember) {
		t.Helper()
		kdstest.Eventually(t, "the refusal", func() bool { return m.Status().LastReason == kds.ReasonOtherCluster })
		kdstest.Eventually(t, "a hint about what to do", func() bool { return strings.Contains(m.log.String(), "empty data folder") })
		m.leave(t)
	}
	other := filled(t)
	other.set(kuma.TypeConfig, stockResource(t, kuma.NameClusterID, "", nil, configOf("0a1b2c3d-0000-4000-8000-000000000000")))
	under := joinStock(t, m.path, other.addr)
	refused(under)

	ours := start(t, func(c *server.Config) {
		source := kdstest.NewSource()
		source.Cluster = "0a1b2c3d-0000-4000-8000-000000000001"
		c.Source = source
	})
	refused(joinStock(t, m.path, ours.addr))
	back := joinStock(t, m.path, s.addr)
	kdstest.Eventually(t, "the zone to be in step", func() bool { return back.Status().Current })
	if _, rev := back.store.Position(); rev != held {
		t.Errorf("after all that it stands at %s, not at %s", rev, held)
	}

	// The other way: what Meridian's global sent stays, too.
	moved := joinStock(t, filepath.Join(t.TempDir(), "zone.db"), ours.addr)
	kdstest.Eventually(t, "full state", func() bool { _, rev := moved.store.Position(); return rev == kdstest.Revision(1, 1) })
	moved.leave(t)
	again := joinStock(t, moved.path, s.addr)
	refused(again)
	back = joinStock(t, moved.path, ours.addr)
	kdstest.Eventually(t, "the zone to be in step", func() bool { return back.Status().Current && back.Status().Kind == kds.KindMeridian })
}

// TestSameClusterAsKumas: what looks like Kuma's global and names the cluster of a
// global of Meridian's takes nothing from the zone.
func TestSameClusterAsKumas(t *testing.T) {
	ours := start(t, nil)
	m := joinStock(t, "", ours.addr)
	kdstest.Eventually(t, "full state", func() bool { _, rev := m.store.Position(); return rev == kdstest.Revision(1, 1) })
	m.leave(t)
	m = joinStock(t, m.path, filled(t).addr)
	kdstest.Eventually(t, "the refusal", func() bool { return strings.Contains(m.Status().LastError, "answers as one of Kuma's") })
	if _, rev := m.store.Position(); rev != kdstest.Revision(1, 1) {
		t.Errorf("it stands at %s", rev)
	}
}

// TestSlowMeridian: a global of Meridian's that is slow to admit a zone is found
// out all the same.
func TestSlowMeridian(t *testing.T) {
	m, c := startKuma(t, func(cfg *server.Config) { cfg.Limits.Ack = 50 * time.Millisecond })
	m.auth.Mu.Lock() // nobody is admitted
	z := joinStock(t, "", m.addr)
	kdstest.Eventually(t, "the zone to ask as Kuma's zones do", func() bool { return strings.Contains(z.log.String(), "asking as zones of Kuma's do") })
	m.auth.Mu.Unlock()
	kdstest.Eventually(t, "full state", func() bool { return z.Status().Current && z.Status().Kind == kds.KindMeridian })
	c.change(func(p *fakePicture) { p.revoke(cptoken.Zone, "", "late") })
	m.source.Add("late")
	z.revoked(t, cptoken.Zone, "", "late", true)
	kdstest.Eventually(t, "its acknowledgement", func() bool { s := m.Sessions(); return len(s) == 1 && s[0].Full && s[0].Nack == "" })
}

// TestRecordedGlobal plays what a recorded global sent, where the recording is at
// hand: the zone is left with exactly the recorded keys and lists.
func TestRecordedGlobal(t *testing.T) {
	lines := recording(t)
	s := startStock(t)
	var later []*discovery.DeltaDiscoveryResponse
	first := map[string]bool{}
	for _, line := range lines {
		if line.Dir != "global->zone" || line.Method != kds.RPCGlobalToZone || line.Err != "" {
			continue
		}
		resp := new(discovery.DeltaDiscoveryResponse)
		if err := protojson.Unmarshal(unredacted(t, line.Msg), resp); err != nil {
			t.Fatalf("%v: %.300s", err, line.Msg)
		}
		if typ := resp.GetTypeUrl(); !first[typ] {
			first[typ] = true
			s.set(typ, resp.GetResources()...)
			continue
		}
		later = append(later, resp)
	}
	m := joinStock(t, "", s.addr)
	m.has(t, "zone/3", "dataplane/default/1", "dataplane/prod/1")
	m.revoked(t, cptoken.Dataplane, "default", "aaaa", true)
	for _, resp := range later {
		s.push(resp.GetTypeUrl(), resp.GetRemovedResources(), resp.GetResources()...)
	}
	m.has(t, "zone/4", "dataplane/default/1", "dataplane/prod/1")
	m.revoked(t, cptoken.Dataplane, "default", "bbb", true)
	m.revoked(t, cptoken.Dataplane, "default", "aaaa", false)
	if cluster, _ := m.store.Position(); cluster != "d0748056-e845-443b-80a6-345600dcd4b2" {
		t.Errorf("cluster %s", cluster)
	}
}

// unredacted puts a throw-away key in the place of the private keys that were cut
// out of the recording.
func unredacted(t *testing.T, msg json.RawMessage) []byte {
	t.Helper()
	key := base64.StdEncoding.EncodeToString([]byte(privatePEM(throwAway())))
	return bytes.ReplaceAll(msg, []byte(`"<redacted>"`), []byte(`"`+key+`"`))
}

// TestZoneUnderKumasGlobalCannotWrite: a zone of ours that cannot write refuses at once
// what one of Kuma's sends, one change after the other, acknowledges none of it, and has
// all of it on its disk once that is back.
func TestZoneUnderKumasGlobalCannotWrite(t *testing.T) {
	s := filled(t)
	m := joinStock(t, "", s.addr)
	m.has(t, "zone/1", "dataplane/default/1")
	kdstest.Eventually(t, "the zone to be in step", func() bool { return m.Status().Current })
	before, _ := s.answersTo(kuma.TypeGlobalSecret)
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	rename(m.path, m.path+".away")
	s.push(kuma.TypeGlobalSecret, nil, stockSecret(t, "zone-token-revocations", "", "z-1,z-2,z-3"))
	m.revoked(t, cptoken.Zone, "", "z-3", true)
	kdstest.Eventually(t, "the zone to say that it cannot write", func() bool {
		_, nacks := s.answersTo(kuma.TypeGlobalSecret)
		return m.store.Unwritten() != nil && len(nacks) == 1
	})
	s.push(kuma.TypeGlobalSecret, nil, stockSecret(t, "zone-token-revocations", "", "z-1,z-2,z-3,z-4"))
	m.revoked(t, cptoken.Zone, "", "z-4", true)
	if acks, _ := s.answersTo(kuma.TypeGlobalSecret); acks != before {
		t.Errorf("%d acknowledgements since the disk is bad", acks-before)
	}
	s.set(kuma.TypeGlobalSecret, stockSecret(t, "zone-token-signing-public-key-1", "", publicPEM(throwAway())),
		stockSecret(t, "zone-token-revocations", "", "z-1,z-2,z-3,z-4"))
	rename(m.path+".away", m.path)
	kdstest.Eventually(t, "the zone to be whole", func() bool {
		p, _ := m.store.Persisted()
		acks, _ := s.answersTo(kuma.TypeGlobalSecret)
		return p.Err == nil && p.Durable == p.Taken && acks > before && m.Status().Current
	})
	m.leave(t)
	again, err := keysync.Open(m.path, keysync.Options{Zone: "west"})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for _, id := range []string{"z-1", "z-2", "z-3", "z-4"} {
		if !again.View().Revoked(cptoken.Zone, "", id) {
			t.Errorf("%s is not revoked on the disk", id)
		}
	}
}
