package state

import (
	"strings"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// Bounds of who is expelled.
const (
	maxExpelled     = 10_000
	maxExpelledID   = 128
	maxExpelledText = 512
)

// Expelled is a node, or the key of a certificate, that is refused on every port.
type Expelled struct {
	// ID is a node's id, or "sha256:" and the SHA-256 of a certificate's public key.
	ID string
	// Subject says whose it is, for operators; it decides nothing.
	Subject, Reason, By string
	At                  time.Time
}

func (s *State) expel(by string, op *storepb.Expel) (uint64, error) {
	switch {
	case !validExpelledID(op.Id):
		return 0, federation.InvalidField("id", "%.80q is neither a node's id nor the name of a certificate's key (sha256: and 64 hexadecimal digits)", op.Id)
	case len(op.Subject) > maxExpelledText:
		return 0, federation.InvalidField("subject", "must have at most %d bytes", maxExpelledText)
	case len(op.Reason) > maxExpelledText:
		return 0, federation.InvalidField("reason", "must have at most %d bytes", maxExpelledText)
	}
	if _, known := s.expelled.get(op.Id); known {
		return 0, nil
	}
	if s.expelled.len >= maxExpelled {
		return 0, federation.Errorf(federation.Conflict, "%d nodes and certificates are expelled already", s.expelled.len).
			WithHint("replace the CA, and readmit those that it does not trust any more")
	}
	s.expelled.set(s.edit, op.Id, &storepb.Expelled{Id: op.Id, Subject: op.Subject, Reason: op.Reason, By: by, AtMs: s.time})
	return 1, nil
}

func (s *State) readmit(op *storepb.Readmit) (uint64, error) {
	if _, known := s.expelled.get(op.Id); !known {
		return 0, federation.Errorf(federation.NotFound, "nothing with the id %.80q is expelled", op.Id).
			WithHint("see what is: global certs expelled")
	}
	s.expelled.del(s.edit, op.Id)
	return 1, nil
}

// validExpelledID reports whether id can be a node's or a certificate key's.
func validExpelledID(id string) bool {
	if digest, ok := strings.CutPrefix(id, "sha256:"); ok {
		return len(digest) == 64 && strings.Trim(digest, "0123456789abcdef") == ""
	}
	return federation.ValidateName("id", id) == nil && len(id) <= maxExpelledID
}

// IsExpelled reports whether the node or the certificate's key was expelled.
func (s *State) IsExpelled(id string) bool {
	_, expelled := s.expelled.get(id)
	return expelled
}

// Expelled returns who is expelled, by id.
func (s *State) Expelled() []Expelled {
	list := make([]Expelled, 0, s.expelled.len)
	for _, e := range s.expelled.all() {
		list = append(list, Expelled{ID: e.Id, Subject: e.Subject, Reason: e.Reason, By: e.By, At: millis(e.AtMs)})
	}
	return list
}

func (s *State) writeExpelled(w *snapshotWriter) {
	for _, e := range s.expelled.all() {
		w.put(&storepb.Record{What: &storepb.Record_Expelled{Expelled: e}})
	}
}
