package kds

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// kumaHistory is the history of what a zone was told by a global of Kuma's, which
// has none of its own. It is older than any history of Meridian's, so that nothing
// of it can ever replace what Meridian sent.
func kumaHistory(cluster string) federation.History {
	sum := sha256.Sum256([]byte("kuma\x00" + cluster))
	return federation.History{ID: hex.EncodeToString(sum[:8]), Created: 1}
}

// kumaHeld is what a zone holds of Kuma's global: public keys, and revoked ids by
// list. It is never changed once it is made.
type kumaHeld struct {
	keys  map[cptoken.KeyID]*cptoken.PublicKey
	lists map[kumaListID]map[string]bool
}

func newKumaHeld() *kumaHeld {
	return &kumaHeld{keys: map[cptoken.KeyID]*cptoken.PublicKey{}, lists: map[kumaListID]map[string]bool{}}
}

// kumaMirror is what the global of Kuma's told on one stream, which begins from
// nothing.
type kumaMirror struct {
	answered map[string]bool // types
	cluster  string
	keys     map[string]*kumaNamedKey // by resource
	lists    map[string]*kumaNamedList
	skipped  []string // what could not be read, for the log
}

type kumaNamedKey struct {
	key *cptoken.PublicKey
	typ string
}

type kumaNamedList struct {
	id  kumaListID
	ids map[string]bool
}

func newKumaMirror() *kumaMirror {
	return &kumaMirror{answered: map[string]bool{}, keys: map[string]*kumaNamedKey{}, lists: map[string]*kumaNamedList{}}
}

// complete reports whether there is enough to act on. Meshes have no part in it:
// what belongs to one names it.
func (m *kumaMirror) complete() bool {
	return m.cluster != "" && m.answered[typeGlobalSecret] && m.answered[typeSecret]
}

// take keeps what an answer brings. Secrets in it are wiped.
func (m *kumaMirror) take(resp *discovery.DeltaDiscoveryResponse) error {
	m.skipped = nil
	typ := resp.GetTypeUrl()
	for _, r := range resp.GetResources() {
		if err := m.takeResource(typ, r); err != nil {
			return err
		}
	}
	for _, key := range resp.GetRemovedResources() {
		delete(m.keys, typ+"/"+key)
		delete(m.lists, typ+"/"+key)
	}
	m.answered[typ] = true
	return nil
}

func (m *kumaMirror) takeResource(typ string, r *discovery.Resource) error {
	outer := r.GetResource()
	defer func() { clear(outer.GetValue()) }()
	var k kdspb.KumaResource
	if err := outer.UnmarshalTo(&k); err != nil {
		return federation.Errorf(federation.Invalid, "a resource of type %.40s that is none of Kuma's: %w", typ, err)
	}
	meta, spec := k.GetMeta(), k.GetSpec()
	defer func() { clear(spec.GetValue()) }()
	switch typ {
	case typeConfig:
		var config kdspb.Config
		if err := spec.UnmarshalTo(&config); err != nil {
			return federation.Errorf(federation.Invalid, "Config %.80q cannot be read: %w", meta.GetName(), err)
		}
		if meta.GetName() == nameClusterID {
			return m.takeCluster(config.GetConfig())
		}
	case typeGlobalSecret, typeSecret:
		var secret kdspb.Secret
		if err := spec.UnmarshalTo(&secret); err != nil {
			m.skipped = append(m.skipped, printable(meta.GetName())+": not a secret of Kuma's")
			return nil
		}
		defer func() { clear(secret.GetData().GetValue()) }()
		m.takeSecret(typ, meta, secret.GetData().GetValue())
	}
	return nil
}

func (m *kumaMirror) takeCluster(id string) error {
	id = strings.TrimSpace(id)
	if id == "" || len(id) > maxClusterLen || printable(id) != id {
		return federation.Errorf(federation.Invalid, "a cluster id of %d bytes", len(id))
	}
	if m.cluster != "" && m.cluster != id {
		return otherCluster(m.cluster, id)
	}
	m.cluster = id
	return nil
}

// takeSecret reads a key or a list by its name; other secrets are none of ours.
// One that cannot be read is left out and told, and the others count: a single odd
// key must not keep revocations from a zone.
func (m *kumaMirror) takeSecret(typ string, meta *kdspb.KumaResource_Meta, data []byte) {
	resource := typ + "/" + meta.GetName() + "." + meta.GetMesh()
	delete(m.keys, resource)
	delete(m.lists, resource)
	skip := func(err error) { m.skipped = append(m.skipped, printable(meta.GetName())+": "+err.Error()) }
	for _, name := range []string{meta.GetName(), meta.GetLabels()[labelDisplay]} {
		kind, serial, isKey := kumaSecretOf(typ, meta.GetMesh(), name)
		if kind == "" {
			continue
		}
		if err := kind.ValidateScope(meta.GetMesh()); err != nil {
			skip(err)
			return
		}
		if isKey {
			key, err := kumaKey(cptoken.KeyID{Kind: kind, Mesh: meta.GetMesh(), KID: serial}, cptoken.Active, data)
			if err != nil {
				skip(err)
				return
			}
			m.keys[resource] = &kumaNamedKey{key: key, typ: typ}
			return
		}
		list := &kumaNamedList{id: kumaListID{kind, meta.GetMesh()}, ids: map[string]bool{}}
		for id := range strings.SplitSeq(string(data), ",") {
			switch id = strings.TrimSpace(id); {
			case len(id) > cptoken.MaxIDLen:
				skip(federation.Errorf(federation.Invalid, "an id of %d bytes, which no token can have", len(id)))
			case id != "":
				list.ids[id] = true
			}
		}
		m.lists[resource] = list
		return
	}
}

