package client

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/config"
	"github.com/meridiankds/meridian/internal/disk"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/spelling"
)

// Profiles is what the file of profiles says: which clusters there are, and which one is
// asked where nothing else says so. It names files and holds no token.
type Profiles struct {
	Current  string                       `json:"current,omitempty"`
	Profiles map[string]apiclient.Profile `json:"profiles"`
}

// ProfileFlag is the flag that names a profile for one command.
func ProfileFlag() cli.Flag {
	return &cli.StringFlag{Name: "profile", Usage: "ask the cluster of this `PROFILE`, see global config [GLOBAL_PROFILE]"}
}

// ProfilesPath is where the profiles of this user are: below $XDG_CONFIG_HOME, ~/.config where
// that is not set.
func ProfilesPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", federation.Errorf(federation.Invalid, "there is no directory for profiles: %w", err).
			WithHint("name one with XDG_CONFIG_HOME")
	}
	return filepath.Join(dir, "meridian", "profiles.yaml"), nil
}

// ReadProfiles returns the profiles of this user; none where there is no file.
func ReadProfiles() (p Profiles, err error) {
	p.Profiles = map[string]apiclient.Profile{}
	path, err := ProfilesPath()
	if err != nil {
		return p, nil // without a home there are none
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	data, err := config.Read(path, "file of profiles", "global config")
	if err != nil {
		return p, err
	}
	if err := config.Unmarshal(data, path, "file of profiles", &p); err != nil {
		return p, err
	}
	for name, profile := range p.Profiles {
		profile.Name = name
		p.Profiles[name] = profile
	}
	return p, nil
}

// ChangeProfiles has the profiles changed, and replaces their file where change returns nil.
// Who changes them at the same time waits: neither takes back what the other did.
func ChangeProfiles(ctx context.Context, change func(*Profiles) error) error {
	path, err := ProfilesPath()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return federation.Errorf(federation.Invalid, "making the directory for profiles: %w", err)
	}
	unlock, err := lock(ctx, filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unlock()
	all, err := ReadProfiles()
	if err != nil {
		return err
	}
	if err := change(&all); err != nil {
		return err
	}
	return all.write(path)
}

// lock locks a directory, as soon as nobody else has it locked.
func lock(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := disk.Open(dir)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "opening the directory of profiles: %w", err)
	}
	for {
		// A file system that knows no locks, as one of a network may be, is used without.
		if err := disk.Lock(f); !errors.Is(err, disk.ErrLocked) {
			return func() { f.Close() }, nil
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, federation.Errorf(federation.Unavailable, "somebody else changes the profiles in %s", dir)
		case <-time.After(20 * time.Millisecond): // between two looks
		}
	}
}

// write replaces the file, which only this user may read: it tells where tokens are.
func (p Profiles) write(path string) error {
	data, err := config.Marshal(p)
	if err != nil {
		return err
	}
	return tlsutil.WriteFile(path, data, 0o600)
}

// Names returns the names of all profiles.
func (p Profiles) Names() []string { return slices.Sorted(maps.Keys(p.Profiles)) }

// Named returns a profile that must be there.
func (p Profiles) Named(name string) (apiclient.Profile, error) {
	if profile, ok := p.Profiles[name]; ok {
		return profile, nil
	}
	e := federation.Errorf(federation.NotFound, "there is no profile %.80q", name)
	if near := spelling.Nearest(name, p.Names()); near != "" {
		return apiclient.Profile{}, e.WithHint("did you mean %s?", near)
	}
	return apiclient.Profile{}, e.WithHint("make it: global config set %.80s --address https://HOST:5682 --token-file FILE", name)
}

// profileOf returns the profile that the command line, the environment or the file of profiles
// names, and whether a flag did; the zero one where none does.
func profileOf(c *cli.Context) (profile apiclient.Profile, byFlag bool, err error) {
	if c.String("address") != "" || c.String("data-dir") != "" {
		if c.String("profile") != "" {
			return profile, false, console.Usagef("give one of them", "--profile names another cluster than --address or --data-dir")
		}
		return profile, false, nil
	}
	all, err := ReadProfiles()
	if err != nil {
		return profile, false, err
	}
	name := c.String("profile")
	byFlag = name != ""
	if name == "" {
		name = os.Getenv("GLOBAL_PROFILE")
	}
	if name == "" {
		name = all.Current
	}
	if name == "" {
		return profile, false, nil
	}
	profile, err = all.Named(name)
	return profile, byFlag, err
}

// Whom names the cluster of the profile that a command asks, for a question that somebody
// answers; "" where no profile says whom it asks.
func Whom(c *cli.Context) string {
	flags, err := flagsOf(c, "")
	if err != nil || !flags.AsksProfile(apiclient.API("global"), os.Getenv) {
		return ""
	}
	return "profile " + flags.Profile.Name + ", " + flags.Profile.Address
}

// Settings tells whom a command asks and as whom, and what says so.
func Settings(c *cli.Context) ([]apiclient.Setting, error) {
	flags, err := flagsOf(c, c.String("token-file"))
	if err != nil {
		return nil, err
	}
	return flags.Settings(apiclient.API("global"), os.Getenv), nil
}
