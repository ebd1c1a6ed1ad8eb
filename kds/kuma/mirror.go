package kuma

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
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kdspb"
	"github.com/meridiankds/meridian/kds/wire"
)

// History is the history of what a zone was told by a global of Kuma's, which
// has none of its own. It is older than any history of Meridian's, so that nothing
// of it can ever replace what Meridian sent.
func History(cluster string) federation.History {
	sum := sha256.Sum256([]byte("kuma\x00" + cluster))
	return federation.History{ID: hex.EncodeToString(sum[:8]), Created: 1}
}

// Held is what a zone holds of Kuma's global: public keys, and revoked ids by
// list. It is never changed once it is made.
type Held struct {
	keys  map[cptoken.KeyID]*cptoken.PublicKey
	lists map[ListID]map[string]bool
}

// NewHeld returns what a zone holds that knows nothing.
func NewHeld() *Held {
	return &Held{keys: map[cptoken.KeyID]*cptoken.PublicKey{}, lists: map[ListID]map[string]bool{}}
}

// AddKey adds a key, before what is held is used.
func (h *Held) AddKey(k *cptoken.PublicKey) { h.keys[k.ID] = k }

// AddRevoked adds a revoked id, before what is held is used.
func (h *Held) AddRevoked(kind cptoken.Kind, mesh, id string) {
	list := ListID{kind, mesh}
	if h.lists[list] == nil {
		h.lists[list] = map[string]bool{}
	}
	h.lists[list][id] = true
}

// Mirror is what the global of Kuma's told on one stream, which begins from
// nothing.
type Mirror struct {
	answered map[string]bool // types
	Cluster  string
	keys     map[string]*namedKey // by resource
	lists    map[string]*namedList
	Skipped  []string // what could not be read, for the log
}

type namedKey struct {
	key *cptoken.PublicKey
	typ string
}

type namedList struct {
	id  ListID
	ids map[string]bool
}

// NewMirror returns one to which nothing was told yet.
func NewMirror() *Mirror {
	return &Mirror{answered: map[string]bool{}, keys: map[string]*namedKey{}, lists: map[string]*namedList{}}
}

// Complete reports whether there is enough to act on. Meshes have no part in it:
// what belongs to one names it.
func (m *Mirror) Complete() bool {
	return m.Cluster != "" && m.answered[TypeGlobalSecret] && m.answered[TypeSecret]
}

