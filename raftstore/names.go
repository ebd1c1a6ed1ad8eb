package raftstore

import (
	"net"
	"strings"
)

// MemberNames returns what operators call each member, by its id: see [NamesOf].
func (s *Store) MemberNames() map[string]string { return NamesOf(s.Members()) }

// MemberID returns the id of the member that an operator calls so: by its id, name or address.
// A word that is none of these is returned as it is.
func (s *Store) MemberID(word string) string {
	members := s.Members()
	names := NamesOf(members)
	for _, m := range members {
		if word != "" && (names[m.ID] == word || m.Address == word && names[m.ID] != m.ID) {
			return m.ID
		}
	}
	return word
}

// NamesOf returns what operators call each member, by its id: the first label of its host's
// name, the host, or the address with its port, the first of these that tells all members
// apart. Members that have one address, because one of them is down and the other was started
// where it was, are called by their ids. Elsewhere an id says nothing to who reads it, and an
// address may be long.
func NamesOf(members []Member) map[string]string {
	there, names := map[string]int{}, map[string]string{}
	for _, m := range members {
		there[m.Address]++
		names[m.ID] = m.ID
	}
	for _, short := range []func(string) string{firstLabel, host, func(addr string) string { return addr }} {
		taken := map[string]bool{}
		for addr, n := range there {
			if name := short(addr); n == 1 && taken[name] {
				taken = nil
				break
			} else if n == 1 {
				taken[name] = true
			}
		}
		if taken == nil {
			continue
		}
		for _, m := range members {
			if there[m.Address] == 1 {
				names[m.ID] = short(m.Address)
			}
		}
		return names
	}
	return names
}

// host is an address without its port.
func host(addr string) string {
	if h, _, err := net.SplitHostPort(addr); err == nil {
		return h
	}
	return addr
}

// firstLabel is the first label of a host's name; an IP address stays whole.
func firstLabel(addr string) string {
	h := host(addr)
	if label, _, dotted := strings.Cut(h, "."); dotted && net.ParseIP(h) == nil {
		return label
	}
	return h
}
