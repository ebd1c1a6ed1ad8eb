package keysync

import (
	"go.etcd.io/bbolt"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// Held calls key with every key and revoked with every revoked id, each once, as the
// file has them. It reads the whole file, and is for a global that sends lists
// instead of changes: what it does not name any more can only be told from what is
// held.
func (s *Store) Held(key func(*cptoken.PublicKey), revoked func(kind cptoken.Kind, mesh, id string)) error {
	s.disk.Lock()
	defer s.disk.Unlock()
	if !s.file.usable() {
		return federation.Errorf(federation.Unavailable, "the zone's file of keys cannot be read now")
	}
	for _, k := range s.state.view(s.hash).Keys() {
		key(k)
	}
	if s.state.head.entries == 0 {
		return nil
	}
	err := guard(func() error {
		return s.file.db.View(func(tx *bbolt.Tx) error {
			l, err := readLedger(tx, s.hash, s.state.head.entries)
			if err != nil {
				return err
			}
			return l.each(tx, func(e entry, _ digest) { revoked(e.kind, e.mesh, string(e.id)) })
		})
	})
	if err != nil {
		return s.applyError(err)
	}
	return nil
}
