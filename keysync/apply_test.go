package keysync

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

func TestEmptyStoreKnowsNothing(t *testing.T) {
	s := openNew(t)
	v := s.View()
	if !v.Empty() || v.Key(zoneKey("1")) != nil || v.Revoked(cptoken.Zone, "", "a") || !v.CutOff(cptoken.Zone, "", "1").IsZero() {
		t.Errorf("an empty view knows something: %+v", v)
	}
	if cluster, at := s.Position(); cluster != "" || !at.IsZero() {
		t.Errorf("position %q %s", cluster, at)
	}
	wantReason(t, s.Apply(t.Context(), delta(history1, 0, 5, revoked(5, "a"))), ReasonGap)
}

func TestApplyPublishesAndSurvives(t *testing.T) {
	s := openNew(t)
	changed := s.Changed()
	before := s.View()
	key := testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active)
	registered, err := cptoken.NewPublicKey(cptoken.KeyID{Kind: cptoken.Dataplane, Mesh: "default", KID: "ops"}, cptoken.AlgRS256, cptoken.Active,
		testDERs()[1], &cptoken.Constraints{Zones: []string{"west"}, Scopes: []cptoken.Scope{cptoken.ScopeEgress}, MaxLifetime: time.Hour, AllowNoID: true})
	if err != nil {
		t.Fatal(err)
	}
	meshRun := &cptoken.RevokedRun{Kind: cptoken.Dataplane, Mesh: "default", IDs: []cptoken.RevokedID{{ID: "a", Expires: 99}}}
	mustApply(t, s, full(history1, 10, keyed(1, key), keyed(2, registered), revoked(3, "a", uuidOf(1), strings.Repeat("x", cptoken.MaxIDLen)),
		cptoken.Change{Index: 4, Revoked: meshRun}, cutOffAt(5, 1234)))
	select {
	case <-changed:
	default:
		t.Error("the change was not announced")
	}
	if !before.Empty() || before.Revoked(cptoken.Zone, "", "a") {
		t.Error("a view that was taken before changed")
	}
	instance := s.Instance()
	for _, s := range []*Store{s, reopened(t, s)} {
		v := s.View()
		if got := v.Key(zoneKey("1")); got == nil || got.Fingerprint() != key.Fingerprint() || got.State != cptoken.Active {
			t.Errorf("key 1 is %+v", got)
		}
		if got := v.Key(registered.ID); got == nil || got.Registered == nil || got.Registered.MaxLifetime != time.Hour ||
			!got.Registered.AllowNoID || got.Registered.AllowNoExpiry || got.Registered.Zones[0] != "west" || got.Registered.Scopes[0] != cptoken.ScopeEgress {
			t.Errorf("the registered key is %+v", got)
		}
		wantRevoked(t, s, true, "a", uuidOf(1), strings.Repeat("x", cptoken.MaxIDLen))
		wantRevoked(t, s, false, "b", strings.ToUpper(uuidOf(10)), uuidOf(2), "", strings.Repeat("x", 5000))
		if !v.Revoked(cptoken.Dataplane, "default", "a") || v.Revoked(cptoken.Dataplane, "other", "a") || v.Revoked(cptoken.User, "", "a") {
			t.Error("revocations leak between kinds or meshes")
		}
		if got := v.CutOff(cptoken.Zone, "", "7"); got.Unix() != 1234 {
			t.Errorf("cut-off %s", got)
		}
		if cluster, at := s.Position(); cluster != testCluster || at != rev(history1, 10) {
			t.Errorf("position %s %s", cluster, at)
		}
		if v.Revocations() != 4 || v.RevocationsOf(cptoken.Zone) != 3 || len(v.Keys()) != 2 || s.Instance() != instance {
			t.Errorf("%d revocations, %d keys, instance %s", v.Revocations(), len(v.Keys()), s.Instance())
		}
	}
}

