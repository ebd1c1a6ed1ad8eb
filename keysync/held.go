package keysync

import (
	"go.etcd.io/bbolt"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// Held calls key with every key and revoked with every revoked id, each once, as the
// file has them. It reads the whole file, and is for a global that sends lists
// instead of changes: what it does not name any more can only be told from what is
// held. A file that cannot be written is read, as long as it has what the Store takes
// for durable: what such a global sends next must be refused all the same.
func (s *Store) Held(key func(*cptoken.PublicKey), revoked func(kind cptoken.Kind, mesh, id string)) error {
	s.disk.Lock()
	defer s.disk.Unlock()
	if s.file.db == nil || s.file.wedged {
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
			if h, err := decodeHead(tx.Bucket(bucketName(bucketHead)).Get([]byte(headKey))); err != nil || h.sums != s.state.head.sums {
				return federation.Errorf(federation.Unavailable, "the zone's file of keys cannot be read before it can be written")
			}
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
