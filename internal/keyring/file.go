package keyring

import configfile "github.com/meridiankds/meridian/internal/config"

// Section is the key of a configuration file under which Settings stand. Zones and
// globals read it from one and the same file, as Kuma's users have it.
const Section = "dpServer"

// FromFile reads the section of a configuration file, "" where there is none, and
// what the environment says otherwise, and completes it; lookup is os.LookupEnv.
// again reads it anew; it is nil where there is no file.
func FromFile(path string, lookup func(string) (string, bool)) (settings Settings, again func() (Settings, error), err error) {
	read := func() (s Settings, err error) {
		if path != "" {
			if err := configfile.Section(path, Section, &s); err != nil {
				return s, err
			}
		}
		if err := s.Override(lookup); err != nil {
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
