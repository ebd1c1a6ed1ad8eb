package raftstore

import (
	"slices"
	"testing"
)

func TestNamesTellMembersApart(t *testing.T) {
	for name, test := range map[string]struct{ addresses, want []string }{
		"labels":           {[]string{"global-1.global.mesh.svc:5683", "global-2.global.mesh.svc:5683"}, []string{"global-1", "global-2"}},
		"hosts":            {[]string{"global.east.example:5683", "global.west.example:5683"}, []string{"global.east.example", "global.west.example"}},
		"IP addresses":     {[]string{"10.0.0.1:5683", "10.0.1.1:5683", "[fd00::1]:5683"}, []string{"10.0.0.1", "10.0.1.1", "fd00::1"}},
		"ports of one":     {[]string{"127.0.0.1:5683", "127.0.0.1:6683"}, []string{"127.0.0.1:5683", "127.0.0.1:6683"}},
		"one":              {[]string{"localhost:5683"}, []string{"localhost"}},
		"no port":          {[]string{"in-memory-1", "in-memory-2"}, []string{"in-memory-1", "in-memory-2"}},
		"one address":      {[]string{"a.example:1", "b.example:1", "b.example:1"}, []string{"a", "B", "C"}},
		"one of two ports": {[]string{"a.example:1", "a.example:2", "b.example:1"}, []string{"a.example:1", "a.example:2", "b.example:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			var members []Member
			for i, addr := range test.addresses {
				members = append(members, Member{ID: string(rune('A' + i)), Address: addr})
			}
			names := NamesOf(members)
			var got []string
			for _, m := range members {
				got = append(got, names[m.ID])
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%v are called %v, want %v", test.addresses, got, test.want)
			}
		})
	}
}
