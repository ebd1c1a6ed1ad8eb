package rollout

import (
	"slices"
	"strings"
)

// trials find the resources of a refused response that are at fault: a part is tried, the
// rest waits for the outcome.
type trials struct {
	now   map[string]string // names that are tried, with their versions; nil: none
	queue []trial           // the last is next
}

type trial struct {
	names map[string]string
	// guilty is set where one of them must be at fault, if what is tried now is not.
	guilty bool
	// named is set where the proxy named each of them.
	named bool
}

// waits reports whether a name waits for its turn.
func (t *trials) waits(name string) bool {
	return slices.ContainsFunc(t.queue, func(g trial) bool { _, in := g.names[name]; return in })
}

// keep forgets the names for which f does not hold, and returns those that are at fault
// because nothing else is left.
func (t *trials) keep(f func(name, version string) bool) (bad map[string]string) {
	for _, names := range append([]map[string]string{t.now}, t.groups()...) {
		for name, version := range names {
			if !f(name, version) {
				delete(names, name)
			}
		}
	}
	t.queue = slices.DeleteFunc(t.queue, func(g trial) bool { return len(g.names) == 0 })
	if t.now != nil && len(t.now) == 0 {
		if len(t.queue) > 0 { // what was tried can show nothing any more
			t.queue[len(t.queue)-1].guilty = false
		}
		return t.accepted()
	}
	return nil
}

func (t *trials) groups() (list []map[string]string) {
	for _, g := range t.queue {
		list = append(list, g.names)
	}
	return list
}

// refused takes what was new in a refused response and what the proxy said, and returns
// the names that are at fault for certain.
func (t *trials) refused(tried map[string]string, detail string) (bad map[string]string) {
	if len(t.queue) > 0 && t.now != nil {
		t.queue[len(t.queue)-1].guilty = false
	}
	t.now = nil
	if len(tried) == 1 {
		bad = tried
		t.next()
		return bad
	}
	if len(tried) == 0 {
		return nil
	}
	named, rest := split(tried, detail)
	if len(named) == 0 || len(rest) == 0 {
		named, rest = halves(tried)
		t.queue = append(t.queue, trial{names: named, guilty: true})
	} else {
		t.queue = append(t.queue, trial{names: named, guilty: true, named: true})
	}
	t.now = rest
	return nil
}

// accepted takes the end of what is tried now, and returns the names that are at fault
// because nothing else is left.
func (t *trials) accepted() (bad map[string]string) {
	t.now = nil
	if len(t.queue) == 0 {
		return nil
	}
	last := t.queue[len(t.queue)-1]
	if last.guilty && (last.named || len(last.names) == 1) {
		t.queue = t.queue[:len(t.queue)-1]
		t.next()
		return last.names
	}
	if last.guilty {
		t.queue = t.queue[:len(t.queue)-1]
		a, b := halves(last.names)
		t.queue = append(t.queue, trial{names: a, guilty: true})
		t.now = b
		return nil
	}
	t.next()
	return nil
}

// next takes the next group as a whole, of which nothing is known.
func (t *trials) next() {
	if t.now != nil || len(t.queue) == 0 {
		return
	}
	t.now = t.queue[len(t.queue)-1].names
	t.queue = t.queue[:len(t.queue)-1]
}

// split divides names into those that a text names and the others.
func split(names map[string]string, text string) (named, rest map[string]string) {
	named, rest = map[string]string{}, map[string]string{}
	for name, version := range names {
		if mentions(text, name) {
			named[name] = version
		} else {
			rest[name] = version
		}
	}
	return named, rest
}

// mentions reports whether a text has a name that is not a part of a longer one.
func mentions(text, name string) bool {
	part := func(b byte) bool {
		return b == '_' || b == '-' || b == '/' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
	}
	for from := 0; ; {
		at := strings.Index(text[from:], name)
		if at < 0 {
			return false
		}
		at += from
		end := at + len(name)
		if (at == 0 || !part(text[at-1])) && (end == len(text) || !part(text[end])) {
			return true
		}
		from = at + 1
	}
}

func halves(names map[string]string) (a, b map[string]string) {
	a, b = map[string]string{}, map[string]string{}
	for i, name := range sortedNames(names) {
		half := a
		if i >= len(names)/2 {
			half = b
		}
		half[name] = names[name]
	}
	return a, b
}
