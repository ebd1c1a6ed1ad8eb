package main

import (
	"os"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/configfile"
	"github.com/meridiankds/meridian/internal/proxyauth"
)

// authnSection is the key of the configuration file that says how proxies prove
// who they are, as Kuma's users write it. A global reads it because users have one
// file for both: of it, it takes which tokens it must not issue.
const authnSection = "dpServer"

// kindsNotIssued reads enableIssuer of both kinds of tokens, and checks the rest.
func kindsNotIssued(path string) (kinds []cptoken.Kind, err error) {
	var s proxyauth.Settings
	if path != "" {
		if err := configfile.Section(path, authnSection, &s); err != nil {
			return nil, err
		}
	}
	if err := s.Override(os.LookupEnv); err != nil {
		return nil, err
	}
	if err := s.Complete(); err != nil {
		return nil, err
	}
	if !s.Authn.ZoneProxy.ZoneToken.Issues() {
		kinds = append(kinds, cptoken.Zone)
	}
	if !s.Authn.DPProxy.DPToken.Issues() {
		kinds = append(kinds, cptoken.Dataplane)
	}
	return kinds, nil
}
