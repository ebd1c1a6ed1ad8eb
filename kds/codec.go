package kds

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // Kuma's zones compress what they send
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// encoded is a message in its wire form. It is sent as it is, so that one copy
// serves every stream; nobody may change it.
type encoded []byte

// pieces is a message in its wire form, cut so that streams and messages share what
// is large in it. Nobody may change it.
type pieces [][]byte

// discard is the target for messages that nobody reads.
type discard struct{}

// codec is the protobuf codec with three exceptions: it passes encoded and pieces through,
// reads a request with bounds while it parses, and drops what goes to discard.
type codec struct{}

var _ encoding.CodecV2 = codec{}

// Name returns "proto", the content subtype that both ends speak.
func (codec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case encoded:
		return mem.BufferSlice{mem.SliceBuffer(m)}, nil
	case pieces:
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
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	if _, ok := v.(*discard); ok {
		return nil
	}
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	switch m := v.(type) {
	case *answer:
		m.decode(buf.ReadOnlyData())
		if m.wipe {
			for _, b := range data {
				clear(b.ReadOnlyData()) // nobody else has these bytes of the message
			}
		}
		return nil
	case *request:
		m.err = m.decode(buf.ReadOnlyData())
		return nil
	case proto.Message:
		return proto.Unmarshal(buf.ReadOnlyData(), m)
	}
	return fmt.Errorf("kds: cannot receive a %T", v)
}
