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
		if word != "" && (names[m.ID] == word || m.Address == word) {
			return m.ID
		}
	}
	return word
}

// NamesOf returns what operators call each member, by its id: the first label of its host's
// name, the host, or the address with its port, the first of these that tells all members
// apart. An id says nothing to who reads it, and an address may be long.
func NamesOf(members []Member) map[string]string {
	for _, short := range []func(string) string{firstLabel, host} {
		names, taken := map[string]string{}, map[string]bool{}
		for _, m := range members {
			names[m.ID] = short(m.Address)
			taken[names[m.ID]] = true
		}
		if len(taken) == len(members) {
			return names
		}
	}
	names := map[string]string{}
	for _, m := range members {
		names[m.ID] = m.Address
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
