package preauth

import "container/list"

// line is an order of values that wait: in turn by network, then by address, then as they
// came. Whoever has a thousand in it waits for a thousand turns of its own, and others for
// one. The zero value is empty. It takes no lock.
type line[T any] struct {
	waiting int
	turns   list.List // of *wideLine[T], the next first
	wides   map[string]*wideLine[T]
}

type wideLine[T any] struct {
	name    string
	at      *list.Element
	waiting int
	turns   list.List // of *unitLine[T]
	units   map[string]*unitLine[T]
}

type unitLine[T any] struct {
	name    string
	at      *list.Element
	waiters list.List // of *waiter[T], in the order in which they came
}

// waiter is a value in a line.
type waiter[T any] struct {
	wide  *wideLine[T]
	unit  *unitLine[T]
	at    *list.Element // nil: it is out
	value T
}

// add puts a value at the end of its key's part of the line.
func (l *line[T]) add(key Key, value T) *waiter[T] {
	w := l.wides[key.Wide]
	if w == nil {
		if l.wides == nil {
			l.wides = map[string]*wideLine[T]{}
		}
		w = &wideLine[T]{name: key.Wide, units: map[string]*unitLine[T]{}}
		w.at = l.turns.PushBack(w)
		l.wides[key.Wide] = w
	}
	u := w.units[key.Unit]
	if u == nil {
		u = &unitLine[T]{name: key.Unit}
		u.at = w.turns.PushBack(u)
		w.units[key.Unit] = u
	}
	t := &waiter[T]{wide: w, unit: u, value: value}
	t.at = u.waiters.PushBack(t)
	w.waiting++
	l.waiting++
	return t
}

// remove takes a value out.
func (l *line[T]) remove(t *waiter[T]) {
	t.unit.waiters.Remove(t.at)
	t.at = nil
	l.waiting--
	if t.wide.waiting--; t.wide.waiting == 0 {
		l.turns.Remove(t.wide.at)
		delete(l.wides, t.wide.name)
	}
	if t.unit.waiters.Len() == 0 {
		t.wide.turns.Remove(t.unit.at)
		delete(t.wide.units, t.unit.name)
	}
}

// turn is the address whose turn it is, and gives the next turn to others. nil: nobody
// waits.
func (l *line[T]) turn() *unitLine[T] {
	if l.waiting == 0 {
		return nil
	}
	w := l.turns.Front().Value.(*wideLine[T])
	u := w.turns.Front().Value.(*unitLine[T])
	l.turns.MoveToBack(w.at)
	w.turns.MoveToBack(u.at)
	return u
}

func (u *unitLine[T]) oldest() *waiter[T] { return u.waiters.Front().Value.(*waiter[T]) }

func (u *unitLine[T]) newest() *waiter[T] { return u.waiters.Back().Value.(*waiter[T]) }

// busiest is the network that has most in the line; nil: it is empty.
func (l *line[T]) busiest() (most *wideLine[T]) {
	for _, w := range l.wides {
		if most == nil || w.waiting > most.waiting {
			most = w
		}
	}
	return most
}

// busiest is the address that has most of a network's.
func (w *wideLine[T]) busiest() (most *unitLine[T]) {
	for _, u := range w.units {
		if most == nil || u.waiters.Len() > most.waiters.Len() {
			most = u
		}
	}
	return most
}

// of is how many wait of a network.
func (l *line[T]) of(wide string) int {
	if w := l.wides[wide]; w != nil {
		return w.waiting
	}
	return 0
}
