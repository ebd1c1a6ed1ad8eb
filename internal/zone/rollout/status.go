package rollout

import (
	"maps"

	"github.com/meridiankds/meridian/internal/zone/envoyres"
)

// Status is how far a proxy is with a kind of resource that it asks for.
type Status struct {
	Kind envoyres.Kind
	// Wanted is how many there are for the proxy, of those that it asks for; InPlace how
	// many of them it has acknowledged.
	Wanted, InPlace int
	// Refused and Waiting are the rest, in the order of their names, as far as they were not
	// just sent.
	Refused, Waiting []HeldBack
	// Removing are the names that are to be removed once nothing uses them.
	Removing []string
}

// HeldBack is a resource that the proxy does not have yet, and why.
type HeldBack struct {
	Name   string
	Reason string
}

// What a resource of a proxy is to it, as [Holding] says.
const (
	Acknowledged = "acknowledged"
	Sent         = "sent" // and not answered
	Refused      = "refused"
	Waits        = "held back"
	Removing     = "being removed"
)

// Holding is a resource that a proxy asks for and is to have, or has.
type Holding struct {
	Key    envoyres.Key
	State  string // one of the constants
	Reason string // of what is refused or held back
	// Wanted is what it is to have, nil where that is nothing. Has is what it acknowledged
	// last, nil where that is nothing or not known.
	Wanted, Has *envoyres.Resource
}

// Holdings returns what the proxy has and is to have.
func (s *Stream) Holdings() (list []Holding) {
	for _, status := range s.Status() {
		st := s.kinds[status.Kind]
		said := map[string]Holding{}
		for _, h := range status.Refused {
			said[h.Name] = Holding{State: Refused, Reason: h.Reason}
		}
		for _, h := range status.Waiting {
			said[h.Name] = Holding{State: Waits, Reason: h.Reason}
		}
		names := maps.Clone(s.byKind[status.Kind])
		if names == nil {
			names = map[string]*envoyres.Resource{}
		}
		for _, name := range status.Removing {
			names[name] = nil
		}
		for _, name := range sortedNames(names) {
			h := said[name]
			h.Key, h.Wanted = envoyres.Key{Kind: status.Kind, Name: name}, names[name]
			if held := st.held[name]; held != nil && held.acked != nil && held.acked.Message != nil {
				h.Has = held.acked
			}
			switch {
			case h.Wanted != nil && !st.subscribed(name):
				continue
			case h.State != "":
			case h.Wanted == nil:
				h.State = Removing
			case st.has(h.Wanted):
				h.State = Acknowledged
			default:
				h.State = Sent
			}
			list = append(list, h)
		}
	}
	return list
}

// Refusing returns how many resources the proxy is to have and refuses.
func (s *Stream) Refusing() (n int) {
	for _, k := range envoyres.Kinds() {
		for name, r := range s.kinds[k].refused {
			if w := s.wanted(k, name); w != nil && w.Version == r.version {
				n++
			}
		}
	}
	return n
}

// Status returns how far the proxy is, by kind.
func (s *Stream) Status() (list []Status) {
	p := s.plan()
	for _, k := range envoyres.Kinds() {
		st := s.kinds[k]
		if !st.asked {
			continue
		}
		one := Status{Kind: k}
		for _, name := range sortedNames(s.byKind[k]) {
			r := s.byKind[k][name]
			if !st.subscribed(name) {
				continue
			}
			one.Wanted++
			state, on := p.waitsFor(r)
			switch {
			case st.refused[name].version == r.Version:
				one.Refused = append(one.Refused, HeldBack{name, st.refused[name].detail})
			case st.has(r):
				one.InPlace++
			case s.probeRefused(st, r) != "":
				one.Refused = append(one.Refused, HeldBack{name, s.probeRefused(st, r)})
			case state == refused:
				one.Waiting = append(one.Waiting, HeldBack{name, "refers to " + on.String() + ", which is refused or refers to what is"})
			case state == waiting:
				one.Waiting = append(one.Waiting, HeldBack{name, "refers to " + on.String() + ", which is not acknowledged yet"})
			case s.probes[r.Key].of == r.Version:
				one.Waiting = append(one.Waiting, HeldBack{name, "is tried under the name " + probePrefix + name + " first"})
			case st.trials.waits(name):
				one.Waiting = append(one.Waiting, HeldBack{name, "was in a response that was refused, and is tried in its turn"})
			}
		}
		for _, name := range sortedNames(st.held) {
			if s.wanted(k, name) == nil {
				one.Removing = append(one.Removing, name)
			}
		}
		list = append(list, one)
	}
	return list
}

// Asked returns how many names of resources the stream keeps for its proxy, and their bytes:
// those that it asks for, and those that it is to be told something of.
func (s *Stream) Asked() (names, bytes int) {
	for _, k := range envoyres.Kinds() {
		st := s.kinds[k]
		count := func(name string, counted bool) {
			if !counted {
				names, bytes = names+1, bytes+len(name)
			}
		}
		for name := range st.names {
			count(name, false)
		}
		for name := range st.again {
			count(name, st.names[name])
		}
		for name := range st.absent {
			count(name, st.names[name] || st.again[name])
		}
		for _, f := range st.flights {
			for name, r := range f.content {
				count(name, r != nil || st.names[name])
			}
		}
	}
	return names, bytes
}