func TestCutOffTakesTheLater(t *testing.T) {
	s := openNew(t)
	one := cptoken.Change{Index: 2, CutOff: &cptoken.CutOff{CutOffID: cptoken.CutOffID{Kind: cptoken.Zone, KID: "1"}, Before: time.Unix(50, 0)}}
	mustApply(t, s, full(history1, 9, cutOffAt(1, 40), one))
	for kid, want := range map[string]int64{"1": 50, "2": 40} {
		if got := s.View().CutOff(cptoken.Zone, "", kid).Unix(); got != want {
			t.Errorf("cut-off of key %s at %d, want %d", kid, got, want)
		}
	}
	mustApply(t, s, delta(history1, 9, 10, cutOffAt(10, 60)))
	if got := s.View().CutOff(cptoken.Zone, "", "1").Unix(); got != 60 {
		t.Errorf("cut-off at %d, want 60", got)
	}
}

func TestNeverGoesBack(t *testing.T) {
	s := openNew(t)
	mustApply(t, s, full(history1, 10, revoked(3, "a"), revoked(10, "b")))
	later := full(history1, 6, revoked(3, "a"))
	later.Watermark = time.Unix(1000, 0)
	otherPast := delta(history1, 9, 10, revoked(10, "c"))
	otherPast.Position = []byte("another past")
	for name, p := range map[string]cptoken.Part{
		"older state with a later watermark":     later,
		"full state of a member that lags":       full(history1, 5, revoked(3, "a")),
		"a delta that is known":                  delta(history1, 2, 9, withdrawn(9, "b")),
		"the same index behind another past":     otherPast,
		"the same once more changes nothing":     full(history1, 10),
		"the same with nothing in it is no loss": delta(history1, 10, 10),
	} {
		switch err := s.Apply(t.Context(), p); {
		case p.To.Index == 10 && p.Position == nil && err != nil:
			t.Errorf("%s: %v", name, err)
		case p.To.Index < 10 || p.Position != nil: // passed over, it would be acknowledged
			wantReason(t, err, ReasonAhead)
		}
		wantRevoked(t, s, true, "a", "b")
		if _, at := s.Position(); at != rev(history1, 10) {
			t.Fatalf("%s: went to %s", name, at)
		}
	}
}

func TestOverlappingDelta(t *testing.T) {
	s := openNew(t)
	mustApply(t, s, full(history1, 1))
	mustApply(t, s, delta(history1, 1, 8, revoked(4, "a"), revoked(5, "b"), withdrawn(8, "a")))
	// Begins before the copy ends: a is revoked in it, which is older than its
	// withdrawal.
	overlapping := delta(history1, 2, 12, revoked(4, "a"), revoked(5, "b"), withdrawn(8, "a"), revoked(12, "c"))
	for range 2 {
		mustApply(t, s, overlapping)
		wantRevoked(t, s, true, "b", "c")
		wantRevoked(t, s, false, "a")
		if n := s.View().Revocations(); n != 2 {
			t.Errorf("%d revocations, want 2", n)
		}
	}
	s = reopened(t, s)
	wantRevoked(t, s, true, "b", "c")
	wantRevoked(t, s, false, "a")
}

