package wire

import (
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// Batch is a set of changes as it goes over the wire: whole responses, marshalled
// once. It is immutable.
type Batch struct {
	from, To federation.Revision
	Full     bool      // the whole state, whatever the zone had
	Parts    []Encoded // one response each
	Size     int       // of all parts, in bytes
}

// LastNonce is the nonce whose acknowledgement says that the set is durable.
func (b *Batch) LastNonce() string { return partNonce(b.To, uint32(len(b.Parts)-1)) }

// envelope is what a response and the header of Changes may need beside changes.
const envelope = 1 << 10

// Encode marshals d in parts of at most maxPart bytes. A single change that
// is larger, which MaxRun and the bound on ids rule out, is an Internal error.
func Encode(d cptoken.Delta, maxPart int) (*Batch, error) {
	e := encoder{
		batch:  &Batch{from: d.From, To: d.To, Full: d.Full},
		header: partHeader(d),
		room:   maxPart - envelope,
	}
	if d.Full {
		e.batch.from = federation.Revision{}
	}
	if d.Changes != nil {
		for c := range d.Changes {
			for _, m := range toWire(c) {
				if err := e.add(m); err != nil {
					return nil, err
				}
			}
		}
	}
	return e.batch, e.flush(true)
}

type encoder struct {
	batch   *Batch
	header  *kdspb.Changes
	room    int
	size    int // of changes
	changes []*kdspb.Change
}

func (e *encoder) add(m *kdspb.Change) error {
	n := 1 + protowire.SizeBytes(proto.Size(m)) // the tag, then length and body
	if n > e.room {
		return federation.Errorf(federation.Internal, "the change at index %d needs %d bytes, a part has %d", m.GetIndex(), n, e.room)
	}
	if e.size+n > e.room {
		if err := e.flush(false); err != nil {
			return err
		}
	}
	e.changes = append(e.changes, m)
	e.size += n
	return nil
}

func (e *encoder) flush(last bool) error {
	number := uint32(len(e.batch.Parts))
	m := e.header
	m.Part, m.Last, m.Changes = number, last, e.changes
	value, err := proto.Marshal(m)
	if err != nil {
		return federation.Errorf(federation.Internal, "marshalling changes: %w", err)
	}
	b, err := proto.Marshal(&discovery.DeltaDiscoveryResponse{
		TypeUrl: kds.ChangesType,
		Nonce:   partNonce(e.batch.To, number),
		Resources: []*discovery.Resource{{
			Name:     kds.ResourceName,
			Version:  e.batch.To.String(),
			Resource: &anypb.Any{TypeUrl: kds.ChangesURL, Value: value},
		}},
	})
	if err != nil {
		return federation.Errorf(federation.Internal, "marshalling a response: %w", err)
	}
	e.batch.Parts = append(e.batch.Parts, b)
	e.batch.Size += len(b)
	e.changes, e.size = nil, 0
	return nil
}
