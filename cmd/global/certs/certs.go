// Package certs has the commands that make and show the certificates of a cluster.
package certs

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/federation"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// Command returns the commands `global certs`.
func Command() *cli.Command {
	return &cli.Command{
		Name:  "certs",
		Usage: "make and look at the certificates of a cluster",
		Subcommands: []*cli.Command{
			certsCA(), certsOf(tlsutil.RoleNode), certsOf(tlsutil.RoleZone), certsOf(tlsutil.RoleUser), certsCluster(), certsShow(),
			certsTrusted(), certsExpel(), certsReadmit(), certsExpelled(),
		},
	}
}

func certsCA() *cli.Command {
	return &cli.Command{
		Name:  "ca",
		Usage: "make the certificate authority of a cluster",
		Description: `Writes ca.crt, which every node, zone and client is given, and ca.key, which signs
and is best kept away from all of them. Neither is ever overwritten.

Examples:
  global certs ca --cluster prod
  global certs ca --cluster prod --out /root/prod-ca --valid-for 87600h`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "cluster", Usage: "the `NAME` of the cluster, part of every identity"},
			outFlag(),
			&cli.DurationFlag{Name: "valid-for", Usage: "how `LONG` the CA is valid", Value: tlsutil.CALifetime},
		},
		Action: func(c *cli.Context) error {
			cluster, err := console.Required(c, "cluster", "--cluster prod")
			if err != nil {
				return err
			}
			d, err := lifetime(c)
			if err != nil {
				return err
			}
			if err := federation.ValidateName("--cluster", cluster); err != nil {
				return console.Usage(err)
			}
			authority, err := tlsutil.NewClusterAuthority(cluster, d, time.Now())
			if err != nil {
				return err
			}
			dir := c.String("out")
			if err := makeFolder(dir); err != nil {
				return err
			}
			if err := authority.Save(dir); err != nil {
				return err
			}
			console.VoiceOf(c.App).Hint("keep ca.key to yourself: who has it can be any node, zone or user of %s", cluster)
			return showMade(c, filepath.Join(dir, tlsutil.CAFile))
		},
	}
}

// certsOf is the command that makes certificates of a role.
func certsOf(role tlsutil.Role) *cli.Command {
	texts := map[tlsutil.Role]struct{ usage, text, examples string }{
		tlsutil.RoleNode: {
			"make the certificate of a global",
			`For --tls-cert-file and --tls-key-file of ` + "`global server`" + `. It is good for the
node's own name, for this machine (localhost), and for each --host under which
zones and clients reach it.`,
			`  global certs node --name global-1 --host global-1.example.com --host 10.0.0.11
  global certs node --name global-1 --renew`,
		},
		tlsutil.RoleZone: {
			"make the certificate of a zone control plane",
			`For a zone that proves itself with a certificate (--tls-cert-file and
--tls-key-file of ` + "`zone server`" + `), and for its port for proxies (--dp-cert-file,
--dp-key-file), with each --host under which proxies reach it.`,
			`  global certs zone --name west --host zone-west.example.com
  global certs zone --name west --renew`,
		},
		tlsutil.RoleUser: {
			"make the certificate of an operator",
			`For --cert-file and --key-file of the client commands, in place of a user token. It
names the operator; what that name may do, the global's --roles-file says.`,
			`  global certs user --name jane@example.com --valid-for 720h`,
		},
	}[role]
	flags := []cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "the `NAME` of the " + string(role)},
		&cli.StringFlag{Name: "ca-dir", Usage: "the `FOLDER` that `global certs ca` wrote", Value: "."},
		outFlag(),
		&cli.DurationFlag{Name: "valid-for", Usage: "how `LONG` the certificate is valid", Value: tlsutil.LeafLifetime},
		&cli.BoolFlag{Name: "renew", Usage: "replace the files of this name; without --host the new certificate has the old one's"},
	}
	if role != tlsutil.RoleUser {
		flags = append(flags, &cli.StringSliceFlag{Name: "host", Usage: "a `NAME` or address under which it is reached; may be repeated"})
	}
	return &cli.Command{
		Name:  string(role),
		Usage: texts.usage,
		Description: texts.text + `

Writes NAME.crt and NAME.key, the key with mode 0600. A node that uses them takes
a renewed certificate over by itself.

Examples:
` + texts.examples,
		Flags:  flags,
		Action: func(c *cli.Context) error { return issueCertificate(c, role) },
	}
}

