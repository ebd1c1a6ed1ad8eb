package main

import (
	"os"

	"github.com/meridiankds/meridian/internal/configfile"
	"github.com/meridiankds/meridian/internal/proxyauth"
)

// authnSection is the key of the configuration file that says how proxies prove
// who they are, as Kuma's users write it.
const authnSection = "dpServer"

// authnSettings reads that section, where there is a file, and what the
// environment says otherwise. again reads it anew; nil where there is no file.
func authnSettings(path string) (settings proxyauth.Settings, again func() (proxyauth.Settings, error), err error) {
	read := func() (s proxyauth.Settings, err error) {
		if path != "" {
			if err := configfile.Section(path, authnSection, &s); err != nil {
				return s, err
			}
		}
		if err := s.Override(os.LookupEnv); err != nil {
			return s, err
		}
		return s, s.Complete()
	}
	if path != "" {
		again = read
	}
	settings, err = read()
	return settings, again, err
}
