package kuma

import (
	"bytes"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// maxMessage is the largest message that is sent to a zone of Kuma's, which
// takes 10 MiB; the rest is for the envelope and names of removed resources.
const maxMessage = 10<<20 - 64<<10

// Catalog turns the state of this member into Kuma's resources, once for all
// streams, and only while there are streams that want them. What did not change
// is not made anew: streams tell by the pointer of a set whether it did.
type Catalog struct {
	source kds.Catalog // nil: nothing is served
	log    *slog.Logger
	room   int // of a message
	nonces atomic.Uint64

	mu        sync.Mutex
	streams   int
	from      kds.Picture // what now was made of
	now       *State
	resources map[string]*resource // by type and key, those of now
	lists     map[ListID]*list
}

// State is all that zones of Kuma's are sent, at one revision.
type State struct {
	Rev  federation.Revision
	Sets map[string]*Set // by type
}

// ListID names a list of revoked ids; Mesh is "" where the kind has none.
type ListID struct {
	Kind cptoken.Kind
	Mesh string
}

// list is a list of revoked ids as it was made last.
type list struct {
	version  any
	resource *resource // nil: nothing is revoked
	// global is the same as a global secret: zones since 2.10 look for a mesh's list
	// there. nil for kinds that have no mesh.
	global  *resource
	omitted int // ids for which there was no room
	made    time.Time
}

// NewCatalog returns a catalog of the source, which may be nil. A room of 0 is
// what zones of Kuma's take in one message.
func NewCatalog(source kds.Catalog, log *slog.Logger, room int) *Catalog {
	k := &Catalog{source: source, log: log, room: maxMessage}
	if room > 0 {
		k.room = min(room, maxMessage)
	}
	return k
}

// Serves reports whether a type has resources here.
func (k *Catalog) Serves(typ string) bool {
	if k.source == nil {
		return false
	}
	for _, t := range Types {
		if t == typ {
			return true
		}
	}
	return false
}

// Watch returns a channel that is closed at the next change. Who takes it before
// current misses nothing.
func (k *Catalog) Watch() <-chan struct{} { return k.source.WatchPicture() }

// Fresh reports whether a stream may be begun with what this member has.
func (k *Catalog) Fresh() bool { return k.source.Fresh() }

// Answer returns what leads a zone from one set to another; from nothing where base
// is nil.
func (k *Catalog) Answer(base, to *Set) (*Answer, error) {
	return to.since(base, k.room, k.Nonce)
}

// Nonce returns one that no other answer of this member has.
func (k *Catalog) Nonce() string { return strconv.FormatUint(k.nonces.Add(1), 10) }

// Enter and Leave count the streams that want resources. Without one, nothing is
// kept.
func (k *Catalog) Enter() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.streams++
}

// Leave is the counterpart of Enter.
func (k *Catalog) Leave() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.streams--; k.streams == 0 {
		k.from, k.now, k.resources, k.lists = nil, nil, nil, nil
	}
}

// Omitted returns how many ids did not fit into lists, by the list's name.
func (k *Catalog) Omitted() map[string]uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out map[string]uint64
	for id, l := range k.lists {
		if l.omitted == 0 {
			continue
		}
		if out == nil {
			out = map[string]uint64{}
		}
		out[ListName(id.Kind, id.Mesh)] = uint64(l.omitted)
	}
	return out
}

// Current returns what zones of Kuma's are to have now. A long list is not made
// anew at every change of a burst: then again is when to ask once more, and what is
// returned is of before. It is nil where there is no state to serve yet.
func (k *Catalog) Current() (now *State, again time.Time, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.source.Picture()
	if k.now != nil && p == k.from {
		return k.now, time.Time{}, nil
	}
	cluster, rev := p.Head()
	if cluster == "" {
		return nil, time.Time{}, nil
	}
	d := draft{catalog: k, picture: p, resources: map[string]*resource{}, lists: map[ListID]*list{}, lastOf: map[string][]*resource{}}
	if again := d.tooSoon(); k.now != nil && !again.IsZero() {
		return k.now, again, nil
	}
	if err := d.make(cluster); err != nil {
		return nil, time.Time{}, err
	}
	next := &State{Rev: rev, Sets: map[string]*Set{}}
	for _, typ := range Types {
		if k.now != nil && k.now.Sets[typ].same(d.lastOf[typ]) {
			next.Sets[typ] = k.now.Sets[typ]
			continue
		}
		next.Sets[typ] = newSet(k.nonces.Add(1), typ, d.lastOf[typ])
	}
	k.alarm(d.lists)
	k.from, k.now, k.resources, k.lists = p, next, d.resources, d.lists
	return next, time.Time{}, nil
}

