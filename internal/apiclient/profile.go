package apiclient

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/meridiankds/meridian/federation"
)

// Profile is what is kept of one cluster, so that no command need be told: where it is, and
// the files that say who asks it. The files are named, and hold what is secret.
type Profile struct {
	Name      string `json:"-"`
	Address   string `json:"address,omitempty"`
	CAFile    string `json:"ca-file,omitempty"`
	TokenFile string `json:"token-file,omitempty"`
	CertFile  string `json:"cert-file,omitempty"`
	KeyFile   string `json:"key-file,omitempty"`
}

// check is the error for a file of the profile that is used and is not there: who reads it
// gave no such name.
func (p Profile) check(used ...string) error {
	for _, file := range []struct{ flag, name string }{
		{"--token-file", p.TokenFile}, {"--ca-file", p.CAFile}, {"--cert-file", p.CertFile}, {"--key-file", p.KeyFile},
	} {
		if file.name == "" || !slices.Contains(used, file.name) {
			continue
		}
		if _, err := os.Stat(file.name); errors.Is(err, fs.ErrNotExist) {
			return federation.Errorf(federation.Invalid, "profile %s: its %s is not there: %s", p.Name, strings.TrimPrefix(file.flag, "--"), file.name).
				WithHint("put it there, or name another: global config set %s %s FILE", p.Name, file.flag)
		}
	}
	return nil
}

// AsksProfile reports whether it is the profile that says which node is asked.
func (f Flags) AsksProfile(s Service, env func(string) string) bool {
	r := resolver{service: s, env: env}
	named := f.Address != "" || f.DataDir != ""
	byEnv := env(s.AddressEnv) != "" || r.get("DATA_DIR") != ""
	return f.Profile.Address != "" && !named && (f.ProfileByFlag || !byEnv)
}

// profile is the profile where its address is asked, the zero one elsewhere.
func (r *resolver) profile() Profile {
	if !r.flags.AsksProfile(r.service, r.env) {
		return Profile{}
	}
	return r.flags.Profile
}

// profileOfFlag is the profile as the flags that it stands for, where a flag chose it; it counts
// more than the environment then. The zero one elsewhere.
func (r *resolver) profileOfFlag() Profile {
	if !r.flags.ProfileByFlag {
		return Profile{}
	}
	return r.profile()
}

// Setting is something that says whom a command asks and as whom, and where it is from.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	From  string `json:"from"`
}

// Settings tells what counts, and where each part is from, in the order in which [Resolve]
// looks: flags, the environment, the profile. A token itself is never shown.
func (f Flags) Settings(s Service, env func(string) string) (all []Setting) {
	r := resolver{service: s, flags: f, env: env}
	ofFlag, of, profile := r.profileOfFlag(), r.profile(), "profile "+f.Profile.Name
	add := func(name string, candidates ...[2]string) {
		for _, c := range candidates {
			if c[0] != "" {
				all = append(all, Setting{name, c[0], c[1]})
				return
			}
		}
	}
	nodeOf := func(dir string) string {
		if dir == "" {
			return ""
		}
		return "that of the node in " + dir
	}
	add("address", [2]string{f.Address, s.AddressFlag}, [2]string{nodeOf(f.DataDir), "--data-dir"}, [2]string{ofFlag.Address, "--profile " + f.Profile.Name},
		[2]string{env(s.AddressEnv), s.AddressEnv}, [2]string{nodeOf(r.get("DATA_DIR")), r.envName("DATA_DIR")}, [2]string{of.Address, profile},
		[2]string{nodeOf(devFolder(s.Node)), "the present directory"}, [2]string{s.Default, "the default"})
	secret := ""
	if r.get("TOKEN") != "" {
		secret = "(a token, not shown)"
	}
	add("token-file", [2]string{f.TokenFile, "--token-file"}, [2]string{ofFlag.TokenFile, "--profile " + f.Profile.Name}, [2]string{secret, r.envName("TOKEN")},
		[2]string{r.get("TOKEN_FILE"), r.envName("TOKEN_FILE")}, [2]string{of.TokenFile, profile})
	for _, file := range []struct{ name, flag, env, ofFlag, of string }{
		{"ca-file", f.CAFile, "CA_FILE", ofFlag.CAFile, of.CAFile},
		{"cert-file", f.CertFile, "CERT_FILE", ofFlag.CertFile, of.CertFile}, {"key-file", f.KeyFile, "KEY_FILE", ofFlag.KeyFile, of.KeyFile},
	} {
		add(file.name, [2]string{file.flag, "--" + file.name}, [2]string{file.ofFlag, "--profile " + f.Profile.Name},
			[2]string{r.get(file.env), r.envName(file.env)}, [2]string{file.of, profile})
	}
	return all
}