func TestRefusals(t *testing.T) {
	otherCluster := full(history1, 20)
	otherCluster.Cluster = "another"
	older := federation.History{ID: "0000000000000001", Created: 500}
	noCluster := full(history1, 20)
	noCluster.Cluster = ""
	second := delta(history1, 10, 20)
	second.Number = 1
	controlKey := *testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active)
	controlKey.ID.Kind = cptoken.ControlPlane
	key := testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active)
	tooMany := cptoken.Change{Index: 11, Revoked: &cptoken.RevokedRun{Kind: cptoken.Zone, IDs: make([]cptoken.RevokedID, cptoken.MaxRun+1)}}
	tests := map[string]struct {
		part   cptoken.Part
		reason string
		code   federation.Code
	}{
		"another cluster":         {otherCluster, ReasonOtherCluster, federation.Conflict},
		"no cluster":              {noCluster, ReasonBrokenSet, federation.Invalid},
		"no index":                {full(history1, 0), ReasonBrokenSet, federation.Invalid},
		"an older history":        {full(older, 90), ReasonOlderHistory, federation.Conflict},
		"older history, delta":    {delta(older, 10, 90), ReasonOlderHistory, federation.Conflict},
		"a gap":                   {delta(history1, 11, 20), ReasonGap, federation.Conflict},
		"delta of a new history":  {delta(history2, 10, 20), ReasonGap, federation.Conflict},
		"not the first part":      {second, ReasonBrokenSet, federation.Invalid},
		"change beyond its set":   {delta(history1, 10, 20, revoked(21, "x")), "", federation.Invalid},
		"empty change":            {delta(history1, 10, 20, cptoken.Change{Index: 11}), "", federation.Invalid},
		"two changes in one":      {delta(history1, 10, 20, cptoken.Change{Index: 11, Key: key, Revoked: run("x")}), "", federation.Invalid},
		"control plane key":       {delta(history1, 10, 20, keyed(11, &controlKey)), "", federation.Invalid},
		"removed key as a key":    {delta(history1, 10, 20, keyed(11, key.WithState(cptoken.Removed))), "", federation.Invalid},
		"unknown kind":            {delta(history1, 10, 20, removed(11, cptoken.KeyID{Kind: "x", KID: "1"})), "", federation.Invalid},
		"mesh where there is non": {delta(history1, 10, 20, removed(11, cptoken.KeyID{Kind: cptoken.Zone, Mesh: "m", KID: "1"})), "", federation.Invalid},
		"no kid":                  {delta(history1, 10, 20, removed(11, cptoken.KeyID{Kind: cptoken.Zone})), "", federation.Invalid},
		"empty id":                {delta(history1, 10, 20, revoked(11, "")), "", federation.Invalid},
		"long id":                 {delta(history1, 10, 20, withdrawn(11, strings.Repeat("x", cptoken.MaxIDLen+1))), "", federation.Invalid},
		"long run":                {delta(history1, 10, 20, tooMany), "", federation.Invalid},
		"cut-off without a time":  {delta(history1, 10, 20, cutOffAt(11, 0)), "", federation.Invalid},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := openNew(t)
			mustApply(t, s, full(history1, 10, revoked(3, "a")))
			view := s.View()
			err := s.Apply(t.Context(), test.part)
			wantReason(t, err, test.reason)
			if code := federation.CodeOf(err); code != test.code {
				t.Errorf("code %s, want %s", code, test.code)
			}
			if s.View() != view {
				t.Error("a refused set changed the view")
			}
			s = reopened(t, s)
			wantRevoked(t, s, true, "a")
			wantRevoked(t, s, false, "x")
		})
	}
	s := openNew(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Apply(ctx, full(history1, 1)); federation.CodeOf(err) != federation.Unavailable {
		t.Errorf("with a context that is over: %v", err)
	}
}

// split makes parts of n changes out of a set.
func split(p cptoken.Part, n int) (parts []cptoken.Part) {
	changes := p.Changes
	for number := uint32(0); ; number++ {
		p.Number, p.Last = number, len(changes) <= n
		if p.Last {
			p.Changes = changes
			return append(parts, p)
		}
		p.Changes, changes = changes[:n], changes[n:]
		parts = append(parts, p)
	}
}

func TestPartsHaveNoEffectBeforeTheLast(t *testing.T) {
	s := openNew(t)
	key := testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active)
	mustApply(t, s, full(history1, 10, keyed(1, key), revoked(2, "z")))
	set := delta(history1, 10, 20, revoked(11, "a"), removed(12, key.ID), keyed(13, testKey(t, cptoken.Zone, "", "2", 1, cptoken.Active)),
		cutOffAt(14, 77), withdrawn(15, "z"), cutOffWithdrawn(16), revoked(17, "b"))
	parts := split(set, 1)
	mustApply(t, s, parts[:len(parts)-1]...)
	wantRevoked(t, s, false, "a", "b")
	wantRevoked(t, s, true, "z")
	// A restart in the middle forgets the parts.
	s = reopened(t, s)
	wantReason(t, s.Apply(t.Context(), parts[len(parts)-1]), ReasonBrokenSet)
	// So does a set that begins anew.
	mustApply(t, s, parts[:3]...)
	mustApply(t, s, parts...)
	wantRevoked(t, s, true, "a", "b")
	wantRevoked(t, s, false, "z")
	if v := s.View(); v.Key(key.ID) != nil || v.Key(zoneKey("2")) == nil || v.CutOffs() != 0 {
		t.Error("the set was not applied whole")
	}
	s = reopened(t, s)
	wantRevoked(t, s, true, "a", "b")
}

