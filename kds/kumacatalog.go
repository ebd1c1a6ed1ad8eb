package kds

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
	"github.com/meridiankds/meridian/kds/kdspb"
)

// maxKumaMessage is the largest message that is sent to a zone of Kuma's, which
// takes 10 MiB; the rest is for the envelope and names of removed resources.
const maxKumaMessage = 10<<20 - 64<<10

// kumaCatalog turns the state of this member into Kuma's resources, once for all
// streams, and only while there are streams that want them. What did not change
// is not made anew: streams tell by the pointer of a set whether it did.
type kumaCatalog struct {
	source Catalog // nil: nothing is served
	log    *slog.Logger
	room   int // of a message
	nonces atomic.Uint64

	mu        sync.Mutex
	streams   int
	from      Picture // what now was made of
	now       *kumaState
	resources map[string]*kumaResource // by type and key, those of now
	lists     map[kumaListID]*kumaList
}

// kumaState is all that zones of Kuma's are sent, at one revision.
type kumaState struct {
	rev  federation.Revision
	sets map[string]*kumaSet // by type
}

type kumaListID struct {
	kind cptoken.Kind
	mesh string
}

// kumaList is a list of revoked ids as it was made last.
type kumaList struct {
	version  any
	resource *kumaResource // nil: nothing is revoked
	omitted  int           // ids for which there was no room
	made     time.Time
}

func newKumaCatalog(cfg *ServerConfig) *kumaCatalog {
	k := &kumaCatalog{source: cfg.Catalog, log: cfg.Logger, room: maxKumaMessage}
	if cfg.MaxKumaMessage > 0 {
		k.room = min(cfg.MaxKumaMessage, maxKumaMessage)
	}
	return k
}

// serves reports whether a type has resources here.
func (k *kumaCatalog) serves(typ string) bool {
	if k.source == nil {
		return false
	}
	for _, t := range kumaTypes {
		if t == typ {
			return true
		}
	}
	return false
}

// nonce returns one that no other answer of this member has.
func (k *kumaCatalog) nonce() string { return strconv.FormatUint(k.nonces.Add(1), 10) }

// enter and leave count the streams that want resources. Without one, nothing is
// kept.
func (k *kumaCatalog) enter() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.streams++
}

func (k *kumaCatalog) leave() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.streams--; k.streams == 0 {
		k.from, k.now, k.resources, k.lists = nil, nil, nil, nil
	}
}

// omitted returns how many ids did not fit into lists, by the list's name.
func (k *kumaCatalog) omitted() map[string]uint64 {
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
		out[kumaListName(id.kind, id.mesh)] = uint64(l.omitted)
	}
	return out
}

// current returns what zones of Kuma's are to have now. A long list is not made
// anew at every change of a burst: then again is when to ask once more, and what is
// returned is of before. It is nil where there is no state to serve yet.
func (k *kumaCatalog) current() (now *kumaState, again time.Time, err error) {
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
	d := kumaDraft{catalog: k, picture: p, resources: map[string]*kumaResource{}, lists: map[kumaListID]*kumaList{}, lastOf: map[string][]*kumaResource{}}
	if again := d.tooSoon(); k.now != nil && !again.IsZero() {
		return k.now, again, nil
	}
	if err := d.make(cluster); err != nil {
		return nil, time.Time{}, err
	}
	next := &kumaState{rev: rev, sets: map[string]*kumaSet{}}
	for _, typ := range kumaTypes {
		if k.now != nil && k.now.sets[typ].same(d.lastOf[typ]) {
			next.sets[typ] = k.now.sets[typ]
			continue
		}
		next.sets[typ] = newKumaSet(k.nonces.Add(1), typ, d.lastOf[typ])
	}
	k.alarm(d.lists)
	k.from, k.now, k.resources, k.lists = p, next, d.resources, d.lists
	return next, time.Time{}, nil
}