// kumaSecretOf tells what the name of a secret stands for: a key with its serial, or
// a list of revoked ids. The kind is "" where it is neither.
func kumaSecretOf(typ, mesh, name string) (kind cptoken.Kind, serial string, isKey bool) {
	kind = cptoken.Zone
	tail := ""
	if typ == typeSecret {
		kind, tail = cptoken.Dataplane, mesh+"-"
	}
	if name == kumaListName(kind, mesh) {
		return kind, "", false
	}
	for _, prefix := range []string{"-signing-public-key-", "-signing-key-"} {
		serial, ok := strings.CutPrefix(name, kind.TokenName()+prefix+tail)
		if _, number := cptoken.ParseSerialKID(serial); ok && number {
			return kind, serial, true
		}
	}
	return "", "", false
}

// desired is what the zone should hold, given what it does. What the first answers
// do not name is gone only where that is no sign of a global that has lost its
// memory: an answer without a single key takes none away, and a list that is not
// there withdraws nothing. begun says that the first answers were acted on, so
// that what is gone since was removed by name.
func (m *kumaMirror) desired(held *kumaHeld, begun bool) *kumaHeld {
	want := newKumaHeld()
	newest := map[kumaListID]uint64{}
	for _, k := range m.keys {
		want.keys[k.key.ID] = k.key
		serial, _ := cptoken.ParseSerialKID(k.key.ID.KID)
		line := kumaListID{k.key.ID.Kind, k.key.ID.Mesh}
		newest[line] = max(newest[line], serial)
	}
	// Which key signs Kuma does not say; its global signs with the newest.
	for id, k := range want.keys {
		if serial, _ := cptoken.ParseSerialKID(id.KID); serial < newest[kumaListID{id.Kind, id.Mesh}] {
			want.keys[id] = k.WithState(cptoken.Retiring)
		}
	}
	for _, l := range m.lists {
		if ids := want.lists[l.id]; ids != nil { // two secrets of one name: neither hides the other
			ids = maps.Clone(ids)
			maps.Copy(ids, l.ids)
			want.lists[l.id] = ids
			continue
		}
		want.lists[l.id] = l.ids
	}
	if begun {
		return want
	}
	some := map[cptoken.Kind]bool{}
	for line := range newest {
		some[line.kind] = true
	}
	for id, k := range held.keys {
		if !some[id.Kind] {
			want.keys[id] = k
		}
	}
	for id, ids := range held.lists {
		if want.lists[id] == nil {
			want.lists[id] = ids
		}
	}
	return want
}

// changes is what leads from one holding to another, in a fixed order.
func (h *kumaHeld) changes(to *kumaHeld, index uint64) (out []cptoken.Change) {
	byID := func(a, b cptoken.KeyID) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Mesh, b.Mesh), cmp.Compare(a.KID, b.KID))
	}
	for _, id := range slices.SortedFunc(maps.Keys(to.keys), byID) {
		k, old := to.keys[id], h.keys[id]
		if old == nil || old.Fingerprint() != k.Fingerprint() || old.State != k.State {
			out = append(out, cptoken.Change{Index: index, Key: k})
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(h.keys), byID) {
		if to.keys[id] == nil {
			out = append(out, cptoken.Change{Index: index, RemovedKey: &id})
		}
	}
	lists := map[kumaListID]bool{}
	for id := range h.lists {
		lists[id] = true
	}
	for id := range to.lists {
		lists[id] = true
	}
	order := slices.SortedFunc(maps.Keys(lists), func(a, b kumaListID) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.mesh, b.mesh))
	})
	for _, id := range order {
		for _, run := range runsOf(id, h.lists[id], to.lists[id]) {
			out = append(out, cptoken.Change{Index: index, Revoked: run})
		}
		for _, run := range runsOf(id, to.lists[id], h.lists[id]) {
			out = append(out, cptoken.Change{Index: index, Withdrawn: run})
		}
	}
	return out
}

// runsOf is what one list has and another has not.
func runsOf(id kumaListID, lacks, has map[string]bool) (runs []*cptoken.RevokedRun) {
	var ids []string
	for one := range has {
		if !lacks[one] {
			ids = append(ids, one)
		}
	}
	slices.Sort(ids)
	for chunk := range slices.Chunk(ids, cptoken.MaxRun) {
		run := &cptoken.RevokedRun{Kind: id.kind, Mesh: id.mesh}
		for _, one := range chunk {
			run.IDs = append(run.IDs, cptoken.RevokedID{ID: one})
		}
		runs = append(runs, run)
	}
	return runs
}
