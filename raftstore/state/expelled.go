package state

import (
	"fmt"
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

func (s *State) expel(index uint64, by string, op *storepb.Expel) (uint64, error) {
	switch {
	case !validExpelledID(op.Id):
		return 0, federation.InvalidField("id", "%.80q is neither a node's id nor the name of a certificate's key (sha256: and 64 hexadecimal digits)", op.Id)
	case len(op.Subject) > maxExpelledText:
		return 0, federation.InvalidField("subject", "must have at most %d bytes", maxExpelledText)
	case len(op.Reason) > maxExpelledText:
		return 0, federation.InvalidField("reason", "must have at most %d bytes", maxExpelledText)
	}
	if _, known := s.expelled.Get(op.Id); known {
		return 0, nil
	}
	if s.expelled.Len() >= maxExpelled {
		return 0, federation.Errorf(federation.Conflict, "%d nodes and certificates are expelled already", s.expelled.Len()).
			WithHint("replace the CA, and readmit those that it does not trust any more")
	}
	s.expelled.Set(s.edit, op.Id, &storepb.Expelled{Id: op.Id, Subject: op.Subject, Reason: op.Reason, By: by, AtMs: s.time})
	s.tellExpelled(index)
	return 1, nil
}

func (s *State) readmit(index uint64, op *storepb.Readmit) (uint64, error) {
	if _, known := s.expelled.Get(op.Id); !known {
		return 0, federation.Errorf(federation.NotFound, "nothing with the id %.80q is expelled", op.Id).
			WithHint("see what is: global certs expelled")
	}
	s.expelled.Del(s.edit, op.Id)
	if !isCertificate(op.Id) || s.level < LevelCertificates {
		return 1, nil
	}
	_, err := s.withdrawFrom(certificates, index, []*storepb.Withdraw{{Ids: []string{op.Id}}})
	return 1, err
}

// tellExpelled puts the certificates that were expelled where zones see them, as ids that
// were revoked, and takes nothing away. Nodes are no business of zones: their
// certificates are expelled beside them.
func (s *State) tellExpelled(index uint64) {
	if s.level < LevelCertificates {
		return
	}
	part := &storepb.Revoke{}
	for id := range s.expelled.All() {
		if isCertificate(id) && !s.listed(id) {
			part.Ids = append(part.Ids, &storepb.RevokedID{Id: id})
		}
	}
	// Ids that were checked when they were expelled are not refused here.
	_, _ = s.revokeOn(certificates, index, "", "", []*storepb.Revoke{part})
}

// listed reports whether zones are told of an expelled certificate.
func (s *State) listed(id string) bool {
	list := s.list(certificates)
	e, ok := list.get(id)
	return ok && !e.withdrawn()
}

// checkListed finds where what zones are told is not what is expelled.
func (s *State) checkListed() error {
	n := 0
	for id := range s.expelled.All() {
		if isCertificate(id) {
			n++
			if s.level >= LevelCertificates && !s.listed(id) {
				return fmt.Errorf("zones are not told that %.80s is expelled", id)
			}
		}
	}
	if list := s.list(certificates); s.level >= LevelCertificates && list.live != n {
		return fmt.Errorf("%d certificates are expelled, and zones are told of %d", n, list.live)
	}
	return nil
}

// isCertificate reports whether the id of who is expelled is that of a certificate's key.
func isCertificate(id string) bool { return strings.HasPrefix(id, "sha256:") }

// validExpelledID reports whether id can be a node's or a certificate key's.
func validExpelledID(id string) bool {
	if digest, ok := strings.CutPrefix(id, "sha256:"); ok {
		return len(digest) == 64 && strings.Trim(digest, "0123456789abcdef") == ""
	}
	return validName(FirstLevel, "id", id) == nil && len(id) <= maxExpelledID
}

// IsExpelled reports whether the node or the certificate's key was expelled.
func (s *State) IsExpelled(id string) bool {
	_, expelled := s.expelled.Get(id)
	return expelled
}

// Expelled returns who is expelled, by id.
func (s *State) Expelled() []Expelled {
	list := make([]Expelled, 0, s.expelled.Len())
	for _, e := range s.expelled.All() {
		list = append(list, Expelled{ID: e.Id, Subject: e.Subject, Reason: e.Reason, By: e.By, At: millis(e.AtMs)})
	}
	return list
}

func (s *State) writeExpelled(w *snapshotWriter) {
	for _, e := range s.expelled.All() {
		w.put(&storepb.Record{What: &storepb.Record_Expelled{Expelled: e}})
	}
}
