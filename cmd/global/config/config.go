// Package config has the commands over profiles: what this user's command line knows of
// several clusters, and which of them it asks.
package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	console "github.com/meridiankds/meridian/internal/cli"
)

// Command returns the commands `global config`.
func Command() *cli.Command {
	return &cli.Command{
		Name:        "config",
		Usage:       "keep profiles of several clusters, and choose one",
		Subcommands: []*cli.Command{use(), set(), get(), list(), remove()},
	}
}

func use() *cli.Command {
	return &cli.Command{
		Name:      "use",
		Usage:     "ask the cluster of a profile from now on",
		ArgsUsage: "PROFILE",
		Description: `Flags count more, then the environment (GLOBAL_ADDRESS and the others), then the
profile. GLOBAL_PROFILE names another one for a shell, --profile for one command, and
that counts more than the environment. --none uses none again.

Examples:
  global config use prod
  global config use --none`,
		Flags: []cli.Flag{&cli.BoolFlag{Name: "none", Usage: "use no profile"}},
		Action: func(c *cli.Context) error {
			least := 1
			if c.Bool("none") {
				least = 0
			}
			if err := console.Arguments(c, least, least, "global config use PROFILE"); err != nil {
				return err
			}
			said := "no profile is used"
			err := client.ChangeProfiles(c.Context, func(all *client.Profiles) error {
				all.Current = ""
				if c.Bool("none") {
					return nil
				}
				profile, err := all.Named(c.Args().First())
				all.Current, said = profile.Name, "profile "+profile.Name+" is used: "+profile.Address
				return err
			})
			if err != nil {
				return err
			}
			return console.Tell(c, said)
		},
	}
}

func set() *cli.Command {
	return &cli.Command{
		Name:      "set",
		Usage:     "make or change a profile",
		ArgsUsage: "PROFILE",
		Description: `What is not given stays as it is; an empty value takes it away. A profile names the files
that hold a token or a key, and no token itself. It stands in
$XDG_CONFIG_HOME/meridian/profiles.yaml, which only you may read (mode 0600).

Examples:
  global config set prod --address https://global.example.com:5682 \
     --ca-file ca.crt --token-file jane.token
  global config set prod --token-file "" --cert-file jane.crt \
     --key-file jane.key`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "address", Usage: "`URL` of the API of the cluster, or of a balancer before it"},
			&cli.StringFlag{Name: "ca-file", Usage: "PEM `FILE` of the CA that vouches for it"},
			&cli.StringFlag{Name: "token-file", Usage: "`FILE` with your user token"},
			&cli.StringFlag{Name: "cert-file", Usage: "PEM `FILE` of your client certificate, in place of a token"},
			&cli.StringFlag{Name: "key-file", Usage: "PEM `FILE` of its key"},
		},
		Action: setProfile,
	}
}

func setProfile(c *cli.Context) error {
	if err := console.Arguments(c, 1, 1, "global config set PROFILE --address URL"); err != nil {
		return err
	}
	name := c.Args().First()
	if err := federation.ValidateName("PROFILE", name); err != nil {
		return console.Usage(err)
	}
	said, used := "", ""
	err := client.ChangeProfiles(c.Context, func(all *client.Profiles) error {
		profile, known := all.Profiles[name]
		profile.Name = name
		if err := take(c, &profile); err != nil {
			return err
		}
		all.Profiles[name] = profile
		said, used = "profile "+name+" created", all.Current
		if known {
			said = "profile " + name + " changed"
		}
		return nil
	})
	if err != nil {
		return err
	}
	if used != name {
		console.VoiceOf(c.App).Hint("use it: global config use %s", name)
	}
	return console.Tell(c, said)
}

// take puts what the flags say into a profile.
func take(c *cli.Context, profile *apiclient.Profile) (err error) {
	if c.IsSet("address") {
		profile.Address = c.String("address")
	}
	for flag, file := range map[string]*string{
		"ca-file": &profile.CAFile, "token-file": &profile.TokenFile, "cert-file": &profile.CertFile, "key-file": &profile.KeyFile,
	} {
		if c.IsSet(flag) {
			if *file, err = absolute(c, flag); err != nil {
				return err
			}
		}
	}
	if profile.Address == "" {
		return console.Usagef("for example --address https://global.example.com:5682", "--address is missing: a profile says where its cluster is")
	}
	if (profile.CertFile == "") != (profile.KeyFile == "") {
		return console.Usagef("give both, or neither", "--cert-file and --key-file go together")
	}
	if err := checkAddress(profile.Address); err != nil {
		return console.Usage(err)
	}
	return nil
}