// alarm tells the operator when a list stops growing, and when it no longer has to.
func (k *kumaCatalog) alarm(lists map[kumaListID]*kumaList) {
	for id, l := range lists {
		before := 0
		if old := k.lists[id]; old != nil {
			before = old.omitted
		}
		switch name := kumaListName(id.kind, id.mesh); {
		case l.omitted > 0 && (before == 0 || l.omitted >= 2*before):
			k.log.Error("a list of revoked tokens is longer than zones of Kuma's take: they accept the tokens that were revoked last",
				"list", name, "omitted", l.omitted, "bytes", k.room,
				"hint", "move those zones to Meridian's control plane, or replace the key of these tokens and withdraw their revocations")
		case l.omitted == 0 && before > 0:
			k.log.Info("a list of revoked tokens fits into what zones of Kuma's take again", "list", name)
		}
	}
}

// kumaDraft makes the resources of one picture.
type kumaDraft struct {
	catalog   *kumaCatalog
	picture   Picture
	resources map[string]*kumaResource
	lists     map[kumaListID]*kumaList
	lastOf    map[string][]*kumaResource // by type
}

// listsOf are the lists that a picture may have.
func (d *kumaDraft) listsOf() []kumaListID {
	ids := []kumaListID{{kind: cptoken.Zone}}
	for _, mesh := range d.picture.Meshes() {
		ids = append(ids, kumaListID{cptoken.Dataplane, mesh})
	}
	return ids
}

// kumaListRate is how many bytes of a list are made anew in a second at most, which
// holds the cost of a burst of revocations to a few percent of a processor.
const kumaListRate = 16 << 20

// tooSoon returns when the lists that changed may be made, zero for now.
func (d *kumaDraft) tooSoon() (again time.Time) {
	for _, id := range d.listsOf() {
		old := d.catalog.lists[id]
		if old == nil || old.resource == nil {
			continue
		}
		if version, _ := d.picture.Revoked(id.kind, id.mesh); version == old.version {
			continue
		}
		at := old.made.Add(time.Duration(len(old.resource.wire)) * time.Second / kumaListRate)
		if at.After(time.Now()) && at.After(again) {
			again = at
		}
	}
	return again
}

func (d *kumaDraft) make(cluster string) error {
	if err := d.add(typeConfig, nameClusterID, "", cluster, nil, func() proto.Message { return &kdspb.Config{Config: cluster} }); err != nil {
		return err
	}
	for _, mesh := range d.picture.Meshes() {
		if err := d.add(typeMesh, mesh, "", "", nil, func() proto.Message { return &kdspb.Mesh{} }); err != nil {
			return err
		}
	}
	for _, key := range d.picture.Keys(cptoken.Zone) {
		if key.Registered != nil {
			continue // such a zone could not hold it to its constraints
		}
		fingerprint := key.Fingerprint()
		labels := map[string]string{labelDisplay: prefixSigningKey + key.ID.KID}
		err := d.add(typeGlobalSecret, prefixPublicKey+key.ID.KID, "", string(fingerprint[:]), labels, func() proto.Message { return kumaSecret(key.PEM()) })
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
func (d *kumaDraft) add(typ, name, mesh, content string, labels map[string]string, spec func() proto.Message) (err error) {
	known := typ + "\x00" + name + "\x00" + content
	r := d.catalog.resources[known]
	if r == nil {
		if r, err = newKumaResource(name, mesh, labels, spec()); err != nil {
			return err
		}
	}
	d.resources[known] = r
	d.lastOf[typ] = append(d.lastOf[typ], r)
	return nil
}

func (d *kumaDraft) addList(id kumaListID) error {
	version, ids := d.picture.Revoked(id.kind, id.mesh)
	if version == nil {
		return nil
	}
	l := d.catalog.lists[id]
	if l == nil || l.version != version {
		l = &kumaList{version: version, made: time.Now()}
		var text bytes.Buffer
		room := d.catalog.room - kumaListEnvelope
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
		if l.resource, err = newKumaResource(kumaListName(id.kind, id.mesh), id.mesh, nil, kumaSecret(text.Bytes())); err != nil {
			return err
		}
	}
	d.lists[id] = l
	typ := typeSecret
	if !id.kind.PerMesh() {
		typ = typeGlobalSecret
	}
	d.lastOf[typ] = append(d.lastOf[typ], l.resource)
	return nil
}

// kumaListEnvelope is what a resource may need beside its data.
const kumaListEnvelope = 1 << 10