// alarm tells the operator when a list stops growing, and when it no longer has to.
func (k *Catalog) alarm(lists map[ListID]*list) {
	for id, l := range lists {
		before := 0
		if old := k.lists[id]; old != nil {
			before = old.omitted
		}
		switch name := ListName(id.Kind, id.Mesh); {
		case l.omitted > 0 && (before == 0 || l.omitted >= 2*before):
			k.log.Error("a list of revoked tokens is longer than zones of Kuma's take: they accept the tokens that were revoked last",
				"list", name, "omitted", l.omitted, "bytes", k.room,
				"hint", "move those zones to Meridian's control plane, or replace the key of these tokens and withdraw their revocations")
		case l.omitted == 0 && before > 0:
			k.log.Info("a list of revoked tokens fits into what zones of Kuma's take again", "list", name)
		}
	}
}

// draft makes the resources of one picture.
type draft struct {
	catalog   *Catalog
	picture   kds.Picture
	resources map[string]*resource
	lists     map[ListID]*list
	lastOf    map[string][]*resource // by type
}

// listsOf are the lists that a picture may have.
func (d *draft) listsOf() []ListID {
	ids := []ListID{{Kind: cptoken.Zone}}
	for _, mesh := range d.picture.Meshes() {
		ids = append(ids, ListID{cptoken.Dataplane, mesh})
	}
	return ids
}

// listRate is how many bytes of a list are made anew in a second at most, which
// holds the cost of a burst of revocations to a few percent of a processor.
const listRate = 16 << 20

// tooSoon returns when the lists that changed may be made, zero for now.
func (d *draft) tooSoon() (again time.Time) {
	for _, id := range d.listsOf() {
		old := d.catalog.lists[id]
		if old == nil || old.resource == nil {
			continue
		}
		if version, _ := d.picture.Revoked(id.Kind, id.Mesh); version == old.version {
			continue
		}
		at := old.made.Add(time.Duration(len(old.resource.wire)) * time.Second / listRate)
		if clock.Running(at, time.Now()) {
			again = clock.Last(again, at)
		}
	}
	return again
}

func (d *draft) make(cluster string) error {
	if err := d.add(TypeConfig, NameClusterID, "", cluster, nil, func() proto.Message { return &kdspb.Config{Config: cluster} }); err != nil {
		return err
	}
	for _, mesh := range d.picture.Meshes() {
		if err := d.add(TypeMesh, mesh, "", "", nil, func() proto.Message { return &kdspb.Mesh{} }); err != nil {
			return err
		}
	}
	for _, key := range d.picture.Keys(cptoken.Zone) {
		if key.Registered != nil {
			continue // such a zone could not hold it to its constraints
		}
		fingerprint := key.Fingerprint()
		labels := map[string]string{LabelDisplay: prefixSigningKey + key.ID.KID}
		err := d.add(TypeGlobalSecret, prefixPublicKey+key.ID.KID, "", string(fingerprint[:]), labels, func() proto.Message { return SecretSpec(key.PEM()) })
		if err != nil {
			return err
		}
	}
	for _, id := range d.listsOf() {
		if err := d.addList(id); err != nil {
			return err
		}
	}
	return nil
}

// add adds a resource, the one of before where its content, told apart by a word,
// is the same.
func (d *draft) add(typ, name, mesh, content string, labels map[string]string, spec func() proto.Message) (err error) {
	known := typ + "\x00" + name + "\x00" + content
	r := d.catalog.resources[known]
	if r == nil {
		if r, err = newResource(name, mesh, labels, spec()); err != nil {
			return err
		}
	}
	d.resources[known] = r
	d.lastOf[typ] = append(d.lastOf[typ], r)
	return nil
}

func (d *draft) addList(id ListID) error {
	version, ids := d.picture.Revoked(id.Kind, id.Mesh)
	if version == nil {
		return nil
	}
	l := d.catalog.lists[id]
	if l == nil || l.version != version {
		l = &list{version: version, made: time.Now()}
		var text bytes.Buffer
		room := d.catalog.room - listEnvelope
		for one := range ids {
			// From the first that has no room on, none has: which ids a zone lacks must
			// not depend on how long they are.
			if l.omitted > 0 || text.Len()+1+len(one) > room {
				l.omitted++
				continue
			}
			if text.Len() > 0 {
				text.WriteByte(',')
			}
			text.Write(one)
		}
		var err error
		if l.resource, err = newResource(ListName(id.Kind, id.Mesh), id.Mesh, nil, SecretSpec(text.Bytes())); err != nil {
			return err
		}
		if id.Kind.PerMesh() {
			if l.global, err = newResource(ListName(id.Kind, id.Mesh), "", nil, SecretSpec(text.Bytes())); err != nil {
				return err
			}
		}
	}
	d.lists[id] = l
	if !id.Kind.PerMesh() {
		d.lastOf[TypeGlobalSecret] = append(d.lastOf[TypeGlobalSecret], l.resource)
		return nil
	}
	d.lastOf[TypeSecret] = append(d.lastOf[TypeSecret], l.resource)
	d.lastOf[TypeGlobalSecret] = append(d.lastOf[TypeGlobalSecret], l.global)
	return nil
}

// listEnvelope is what a resource may need beside its data.
const listEnvelope = 1 << 10