// absolute is the path of a file that a flag names, from wherever it is used later.
func absolute(c *cli.Context, flag string) (string, error) {
	name := c.String(flag)
	switch {
	case name == "":
		return "", nil
	case name == "-":
		return "", console.Usagef("name a file: a profile is used without standard input", "--%s: a profile cannot name standard input", flag)
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return "", federation.Errorf(federation.Invalid, "--%s: finding %s: %w", flag, name, err)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		console.VoiceOf(c.App).Warn("--%s: there is no %s yet", flag, path)
	}
	return path, nil
}

// checkAddress refuses what no command could use as an address.
func checkAddress(address string) error {
	_, err := apiclient.Resolve(apiclient.API("global"), apiclient.Flags{Address: address}, func(string) string { return "" }, nil)
	return err
}

func get() *cli.Command {
	return &cli.Command{
		Name:      "get",
		Usage:     "show which cluster commands ask, as whom, and what says so",
		ArgsUsage: "[PROFILE]",
		Description: `Without a name what counts here and now, each part with where it is from: a flag, a
variable of the environment, or a profile. With a name what that profile says.

Examples:
  global config get
  global config get prod
  global config get -o json`,
		Flags: client.Flags(console.OutputFlag()),
		Action: func(c *cli.Context) error {
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			if err := console.Arguments(c, 0, 1, "global config get [PROFILE]"); err != nil {
				return err
			}
			settings, err := settingsOf(c)
			if err != nil {
				return err
			}
			return console.Print(c.App.Writer, format, console.Items(settings), func() io.WriterTo {
				t := console.NewTable("SETTING", "VALUE", "FROM")
				for _, s := range settings {
					t.Row(s.Name, s.Value, s.From)
				}
				return t
			})
		},
	}
}

func settingsOf(c *cli.Context) ([]apiclient.Setting, error) {
	service := apiclient.API("global")
	name := c.Args().First()
	if name == "" {
		return client.Settings(c)
	}
	all, err := client.ReadProfiles()
	if err != nil {
		return nil, err
	}
	profile, err := all.Named(name)
	if err != nil {
		return nil, err
	}
	return apiclient.Flags{Profile: profile}.Settings(service, func(string) string { return "" }), nil
}

func list() *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "list the profiles",
		Description: `The one that is used is marked. -o wide shows the files too.

Examples:
  global config list
  global config list -o wide`,
		Flags: []cli.Flag{console.OutputFlag()},
		Action: func(c *cli.Context) error {
			format, err := console.FormatOf(c)
			if err != nil {
				return err
			}
			if err := console.NoArguments(c); err != nil {
				return err
			}
			all, err := client.ReadProfiles()
			if err != nil {
				return err
			}
			return console.Print(c.App.Writer, format, all, func() io.WriterTo {
				t := console.NewTable("NAME", "USED", "ADDRESS").Wide("CA FILE", "TOKEN FILE", "CERT FILE", "KEY FILE")
				for _, name := range all.Names() {
					p, used := all.Profiles[name], ""
					if name == all.Current {
						used = "yes"
					}
					t.Row(name, used, p.Address, p.CAFile, p.TokenFile, p.CertFile, p.KeyFile)
				}
				return t
			})
		},
	}
}

func remove() *cli.Command {
	return &cli.Command{
		Name:      "delete",
		Usage:     "delete a profile",
		ArgsUsage: "PROFILE",
		Description: `The files that it names stay. Where it was used, none is used any more.

Examples:
  global config delete prod`,
		Action: func(c *cli.Context) error {
			if err := console.Arguments(c, 1, 1, "global config delete PROFILE"); err != nil {
				return err
			}
			text := ""
			err := client.ChangeProfiles(c.Context, func(all *client.Profiles) error {
				profile, err := all.Named(c.Args().First())
				if err != nil {
					return err
				}
				delete(all.Profiles, profile.Name)
				text = "profile " + profile.Name + " is deleted"
				if all.Current == profile.Name {
					all.Current = ""
					text += ", and no profile is used any more"
				}
				return nil
			})
			if err != nil {
				return err
			}
			return console.Tell(c, text)
		},
	}
}