func TestPartsMustBelongTogether(t *testing.T) {
	parts := split(delta(history1, 10, 20, revoked(11, "a"), revoked(12, "b"), revoked(13, "c")), 1)
	for name, spoil := range map[string]func(*cptoken.Part){
		"number":    func(p *cptoken.Part) { p.Number = 2 },
		"repeated":  func(p *cptoken.Part) { *p = parts[0]; p.Number = 5 },
		"cluster":   func(p *cptoken.Part) { p.Cluster = "x" },
		"to":        func(p *cptoken.Part) { p.To.Index++ },
		"from":      func(p *cptoken.Part) { p.From.Index-- },
		"full":      func(p *cptoken.Part) { p.Full = true },
		"watermark": func(p *cptoken.Part) { p.Watermark = time.Unix(9, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			s := openNew(t)
			mustApply(t, s, full(history1, 10))
			mustApply(t, s, parts[0])
			bad := parts[1]
			spoil(&bad)
			wantReason(t, s.Apply(t.Context(), bad), ReasonBrokenSet)
			// The set is gone: its rest is refused too.
			wantReason(t, s.Apply(t.Context(), parts[1]), ReasonBrokenSet)
			wantRevoked(t, s, false, "a", "b", "c")
			mustApply(t, s, parts...)
			wantRevoked(t, s, true, "a", "b", "c")
		})
	}
}

func TestFullStateReplaces(t *testing.T) {
	s := openNew(t)
	one, two := testKey(t, cptoken.Zone, "", "1", 0, cptoken.Active), testKey(t, cptoken.Zone, "", "2", 1, cptoken.Active)
	mustApply(t, s, full(history1, 10, keyed(1, one), revoked(2, "a", "b"), cutOffAt(3, 50)))
	mustApply(t, s, full(history1, 20, keyed(15, two), revoked(2, "b"), revoked(16, "c")))
	wantRevoked(t, s, true, "b", "c")
	wantRevoked(t, s, false, "a")
	if v := s.View(); v.Key(one.ID) != nil || v.Key(two.ID) == nil || v.CutOffs() != 0 || v.Revocations() != 2 {
		t.Error("something of the former state is left")
	}
	// In the same history the global may make a key of that name again.
	mustApply(t, s, delta(history1, 20, 21, keyed(21, one)))
	if s.View().Key(one.ID) == nil {
		t.Error("the key that was made again is refused")
	}
}

func TestPruneOnTheWatermarkAlone(t *testing.T) {
	const day = 24 * 60 * 60
	s := openNew(t)
	mustApply(t, s, full(history1, 10, revokedUntil(1, "early", 10*day), revokedUntil(2, "late", 20*day), revoked(3, "never"),
		revokedUntil(4, "again", 10*day), revokedUntil(5, "again", 30*day)))
	step := func(index uint64, watermark int64) cptoken.Part {
		p := delta(history1, index-1, index, revoked(index, uuidOf(int(index))))
		p.Watermark = time.Unix(watermark, 0)
		return p
	}
	mustApply(t, s, step(11, 11*day))
	wantRevoked(t, s, true, "early", "late", "never", "again")
	mustApply(t, s, step(12, 11*day+1))
	wantRevoked(t, s, false, "early")
	wantRevoked(t, s, true, "late", "never", "again")
	if n := s.View().Revocations(); n != 5 {
		t.Errorf("%d revocations, want 5", n)
	}
	// A watermark that is lower changes nothing, one without changes counts.
	mustApply(t, s, step(13, 0))
	only := delta(history1, 13, 13)
	only.Watermark = time.Unix(22*day, 0)
	mustApply(t, s, only)
	for _, s := range []*Store{s, reopened(t, s)} {
		wantRevoked(t, s, false, "early", "late")
		wantRevoked(t, s, true, "never", "again", uuidOf(11), uuidOf(12), uuidOf(13))
		if _, at := s.Position(); at != rev(history1, 13) {
			t.Errorf("at %s", at)
		}
		if at := s.View().Pruned(); !at.Equal(time.Unix(22*day, 0)) {
			t.Errorf("pruned at %s", at)
		}
	}
}

