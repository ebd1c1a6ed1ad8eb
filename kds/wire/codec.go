package wire

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // Kuma's zones compress what they send
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// Encoded is a message in its wire form. It is sent as it is, so that one copy
// serves every stream; nobody may change it.
type Encoded []byte

// Pieces is a message in its wire form, cut so that streams and messages share what
// is large in it. Nobody may change it.
type Pieces [][]byte

// Discard is the target for messages that nobody reads.
type Discard struct{}

// Codec is the protobuf codec with three exceptions: it passes encoded and pieces through,
// reads a request with bounds while it parses, and drops what goes to discard.
type Codec struct{}

var _ encoding.CodecV2 = Codec{}

// Name returns "proto", the content subtype that both ends speak.
func (Codec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (Codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case Encoded:
		return mem.BufferSlice{mem.SliceBuffer(m)}, nil
	case Pieces:
		out := make(mem.BufferSlice, len(m))
		for i, b := range m {
			out[i] = mem.SliceBuffer(b)
		}
		return out, nil
	case proto.Message:
		b, err := proto.Marshal(m)
		if err != nil {
			return nil, err
		}
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return nil, fmt.Errorf("kds: cannot send a %T", v)
}

// Unmarshal implements encoding.CodecV2. A malformed request is not an error
// here, where it would come out as a defect of gRPC, but is noted in the request.
func (Codec) Unmarshal(data mem.BufferSlice, v any) error {
	if _, ok := v.(*Discard); ok {
		return nil
	}
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	switch m := v.(type) {
	case *Answer:
		m.decode(buf.ReadOnlyData())
		if m.Wipe {
			for _, b := range data {
				clear(b.ReadOnlyData()) // nobody else has these bytes of the message
			}
		}
		return nil
	case *Request:
		m.Err = m.decode(buf.ReadOnlyData())
		return nil
	case proto.Message:
		return proto.Unmarshal(buf.ReadOnlyData(), m)
	}
	return fmt.Errorf("kds: cannot receive a %T", v)
}
