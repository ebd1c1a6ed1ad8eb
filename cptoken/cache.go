package cptoken

import (
	"crypto/sha256"
	"sync"
	"unsafe"
)

// cache remembers tokens whose signatures were verified, by the SHA-256 of the
// token, within a bound in bytes. Only verified tokens enter, so a stranger can
// neither fill it nor push others out.
//
// Each shard has two generations. A full young generation becomes the old one and
// the former old one is dropped as a whole; an entry that is used meanwhile moves
// back. That approximates least recently used without a list to keep in order, so
// that a hit takes a read lock only.
type cache struct {
	shards []shard
}

type shard struct {
	mu         sync.RWMutex
	young, old map[[sha256.Size]byte]*verified
	bytes      int // of young
	limit      int // of each generation
}

// minShard is the smallest shard worth having, in bytes; maxShards of them spread
// the contention of a machine with many cores.
const (
	minShard  = 64 << 10
	maxShards = 64
)

func newCache(bytes int) *cache {
	n := 1
	for n < maxShards && bytes/(2*n) >= minShard {
		n *= 2
	}
	c := &cache{shards: make([]shard, n)}
	for i := range c.shards {
		c.shards[i] = shard{young: map[[sha256.Size]byte]*verified{}, limit: bytes / n / 2}
	}
	return c
}

// shard returns where sum belongs; the number of shards is a power of two.
func (c *cache) shard(sum [sha256.Size]byte) *shard {
	return &c.shards[int(sum[0])&(len(c.shards)-1)]
}

// get returns what is known of the token, or nil. It may be called on nil.
func (c *cache) get(sum [sha256.Size]byte) *verified {
	if c == nil {
		return nil
	}
	s := c.shard(sum)
	s.mu.RLock()
	v, young := s.young[sum]
	if !young {
		v = s.old[sum]
	}
	s.mu.RUnlock()
	if v != nil && !young {
		s.put(sum, v)
	}
	return v
}

// put remembers v. It may be called on nil.
func (c *cache) put(sum [sha256.Size]byte, v *verified) {
	if c != nil {
		c.shard(sum).put(sum, v)
	}
}

func (s *shard) put(sum [sha256.Size]byte, v *verified) {
	size := v.size()
	if size > s.limit {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if before, ok := s.young[sum]; ok {
		s.bytes -= before.size()
	}
	if s.bytes+size > s.limit {
		s.old, s.young, s.bytes = s.young, map[[sha256.Size]byte]*verified{}, 0
	}
	s.young[sum] = v
	s.bytes += size
}

// size estimates, from above, the memory that remembering k costs. Strings of the
// claims keep the whole claim set in memory; a list costs its headers on top.
func (k *verified) size() int {
	const (
		slot   = 2 * (sha256.Size + 8 + 1) // of the map, at most half full
		text   = int(unsafe.Sizeof(""))
		perTag = 128
	)
	n := slot + int(unsafe.Sizeof(*k)) + k.payload + len(k.kid) + len(k.id)
	n += 2 * text * (len(k.claims.Scope) + len(k.claims.Groups)) // append at most doubles
	for _, values := range k.claims.Tags {
		n += perTag + 2*text*len(values)
	}
	return n
}