func issueCertificate(c *cli.Context, role tlsutil.Role) error {
	name, err := console.Required(c, "name", "--name "+map[tlsutil.Role]string{
		tlsutil.RoleNode: "global-1", tlsutil.RoleZone: "west", tlsutil.RoleUser: "jane"}[role])
	if err != nil {
		return err
	}
	d, err := lifetime(c)
	if err != nil {
		return err
	}
	authority, err := tlsutil.LoadAuthority(c.String("ca-dir"))
	if err != nil {
		return err
	}
	id := tlsutil.Identity{Cluster: authority.Cluster(), Role: role, Name: name}
	if id.Cluster == "" {
		return federation.Errorf(federation.Invalid, "the CA in %s names no cluster", c.String("ca-dir")).
			WithHint("use one made by `global certs ca`")
	}
	if err := id.Validate(); err != nil {
		return console.Usage(err)
	}
	files := tlsutil.Files{Cert: filepath.Join(c.String("out"), name+".crt"), Key: filepath.Join(c.String("out"), name+".key")}
	hosts := console.Words(c.StringSlice("host"))
	if role == tlsutil.RoleNode && len(hosts) > 0 || !c.Bool("renew") {
		hosts = ownHosts(id, hosts)
	}
	if hosts, err = replaces(c, files, id, hosts); err != nil {
		return err
	}
	if err := makeFolder(c.String("out")); err != nil {
		return err
	}
	if err := writePair(authority, files, id, hosts, d); err != nil {
		return err
	}
	return showMade(c, files.Cert)
}

// ownHosts adds to the hosts of a node those that every node has.
func ownHosts(id tlsutil.Identity, hosts []string) []string {
	if id.Role != tlsutil.RoleNode {
		return hosts
	}
	return append([]string{id.Name, "localhost", "127.0.0.1", "::1"}, hosts...)
}

// replaces decides over files that are there already: they are replaced only by
// --renew and only for the same identity. It returns the hosts of the new one.
func replaces(c *cli.Context, files tlsutil.Files, id tlsutil.Identity, hosts []string) ([]string, error) {
	if !c.Bool("renew") {
		for _, path := range []string{files.Cert, files.Key} {
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				return nil, federation.Errorf(federation.Conflict, "%s is there already", path).
					WithHint("renew it with --renew, or write into another folder with --out")
			}
		}
		return hosts, nil
	}
	old, err := readCertificates(files.Cert)
	if err != nil {
		return nil, err
	}
	if got, err := tlsutil.IdentityOf(old[0]); err != nil || got != id {
		return nil, federation.Errorf(federation.Conflict, "%s is the certificate of %s, not of %s", files.Cert, tlsutil.SubjectOf(old[0]), id.URI())
	}
	if len(hosts) == 0 {
		hosts = tlsutil.Hosts(old[0])
	}
	return hosts, nil
}

// writePair issues a certificate into files. The key comes first: who looks in
// between sees that the two do not belong together, and looks again.
func writePair(a *tlsutil.Authority, files tlsutil.Files, id tlsutil.Identity, hosts []string, d time.Duration) error {
	cert, key, err := a.IssueFor(id, hosts, d, time.Now())
	if err != nil {
		return err
	}
	if err := tlsutil.WriteFile(files.Key, key, 0o600); err != nil {
		return err
	}
	return tlsutil.WriteFile(files.Cert, cert, 0o644)
}

// readCertificates reads a PEM file with at least one certificate.
func readCertificates(path string) ([]*x509.Certificate, error) {
	const most = 1 << 20
	info, err := os.Stat(path)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "reading a certificate: %w", err)
	}
	if info.Size() > most {
		return nil, federation.Errorf(federation.Invalid, "%s has more than %d bytes: that is no certificate", path, most)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "reading a certificate: %w", err)
	}
	list, err := tlsutil.ParseCertificates(data)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "%s: %w", path, err)
	}
	if len(list) == 0 {
		return nil, federation.Errorf(federation.Invalid, "%s holds no PEM certificate", path)
	}
	return list, nil
}

func outFlag() cli.Flag {
	return &cli.StringFlag{Name: "out", Usage: "the `FOLDER` to write to, made where it is not there", Value: "."}
}

// lifetime reads --valid-for of a certificate.
func lifetime(c *cli.Context) (time.Duration, error) {
	d := c.Duration("valid-for")
	if d < time.Minute {
		return 0, console.Usage(federation.InvalidField("--valid-for", "must be a minute or more, is %s", d))
	}
	return d, nil
}

// makeFolder makes a folder for keys.
func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return federation.Errorf(federation.Invalid, "making the folder: %w", err)
	}
	return nil
}
