package fleet

import (
	"strings"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// Trust tells which CAs the members and the zones trust, as far as they have said in this
// leadership, so that nobody uses a certificate of a new CA, or drops one, before all of them
// know it. Zones that cannot connect, or never did, are left out.
func (f *Fleet) Trust(members []string, zones []federation.Zone) apitypes.Trust {
	items := []apitypes.Truster{}
	for _, id := range members {
		t := apitypes.Truster{Role: "member", Name: id, State: "silent", Trusts: []string{}}
		if _, live := f.Reported(id); live {
			f.mu.Lock()
			r := f.reports[id]
			f.mu.Unlock()
			t.State, t.Trusts, t.Shows = "reported", strings.Fields(r.Trusts), r.Shows
		}
		items = append(items, t)
	}
	known := map[string][]Session{}
	for _, s := range f.Sessions() {
		known[s.Zone] = append(known[s.Zone], s)
	}
	for _, z := range zones {
		if !z.Deleted && z.Enabled && !z.FirstSeen.IsZero() {
			items = append(items, trustOf(z.Name, known[z.Name])...)
		}
	}
	return apitypes.Trust{Total: len(items), Items: items}
}

// trustOf has one item for each control plane of a zone that is connected.
func trustOf(zone string, sessions []Session) (items []apitypes.Truster) {
	for _, s := range sessions {
		if !s.Online {
			continue
		}
		t := apitypes.Truster{
			Role: "zone", Name: zone, Address: s.Remote, Instance: s.Instance, State: "reported", Trusts: strings.Fields(s.Trusts), Shows: s.Shows,
		}
		if s.Trusts == "" {
			t.State, t.Trusts = "unable", []string{}
		}
		items = append(items, t)
	}
	if len(items) == 0 {
		items = append(items, apitypes.Truster{Role: "zone", Name: zone, State: "silent", Trusts: []string{}})
	}
	return items
}
