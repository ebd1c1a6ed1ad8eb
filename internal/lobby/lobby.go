// Package lobby holds places for callers who have not yet proved who they are, so
// that any number of strangers costs a bounded amount and keeps nobody out.
//
// When all places are taken, a newcomer gets the place of another: of the address
// that has taken the most, the one that has waited longest. Who floods a port thus
// throws out himself, and who proves himself at once, as proxies do, leaves before
// it is his turn.
package lobby

import (
	"container/list"
	"net"
	"sync"
)

// Lobby is safe for concurrent use.
type Lobby struct {
	most int

	mu    sync.Mutex
	taken int
	hosts map[string]*list.List // of func(), the longest waiting first
}

// New returns a lobby with so many places.
func New(places int) *Lobby { return &Lobby{most: places, hosts: map[string]*list.List{}} }

// Enter takes a place for a caller of the address, "host:port". thrownOut is called,
// at most once and in a goroutine of its caller, when somebody else gets the place.
// leave gives the place back; it may be called again, and after the place was lost.
// evicted reports whether somebody had to go.
func (l *Lobby) Enter(remote string, thrownOut func()) (leave func(), evicted bool) {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	l.mu.Lock()
	var loser func()
	if l.taken >= l.most {
		loser = l.evict()
	}
	queue := l.hosts[host]
	if queue == nil {
		queue = list.New()
		l.hosts[host] = queue
	}
	place := &place{thrownOut: thrownOut}
	place.at = queue.PushBack(place)
	l.taken++
	l.mu.Unlock()
	if loser != nil {
		loser()
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.remove(host, place)
	}, loser != nil
}

type place struct {
	thrownOut func()
	at        *list.Element // nil: the place was left or lost
}

// remove gives a place back. The lock is held.
func (l *Lobby) remove(host string, p *place) {
	if p.at == nil {
		return
	}
	queue := l.hosts[host]
	queue.Remove(p.at)
	p.at = nil
	l.taken--
	if queue.Len() == 0 {
		delete(l.hosts, host)
	}
}

// evict takes a place from whom it costs least. The lock is held.
func (l *Lobby) evict() (thrownOut func()) {
	var crowd string
	for host, queue := range l.hosts {
		if crowd == "" || queue.Len() > l.hosts[crowd].Len() {
			crowd = host
		}
	}
	if crowd == "" {
		return nil
	}
	loser := l.hosts[crowd].Front().Value.(*place)
	l.remove(crowd, loser)
	return loser.thrownOut
}

// Taken returns how many places are taken.
func (l *Lobby) Taken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.taken
}
