package tokenreview

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/meridiankds/meridian/internal/clock"
)

// answer is what is remembered of a review: the identity or the refusal.
type answer struct {
	identity Identity
	err      error
	until    time.Time
}

// memory holds a bounded number of answers by the hash of their token; the one
// that was used least recently goes first. Refusals have one of their own, so that
// a stranger's inventions push nobody's answer out.
type memory struct {
	most int

	mu    sync.Mutex
	byKey map[[sha256.Size]byte]*list.Element
	order *list.List // of entries, the most recently used first
}

type entry struct {
	key    [sha256.Size]byte
	answer answer
}

func newMemory(most int) *memory {
	return &memory{most: most, byKey: map[[sha256.Size]byte]*list.Element{}, order: list.New()}
}

// get returns an answer that is good at now.
func (m *memory) get(key [sha256.Size]byte, now time.Time) (answer, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	element := m.byKey[key]
	if element == nil {
		return answer{}, false
	}
	e := element.Value.(*entry)
	if !clock.Running(e.answer.until, now) {
		m.drop(element)
		return answer{}, false
	}
	m.order.MoveToFront(element)
	return e.answer, true
}

// put remembers an answer unless it is over already.
func (m *memory) put(key [sha256.Size]byte, a answer, now time.Time) {
	if !clock.Running(a.until, now) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if old := m.byKey[key]; old != nil {
		m.drop(old)
	}
	m.byKey[key] = m.order.PushFront(&entry{key, a})
	if m.order.Len() > m.most {
		m.drop(m.order.Back())
	}
}

func (m *memory) drop(element *list.Element) {
	delete(m.byKey, element.Value.(*entry).key)
	m.order.Remove(element)
}

// size is the number of answers held.
func (m *memory) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.order.Len()
}
