package rollout

import (
	"strconv"
	"strings"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"

	"github.com/meridiankds/meridian/internal/zone/envoyres"
)

// Bounds of a stream.
const (
	// maxFlights is how many responses of a kind may be unanswered at once.
	maxFlights = 64
	// repeatsAtOnce and repeatEvery bound the answers to requests that ask for nothing new.
	repeatsAtOnce = 4
	repeatEvery   = time.Second
	// unheard is how long after a reconnect nothing is removed that could be used by a
	// kind that the proxy has not asked for yet.
	unheard = 10 * time.Second
)

// Options are those of a stream.
type Options struct {
	// Delta tells the incremental protocol from the state of the world.
	Delta bool
	// Drain is how long a replaced listener may go on: Envoy's --drain-time-s.
	Drain time.Duration
	// Linger is how long what nothing refers to any more stays.
	Linger time.Duration
	// Resume is what the proxy had when its last stream ended; nil: not known.
	Resume *Held
}

// Stream is what the proxy of one stream wants, has been sent, and has answered. It is not
// safe for concurrent use.
type Stream struct {
	opts    Options
	want    envoyres.Set
	byKind  map[envoyres.Kind]map[string]*envoyres.Resource // want
	circle  map[envoyres.Key]int                            // resources with the same number refer to each other
	kinds   [types.UnknownType]*kind
	uses    uses
	probes  map[envoyres.Key]probe // by the resource that each stands for
	nonce   int64
	began   time.Time            // of the first request
	resumed bool                 // the proxy had something before
	pending []envoyres.Reference // what the proxy may wait for since the stream before
}

// kind is the state of one type of resource.
type kind struct {
	kind     envoyres.Kind
	asked    bool // a request came
	owed     bool // the first request is not answered yet
	wildcard bool
	legacy   bool // no name was ever given: an empty list means all
	names    map[string]bool

	held    map[string]*held
	opaque  bool      // what the proxy has besides is not known
	flights []*flight // the oldest first
	nonce   string    // of the last response
	version string    // that was acknowledged last
	heard   string    // the last nonce that was answered

	again   map[string]bool // to be sent though the proxy has it
	absent  map[string]bool // to be said not to exist; delta only
	force   bool            // the former set is to be sent again
	kept    bool            // a removal or a former version was refused: none before more is wanted
	refused map[string]refusal
	detail  string // of the last refusal
	trials  trials
	repeats int
	renewed time.Time // when repeats were last given back
	repeat  bool      // a repeated request waits for its answer
}

// held is what the proxy has, or may have, of one name.
type held struct {
	acked *envoyres.Resource   // nil: nothing
	doubt []*envoyres.Resource // of refused responses, of which a part may be in place
}

// flight is a response that is not answered.
type flight struct {
	nonce, version string
	content        map[string]*envoyres.Resource // nil: removed
	full           bool                          // what is not in it is removed
}

// refusal is a version that the proxy does not take.
type refusal struct {
	version, detail string
}

// NewStream returns a stream that was told nothing yet.
func NewStream(opts Options) *Stream {
	s := &Stream{opts: opts, uses: newUses(), probes: map[envoyres.Key]probe{}}
	for _, k := range envoyres.Kinds() {
		s.kinds[k] = &kind{kind: k, names: map[string]bool{}, held: map[string]*held{}, again: map[string]bool{},
			absent: map[string]bool{}, refused: map[string]refusal{}, legacy: true, repeats: repeatsAtOnce}
	}
	if opts.Resume != nil {
		s.uses = opts.Resume.uses.clone()
		s.pending = opts.Resume.pending
	}
	return s
}

// Want says what the proxy is to have. What waits of an earlier set is replaced.
func (s *Stream) Want(set envoyres.Set) {
	s.want = set
	s.circle = circles(set)
	s.byKind = map[envoyres.Kind]map[string]*envoyres.Resource{}
	for key, r := range set {
		if s.byKind[key.Kind] == nil {
			s.byKind[key.Kind] = map[string]*envoyres.Resource{}
		}
		s.byKind[key.Kind][key.Name] = r
	}
	for _, st := range s.kinds {
		if st == nil {
			continue
		}
		for name, r := range st.refused {
			if w := s.wanted(st.kind, name); w == nil || w.Version != r.version {
				delete(st.refused, name)
			}
		}
		st.kept = false
		s.convict(st, st.trials.keep(func(name, version string) bool {
			w := s.wanted(st.kind, name)
			return w != nil && w.Version == version
		}), st.detail)
	}
}

// wanted returns what is wanted of a name, or nil; a probe is wanted while it is needed.
func (s *Stream) wanted(k envoyres.Kind, name string) *envoyres.Resource {
	if of, ok := strings.CutPrefix(name, probePrefix); ok {
		return s.probes[envoyres.Key{Kind: k, Name: of}].Resource
	}
	return s.want[envoyres.Key{Kind: k, Name: name}]
}

// subscribed reports whether the proxy asks for a name.
func (st *kind) subscribed(name string) bool {
	return st.asked && (st.wildcard || st.names[name])
}

// full reports whether a response in the state of the world has everything: a listener or a
// cluster that is not in it is removed.
func (st *kind) full() bool { return st.kind == types.Cluster || st.kind == types.Listener }

// of returns the record of a name, made where there is none.
func (st *kind) of(name string) *held {
	h := st.held[name]
	if h == nil {
		h = &held{}
		st.held[name] = h
	}
	return h
}

// latest is what the proxy has of a name once it has taken everything that was sent: nil is
// nothing. ok is false where a refusal left that open.
func (st *kind) latest(name string) (r *envoyres.Resource, ok bool) {
	for i := len(st.flights) - 1; i >= 0; i-- {
		r, in := st.flights[i].content[name]
		if in || st.flights[i].full {
			return r, true
		}
	}
	h := st.held[name]
	if h == nil {
		return nil, true
	}
	return h.acked, len(h.doubt) == 0
}

// versions are those of a name that the proxy may have, each once or more.
func (st *kind) versions(name string) (list []*envoyres.Resource) {
	if h := st.held[name]; h != nil {
		if h.acked != nil {
			list = append(list, h.acked)
		}
		list = append(list, h.doubt...)
	}
	for _, f := range st.flights {
		if r := f.content[name]; r != nil {
			list = append(list, r)
		}
	}
	return list
}

// has reports whether the proxy has exactly this version, for certain.
func (st *kind) has(r *envoyres.Resource) bool {
	list := st.versions(r.Name)
	for _, v := range list {
		if v.Version != r.Version {
			return false
		}
	}
	h := st.held[r.Name]
	return len(list) > 0 && h != nil && h.acked != nil
}

func (s *Stream) nextNonce() string {
	s.nonce++
	return strconv.FormatInt(s.nonce, 10)
}
