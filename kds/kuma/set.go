package kuma

import (
	"cmp"
	"slices"
	"sync"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds/wire"
)

// Set is all resources of one of Kuma's types at one moment. Streams share it,
// and what leads from one to the next. What it holds never changes.
type Set struct {
	id    uint64 // not 0, and no other set's
	typ   string
	list  []*resource // small ones first
	byKey map[string]*resource

	mu      sync.Mutex
	answers map[uint64]*Answer // by the set that they lead on from; 0: from nothing
}

// Answer is what leads a zone from one set to another: one message, or several
// where one would be larger than such a zone takes.
type Answer struct {
	Messages []wire.Pieces
	Nonces   []string
	Size     int
}

// maxAnswers bounds the answers that a set keeps. Nearly all streams come from
// the set before, or from nothing.
const maxAnswers = 4

func newSet(id uint64, typ string, list []*resource) *Set {
	s := &Set{id: id, typ: typ, list: list, byKey: make(map[string]*resource, len(list)), answers: map[uint64]*Answer{}}
	// A zone may take the first message for all there is: what does not fit into it
	// should be little, and new to nobody for longer than the next message takes.
	slices.SortFunc(s.list, func(a, b *resource) int {
		return cmp.Or(cmp.Compare(len(a.wire)>>10, len(b.wire)>>10), cmp.Compare(a.key, b.key))
	})
	for _, r := range s.list {
		s.byKey[r.key] = r
	}
	return s
}

// same reports whether the list holds just what the set does.
func (s *Set) same(list []*resource) bool {
	if len(s.list) != len(list) {
		return false
	}
	for _, r := range list {
		if old := s.byKey[r.key]; old == nil || old.version != r.version {
			return false
		}
	}
	return true
}

// NewerThan reports whether the set was made after another.
func (s *Set) NewerThan(other *Set) bool { return s.id > other.id }

// since returns what leads on from another set, nil for nothing; the answer from
// nothing is one also where there are no resources at all.
func (s *Set) since(from *Set, room int, nonce func() string) (*Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var key uint64
	if from != nil {
		key = from.id
	}
	if a := s.answers[key]; a != nil {
		return a, nil
	}
	a, err := s.answer(from, room, nonce)
	if err != nil {
		return nil, err
	}
	if len(s.answers) >= maxAnswers {
		clear(s.answers)
	}
	s.answers[key] = a
	return a, nil
}

func (s *Set) answer(from *Set, room int, nonce func() string) (*Answer, error) {
	var removed []string
	var old map[string]*resource
	if from != nil {
		old = from.byKey
		for _, r := range from.list {
			if s.byKey[r.key] == nil {
				removed = append(removed, r.key)
			}
		}
	}
	a := &Answer{}
	var message wire.Pieces
	size := 0
	flush := func() error {
		head := &discovery.DeltaDiscoveryResponse{
			TypeUrl: s.typ, Nonce: nonce(), RemovedResources: removed,
			ControlPlane: &core.ControlPlane{Identifier: OriginGlobal},
		}
		b, err := proto.Marshal(head)
		if err != nil {
			return federation.Errorf(federation.Internal, "marshalling an answer of %s: %w", s.typ, err)
		}
		// The order of fields means nothing to protobuf.
		a.Messages, a.Nonces = append(a.Messages, append(message, b)), append(a.Nonces, head.Nonce)
		a.Size += size + len(b)
		message, size, removed = nil, 0, nil
		return nil
	}
	for _, r := range s.list {
		if was := old[r.key]; was != nil && was.version == r.version {
			continue
		}
		if size > 0 && size+len(r.wire) > room {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		message, size = append(message, r.wire), size+len(r.wire)
	}
	if len(a.Messages) > 0 && size == 0 {
		return a, nil
	}
	return a, flush()
}