func TestContact(t *testing.T) {
	s := openNew(t)
	if member, at := s.Contact(); member != "" || !at.IsZero() {
		t.Errorf("contact with %q at %s before there was any", member, at)
	}
	now := time.UnixMilli(1_700_000_000_000)
	s.Heard("node-a", now)
	s.Heard("node-b", now.Add(-time.Second)) // older: of no interest
	if member, at := s.Contact(); member != "node-a" || !at.Equal(now) {
		t.Errorf("contact with %q at %s", member, at)
	}
	s.Heard("node-b", now.Add(time.Second)) // not written at once
	s = reopened(t, s)
	if member, at := s.Contact(); member != "node-b" || !at.Equal(now.Add(time.Second)) {
		t.Errorf("after a restart: contact with %q at %s", member, at)
	}
}

// TestContactOfAClockThatWasAhead: a time of contact that an earlier process wrote
// while the clock was ahead is replaced by the first contact of this one, in the file
// too.
func TestContactOfAClockThatWasAhead(t *testing.T) {
	s := openNew(t)
	now := time.UnixMilli(1_700_000_000_000)
	s.Heard("node-a", now.Add(24*time.Hour))
	s = reopened(t, s)
	if _, at := s.Contact(); !at.Equal(now.Add(24 * time.Hour)) {
		t.Fatalf("contact at %s", at)
	}
	s.Heard("node-b", now)
	if member, at := s.Contact(); member != "node-b" || !at.Equal(now) {
		t.Errorf("after the clock was set right: contact with %q at %s", member, at)
	}
	s = reopened(t, s)
	if member, at := s.Contact(); member != "node-b" || !at.Equal(now) {
		t.Errorf("after another restart: contact with %q at %s", member, at)
	}
}

func TestOneProcessAFile(t *testing.T) {
	s := openNew(t)
	_, err := Open(s.path, testOptions(t))
	wantReason(t, err, ReasonLocked)
	if federation.AsError(err).Hint == "" || !strings.Contains(err.Error(), s.path) {
		t.Errorf("the error does not help: %v", err)
	}
	// What was refused must not have touched the file.
	mustApply(t, s, full(history1, 10, revoked(1, "a")))
	s = reopened(t, s)
	wantRevoked(t, s, true, "a")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	if err := s.Apply(t.Context(), full(history1, 20)); federation.CodeOf(err) != federation.Unavailable {
		t.Errorf("applying to a closed store: %v", err)
	}
	s.Heard("node", time.Unix(1, 0))
	wantRevoked(t, s, true, "a") // the view outlives the store
}

func TestFilesThatAreNotOurs(t *testing.T) {
	s := openNew(t)
	path := s.path
	s.Close()
	opts := testOptions(t)
	opts.Zone = "east"
	_, err := Open(path, opts)
	wantReason(t, err, ReasonOtherZone)
	openAt(t, path).Close() // and is left as it was

	if _, err := Open(t.TempDir(), testOptions(t)); err == nil {
		t.Error("a folder was opened as a file")
	}
	if _, err := Open(path, Options{Zone: "not a name"}); federation.CodeOf(err) != federation.Invalid {
		t.Errorf("a zone of a bad name: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(file, "zone.db"), testOptions(t)); err == nil {
		t.Error("a file was taken for a folder")
	}
}
