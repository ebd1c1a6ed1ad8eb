package server

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/internal/test/loopback"
)

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	out := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(out, stream), payload...)
}

// TestWhatIsKeptOfMessages: however the bytes of frames arrive and however messages lie in
// them, the incomplete ones are counted, and nothing else.
func TestWhatIsKeptOfMessages(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		streams := map[uint32]*struct{ have, whole int }{} // of the message under way, its head counted
		sent := []byte(clientPreface)
		for range r.IntN(40) {
			id := uint32(1 + 2*r.IntN(4))
			switch r.IntN(6) {
			case 0:
				sent = append(sent, frame(frameReset, 0, id, make([]byte, 4))...)
				delete(streams, id)
				continue
			case 1: // settings, pings, and a window
				sent = append(sent, frame([]byte{4, 6, 8}[r.IntN(3)], flagEndStream, id*uint32(r.IntN(2)), make([]byte, r.IntN(30)))...)
				continue
			case 2:
				flags := byte(r.IntN(2)) * flagEndStream
				sent = append(sent, frame(frameHeaders, flags|flagPadded, id, make([]byte, r.IntN(50)))...)
				if flags != 0 {
					delete(streams, id)
				}
				continue
			}
			var content, pad []byte
			flags := byte(0)
			for range r.IntN(4) {
				s := streams[id]
				if s == nil || s.have == 0 {
					s = &struct{ have, whole int }{0, messageHead + r.IntN(20)}
					streams[id] = s
				}
				n := r.IntN(s.whole - s.have + 1)
				whole := append([]byte{0}, binary.BigEndian.AppendUint32(nil, uint32(s.whole-messageHead))...)
				whole = append(whole, make([]byte, s.whole-messageHead)...)
				content = append(content, whole[s.have:s.have+n]...)
				if s.have += n; s.have == s.whole {
					s.have = 0
				}
			}
			if r.IntN(2) == 0 {
				flags = flagPadded
				pad = make([]byte, r.IntN(256))
				content = append([]byte{byte(len(pad))}, content...)
			}
			if r.IntN(8) == 0 {
				flags |= flagEndStream
				delete(streams, id)
			}
			sent = append(sent, frame(frameData, flags, id, append(content, pad...))...)
		}
		f := frames{preface: len(clientPreface), open: map[uint32]*message{}}
		for len(sent) > 0 {
			n := 1 + r.IntN(len(sent))
			f.take(sent[:n])
			sent = sent[n:]
		}
		var want int64
		for _, s := range streams {
			if s.have > 0 {
				want += costMessage + int64(max(0, s.have-messageHead))
			}
		}
		if f.kept != want {
			t.Fatalf("seed %d: %d bytes are kept, counted were %d", seed, want, f.kept)
		}
	}
}

// TestIncompleteMessagesOfAConnectionAreBounded: gRPC drops data of streams that do not exist,
// so what is known of streams has a bound of its own.
func TestIncompleteMessagesOfAConnectionAreBounded(t *testing.T) {
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := preauth.New(preauth.Config{}).Listen(raw, "test", false)
	defer l.Close()
	client, err := net.Dial("tcp", raw.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := loopback.AcceptFrom(l, client.LocalAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	sent := []byte(clientPreface)
	for i := range uint32(maxOpen + 1) {
		sent = append(sent, frame(frameData, 0, 2*i+1, make([]byte, 1))...)
	}
	if _, err := client.Write(sent); err != nil {
		t.Fatal(err)
	}
	w := watch(server, server.(*preauth.Conn))
	for buf := make([]byte, 1<<10); err == nil; {
		_, err = w.Read(buf)
	}
	if federation.AsError(err).Code != federation.TooLarge {
		t.Errorf("the connection ends with %v", err)
	}
}

// FuzzFrames: whatever a client sends, what is counted is never less than nothing nor more
// than what came and what entries cost.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(clientPreface + "\x00\x00\x06\x00\x08\x00\x00\x00\x01\xff\x00\x00\x00\x00"))
	f.Add(append([]byte(clientPreface), frame(frameData, 0, 1, []byte{0, 0, 0, 0, 9, 1})...))
	f.Fuzz(func(t *testing.T, sent []byte) {
		f := frames{preface: len(clientPreface), open: map[uint32]*message{}}
		f.take(sent)
		if f.kept < 0 || f.kept > int64(len(sent)+len(f.open)*costMessage) {
			t.Errorf("%d bytes came, %d are kept of %d streams", len(sent), f.kept, len(f.open))
		}
	})
}
