package kds_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/client"
)

// keySets is a kds.KeySets of a test.
type keySets struct {
	mu      sync.Mutex
	uses    []kds.KeySetUse
	changed chan struct{}
}

func (k *keySets) Uses() []kds.KeySetUse {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.uses
}

func (k *keySets) Changed() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.changed == nil {
		k.changed = make(chan struct{})
	}
	return k.changed
}

func (k *keySets) set(uses ...kds.KeySetUse) {
	ch := k.Changed()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.uses = uses
	if ch == k.changed {
		close(k.changed)
		k.changed = nil
	}
}

// TestKeySetsAreReported: a member hears which key sets were fetched at a zone, when it
// connects and when there is news; and a session that follows begins with what was known.
func TestKeySetsAreReported(t *testing.T) {
	m := start(t, nil)
	zone := kds.KeySetUse{Set: "zone", Count: 3, Last: time.Unix(1_800_000_000, 0)}
	mesh := kds.KeySetUse{Set: "dataplane/payments", Count: 1, Last: time.Unix(1_800_000_060, 0)}
	sets := &keySets{uses: []kds.KeySetUse{zone}}
	z := join(t, "west", func(c *client.Config) { c.KeySets = sets }, m.addr)
	told := func(uses ...kds.KeySetUse) func() bool {
		return func() bool { s := m.Sessions(); return len(s) == 1 && s[0].KeySets == kds.FormatKeySets(uses) }
	}
	kdstest.Eventually(t, "the report of a new connection", told(zone))
	sets.set(zone, mesh)
	kdstest.Eventually(t, "news", told(zone, mesh))
	if s := m.session(t, "west"); s.Sent != 1 || s.Rejected != 0 {
		t.Errorf("the reports were answered: %+v", s)
	}
	z.stop()
	kdstest.Eventually(t, "the zone to be gone", func() bool { return !m.session(t, "west").Disconnected.IsZero() })
	join(t, "west", nil, m.addr)
	kdstest.Eventually(t, "the zone to be back", func() bool { s := m.session(t, "west"); return s.Disconnected.IsZero() && s.Full })
	if !told(zone, mesh)() {
		t.Errorf("a session that reports nothing forgets what the one before reported: %+v", m.session(t, "west"))
	}
}

func TestMalformedReportsOfKeySetsAreRefused(t *testing.T) {
	m := start(t, nil)
	for _, text := range []string{"zone", "zone 1", "zone x 1", "zone 1 x", "zone 1 -1", "zone 1 253402300800", "zone 1 1 1", "user 1 1",
		"dataplane/ 1 1", "dataplane/a/b 1 1", "dataplane/A 1 1", "zone 1 1\n", "\nzone 1 1",
		strings.Repeat("zone 1 1\n", kds.MaxKeySets) + "zone 1 1", strings.Repeat("z", kds.MaxKeySetsLen+1)} {
		r := openRaw(t, dialRaw(t, m.addr), kds.RPCGlobalToZone, as("west")...)
		first := subscription("west", kds.ChangesType, "")
		r.send(first)
		r.must()
		r.offer(&discovery.DeltaDiscoveryRequest{TypeUrl: kds.KeySetsType, InitialResourceVersions: map[string]string{kds.VersionKeySets: text}})
		if _, err := r.recv(); err == nil {
			t.Errorf("%.60q is taken", text)
		}
	}
}

// TestWhatAGlobalWouldRefuseIsNotReported: it would cost the zone its connection.
func TestWhatAGlobalWouldRefuseIsNotReported(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	uses := []kds.KeySetUse{{Set: "zone", Count: 1, Last: at}}
	for _, set := range []string{"", "zone/", "zone/x", "user", "dataplane", "dataplane/", "dataplane/a b", "dataplane/A", "zone\nzone", "zone 1 1", "dataplane/" + strings.Repeat("m", 300)} {
		uses = append(uses, kds.KeySetUse{Set: set, Count: 1, Last: at})
	}
	for i := range kds.MaxKeySets { // they take no place from what can be told
		uses = append(uses, kds.KeySetUse{Set: fmt.Sprintf("strange/%d", i), Count: 1, Last: at.Add(time.Hour)})
	}
	uses = append(uses, kds.KeySetUse{Set: "dataplane/before", Last: time.Unix(-1, 0)}, kds.KeySetUse{Set: "dataplane/after", Last: time.Unix(253402300800, 0)})
	got, err := kds.ParseKeySets(kds.FormatKeySets(uses))
	if err != nil || !reflect.DeepEqual(got, uses[:1]) {
		t.Errorf("%v: %v", err, got)
	}
}

func TestReportsOfKeySetsAreBounded(t *testing.T) {
	var uses []kds.KeySetUse
	for i := range 2 * kds.MaxKeySets {
		uses = append(uses, kds.KeySetUse{Set: fmt.Sprintf("dataplane/%s%03d", strings.Repeat("m", 60), i), Count: 1<<64 - 1, Last: time.Unix(int64(i), 0)})
	}
	text := kds.FormatKeySets(uses)
	got, err := kds.ParseKeySets(text)
	if err != nil || !reflect.DeepEqual(got, uses[kds.MaxKeySets:]) || len(text) > kds.MaxKeySetsLen {
		t.Errorf("%d bytes, %v: %v", len(text), err, got)
	}
}

// TestLiveUsesTravel: how many sessions a key has goes the way of the key sets that were
// fetched, comes first where there is not room for all, and has one form.
func TestLiveUsesTravel(t *testing.T) {
	keys := []cptoken.KeyID{{Kind: cptoken.Zone, KID: "1"}, {Kind: cptoken.Dataplane, Mesh: "payments", KID: "ci-1"}, {Kind: cptoken.User, KID: "3"}}
	var uses []kds.KeySetUse
	for i := range kds.MaxKeySets {
		uses = append(uses, kds.KeySetUse{Set: fmt.Sprintf("dataplane/m%d", i), Count: 1, Last: time.Unix(1_800_000_000, 0)})
	}
	for i, key := range keys {
		uses = append(uses, kds.LiveUse(key, i+1))
	}
	parsed, err := kds.ParseKeySets(kds.FormatKeySets(uses))
	if err != nil || len(parsed) != kds.MaxKeySets {
		t.Fatalf("%d uses: %v", len(parsed), err)
	}
	for i, key := range keys {
		if !slices.ContainsFunc(parsed, func(u kds.KeySetUse) bool {
			got, live := u.Live()
			return live && got == key && u.Count == uint64(i+1)
		}) {
			t.Errorf("%v is lost", key)
		}
	}
	// A global of before reads what it knows.
	report := kds.ReportKeySets(uses)
	if strings.Contains(report[kds.VersionKeySets], "live/") || strings.Count(report[kds.VersionLiveKeys], "\n") != len(keys)-1 {
		t.Errorf("the report is %q", report)
	}
	if joined := kds.JoinKeySets(report[kds.VersionKeySets], report[kds.VersionLiveKeys]); joined != kds.FormatKeySets(uses) {
		t.Errorf("joined: %q", joined)
	}
	for _, bad := range []string{"live/zone", "live/zone/", "live/nonsense/1", "live/zone/mesh/1", "live/dataplane/1", "live/dataplane/A b/1", "live/zone/a/b/c", "live//1"} {
		if _, err := kds.ParseKeySets(bad + " 1 0"); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
