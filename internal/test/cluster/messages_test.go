package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/meridiankds/meridian/internal/test/raftfake"
)

// messages does to single messages what no connection does: it loses a request, or the
// answer to it, has a message arrive twice, late, or after the one that was sent behind
// it. Requests of Raft pass it in process, those of KDS in a proxy (messages_kds_test.go).
type messages struct {
	mu     sync.Mutex
	random *rand.Rand
	off    bool
	lossy  map[[2]string]bool // directions in which most is lost
	counts map[string]int     // of faults, by "raft" or "kds" and what was done
	late   sync.WaitGroup     // copies that are still to arrive
}

// What becomes of a message.
type fate int

const (
	arrives    fate = iota
	lost            // it never arrives
	answerLost      // it arrives, and its answer does not; of KDS, where answers are messages: it is lost
	twice           // it arrives twice
	lateCopy        // it arrives, and once more later
	held            // it arrives late, later ones before it
)

func (f fate) String() string {
	return [...]string{"arrives", "lost", "answer lost", "twice", "late copy", "held"}[f]
}

// errLostMessage is what the sender of a lost request sees.
var errLostMessage = errors.New("the message was lost")

// newMessages returns messages whose fates a seed decides once they Begin.
func newMessages(random *rand.Rand) *messages {
	return &messages{random: random, off: true, lossy: map[[2]string]bool{}, counts: map[string]int{}}
}

// Begin has fates decide.
func (m *messages) Begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.off = false
}

// Between loses most of what goes one way between two ends, or ends that.
func (m *messages) Between(from, to string, lossy bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lossy[[2]string{from, to}] = lossy
}

// Heal ends what Between did.
func (m *messages) Heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.lossy)
}

// End lets everything arrive from now on, and waits until all late copies have.
func (m *messages) End() {
	m.mu.Lock()
	m.off = true
	m.mu.Unlock()
	m.late.Wait()
}

// Counts says how often what was done.
func (m *messages) Counts() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprint(m.counts) // in the order of its keys
}

// next decides what becomes of a message, and how long what takes time takes. May says
// what it may be.
func (m *messages) next(wire, from, to string, may func(fate) bool) (fate, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.off {
		return arrives, 0
	}
	f := arrives
	switch n := m.random.IntN(100); {
	case m.lossy[[2]string{from, to}] && n < 70, n < 3:
		f = lost
	case n < 6:
		f = answerLost
	case n < 9:
		f = twice
	case n < 12:
		f = lateCopy
	case n < 16:
		f = held
	}
	if !may(f) {
		f = arrives
	}
	wait := time.Duration(1+m.random.IntN(80)) * time.Millisecond
	if f == lateCopy {
		m.late.Add(1) // here, where End cannot have begun to wait
	}
	if f != arrives {
		m.counts[wire+" "+f.String()]++
	}
	return f, wait
}

// Raft is the Intercept of every member.
func (m *messages) Raft(rpc raftfake.RPC, send func() error) error {
	f, wait := m.next("raft", rpc.From, rpc.To, func(f fate) bool {
		return rpc.Kind != raftfake.RPCSnapshot || f != twice && f != lateCopy
	})
	switch f {
	case lost:
		time.Sleep(wait) // what the sender waits for an answer
		return errLostMessage
	case answerLost:
		if err := send(); err != nil {
			return err
		}
		return errLostMessage
	case twice:
		_ = send() // the second copy's answer counts
		return send()
	case lateCopy:
		go func() {
			defer m.late.Done()
			time.Sleep(wait) // its way is longer
			_ = send()       // nobody waits for the answer
		}()
		return send()
	case held:
		time.Sleep(wait) // its way is longer
	}
	return send()
}