// Take keeps what an answer brings. Secrets in it are wiped.
func (m *Mirror) Take(resp *discovery.DeltaDiscoveryResponse) error {
	m.Skipped = nil
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

func (m *Mirror) takeResource(typ string, r *discovery.Resource) error {
	outer := r.GetResource()
	defer func() { clear(outer.GetValue()) }()
	var k kdspb.KumaResource
	if err := outer.UnmarshalTo(&k); err != nil {
		return federation.Errorf(federation.Invalid, "a resource of type %.40s that is none of Kuma's: %w", typ, err)
	}
	meta, spec := k.GetMeta(), k.GetSpec()
	defer func() { clear(spec.GetValue()) }()
	switch typ {
	case TypeConfig:
		var config kdspb.Config
		if err := spec.UnmarshalTo(&config); err != nil {
			return federation.Errorf(federation.Invalid, "Config %.80q cannot be read: %w", meta.GetName(), err)
		}
		if meta.GetName() == NameClusterID {
			return m.takeCluster(config.GetConfig())
		}
	case TypeGlobalSecret, TypeSecret:
		var secret kdspb.Secret
		if err := spec.UnmarshalTo(&secret); err != nil {
			m.Skipped = append(m.Skipped, wire.Printable(meta.GetName())+": not a secret of Kuma's")
			return nil
		}
		defer func() { clear(secret.GetData().GetValue()) }()
		m.takeSecret(typ, meta, secret.GetData().GetValue())
	}
	return nil
}

func (m *Mirror) takeCluster(id string) error {
	id = strings.TrimSpace(id)
	if id == "" || len(id) > wire.MaxClusterLen || wire.Printable(id) != id {
		return federation.Errorf(federation.Invalid, "a cluster id of %d bytes", len(id))
	}
	if m.Cluster != "" && m.Cluster != id {
		return wire.OtherCluster(m.Cluster, id)
	}
	m.Cluster = id
	return nil
}

// takeSecret reads a key or a list by its name; other secrets are none of ours.
// One that cannot be read is left out and told, and the others count: a single odd
// key must not keep revocations from a zone.
func (m *Mirror) takeSecret(typ string, meta *kdspb.KumaResource_Meta, data []byte) {
	resource := typ + "/" + meta.GetName() + "." + meta.GetMesh()
	delete(m.keys, resource)
	delete(m.lists, resource)
	skip := func(err error) { m.Skipped = append(m.Skipped, wire.Printable(meta.GetName())+": "+err.Error()) }
	for _, name := range []string{meta.GetName(), meta.GetLabels()[LabelDisplay]} {
		kind, mesh, serial, isKey := secretOf(typ, meta.GetMesh(), name)
		if kind == "" {
			continue
		}
		if err := kind.ValidateScope(mesh); err != nil {
			skip(err)
			return
		}
		if isKey {
			key, err := publicKey(cptoken.KeyID{Kind: kind, Mesh: mesh, KID: serial}, cptoken.Active, data)
			if err != nil {
				skip(err)
				return
			}
			m.keys[resource] = &namedKey{key: key, typ: typ}
			return
		}
		list := &namedList{id: ListID{kind, mesh}, ids: map[string]bool{}}
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

// secretOf tells what the name of a secret stands for: a key with its serial, or
// a list of revoked ids, and of which mesh. The list of a mesh is a secret of the mesh,
// or since 2.10 a global one. The kind is "" where it is neither.
func secretOf(typ, secretMesh, name string) (kind cptoken.Kind, mesh, serial string, isKey bool) {
	kind, mesh = cptoken.Zone, secretMesh
	tail := ""
	if typ == TypeSecret {
		kind, tail = cptoken.Dataplane, mesh+"-"
	} else if of, ok := strings.CutPrefix(name, ListName(cptoken.Dataplane, "")); ok && mesh == "" && of != "" {
		return cptoken.Dataplane, of, "", false
	}
	if name == ListName(kind, mesh) {
		return kind, mesh, "", false
	}
	for _, prefix := range []string{"-signing-public-key-", "-signing-key-"} {
		serial, ok := strings.CutPrefix(name, kind.TokenName()+prefix+tail)
		if _, number := cptoken.ParseSerialKID(serial); ok && number {
			return kind, mesh, serial, true
		}
	}
	return "", "", "", false
}

// Desired is what the zone should hold, given what it does. What the first answers
// do not name is gone only where that is no sign of a global that has lost its
// memory: an answer without a single key takes none away, and a list that is not
// there withdraws nothing. begun says that the first answers were acted on, so
// that what is gone since was removed by name.
func (m *Mirror) Desired(held *Held, begun bool) *Held {
	want := NewHeld()
	newest := map[ListID]uint64{}
	for _, k := range m.keys {
		want.keys[k.key.ID] = k.key
		serial, _ := cptoken.ParseSerialKID(k.key.ID.KID)
		line := ListID{k.key.ID.Kind, k.key.ID.Mesh}
		newest[line] = max(newest[line], serial)
	}
	// Which key signs Kuma does not say; its global signs with the newest.
	for id, k := range want.keys {
		if serial, _ := cptoken.ParseSerialKID(id.KID); serial < newest[ListID{id.Kind, id.Mesh}] {
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
		some[line.Kind] = true
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

// Kept returns what a zone keeps although the global does not name it: kinds of keys,
// and how many ids of which list.
func (m *Mirror) Kept(held, want *Held) (kinds []cptoken.Kind, lists map[string]int) {
	named := map[cptoken.Kind]bool{}
	for _, k := range m.keys {
		named[k.key.ID.Kind] = true
	}
	for id := range held.keys {
		if want.keys[id] != nil && !named[id.Kind] {
			named[id.Kind] = true
			kinds = append(kinds, id.Kind)
		}
	}
	listed := map[ListID]bool{}
	for _, l := range m.lists {
		listed[l.id] = true
	}
	lists = map[string]int{}
	for id, ids := range held.lists {
		if !listed[id] && len(ids) > 0 {
			lists[ListName(id.Kind, id.Mesh)] = len(ids)
		}
	}
	return kinds, lists
}

// Changes is what leads from one holding to another, in a fixed order.
func (h *Held) Changes(to *Held, index uint64) (out []cptoken.Change) {
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
	lists := map[ListID]bool{}
	for id := range h.lists {
		lists[id] = true
	}
	for id := range to.lists {
		lists[id] = true
	}
	order := slices.SortedFunc(maps.Keys(lists), func(a, b ListID) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Mesh, b.Mesh))
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
func runsOf(id ListID, lacks, has map[string]bool) (runs []*cptoken.RevokedRun) {
	var ids []string
	for one := range has {
		if !lacks[one] {
			ids = append(ids, one)
		}
	}
	slices.Sort(ids)
	for chunk := range slices.Chunk(ids, cptoken.MaxRun) {
		run := &cptoken.RevokedRun{Kind: id.Kind, Mesh: id.Mesh}
		for _, one := range chunk {
			run.IDs = append(run.IDs, cptoken.RevokedID{ID: one})
		}
		runs = append(runs, run)
	}
	return runs
}

// KindOf reads the kind of global off a position: what a zone holds tells whom
// it had before.
func KindOf(rev federation.Revision) string {
	switch {
	case rev.IsZero():
		return ""
	case rev.History.Created == 1 && strings.Trim(rev.History.ID, "0123456789abcdef") == "":
		return kds.KindKuma
	}
	return kds.KindMeridian
}
