package certs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// sealFile is the name of the seal key that certsCluster makes.
const sealFile = "seal.key"

const (
	// settle is how long nodes have to take over a second CA before certificates of
	// it appear, where nobody says that it has: some looks, of a loaded machine too.
	settle = 15 * time.Second
	// trustWait is how long members and zones are waited for, trustEvery how often they
	// are asked about.
	trustWait  = 2 * time.Minute
	trustEvery = time.Second
)

func certsCluster() *cli.Command {
	return &cli.Command{
		Name:  "cluster",
		Usage: "make what a whole cluster starts with, without leaving a CA key",
		Description: `For who keeps no CA: each --node folder gets ca.crt, node.crt, node.key and the
cluster's seal.key, each --trust folder ca.crt alone. The CA key is never written,
so that nobody can make more certificates of it. A second run changes nothing.

With --renew a new CA takes over from the former one while the cluster runs. It is
added to every ca.crt; once every member and zone has said that it trusts it, the
nodes' certificates are replaced. The former CA, whose key nobody has, stays in
ca.crt until the next renewal, which drops it once nobody needs it. Whoever is waited
for is named. A renewal asks the running cluster, as the other commands do
(--address, --data-dir); with --force it waits 15 seconds for whoever follows its
files, and goes on.

A member that is added later gets its certificate by a renewal too, with --new.

Examples:
  global certs cluster --cluster prod --node global-1=/secrets/global-1 \
    --node global-2=/secrets/global-2 --trust /secrets/west
  global certs cluster --cluster prod --node global-1=/secrets/global-1 \
     --renew \
    --data-dir /var/lib/meridian
  global certs cluster --cluster prod --node global-1=/secrets/global-1 \
    --node global-4=/secrets/global-4 --renew --new global-4`,
		Flags: client.Flags(
			&cli.StringFlag{Name: "cluster", Usage: "the `NAME` of the cluster, part of every identity"},
			&cli.StringSliceFlag{Name: "node", Usage: "`NAME=FOLDER` of a global; may be repeated"},
			&cli.StringSliceFlag{Name: "trust", Usage: "a `FOLDER` for ca.crt alone, of a zone or client; may be repeated"},
			&cli.DurationFlag{Name: "valid-for", Usage: "how `LONG` the nodes' certificates are valid", Value: tlsutil.LeafLifetime},
			&cli.BoolFlag{Name: "renew", Usage: "replace CA and certificates of a cluster that may be running", EnvVars: []string{"GLOBAL_CERTS_RENEW"}},
			&cli.StringSliceFlag{Name: "new", Usage: "with --renew: the `NAME` of a --node that has no certificate yet; may be repeated"},
			&cli.DurationFlag{Name: "wait", Usage: "with --renew: how `LONG` to wait for members and zones", Value: trustWait},
			&cli.BoolFlag{Name: "force", Usage: "with --renew: go on although somebody has not said that it trusts the new CA"},
		),
		Action: func(c *cli.Context) error {
			p, err := clusterPlan(c)
			if err != nil {
				return err
			}
			p.ask = func(ctx context.Context) (apitypes.Trust, error) {
				g, err := client.Connect(c)
				if err != nil {
					return apitypes.Trust{}, err
				}
				return g.Trust(ctx)
			}
			if err := p.make(c.Context, c.Bool("renew"), console.VoiceOf(c.App)); err != nil {
				return err
			}
			return showMade(c, p.certificates()...)
		},
	}
}

// plan is who gets what.
type plan struct {
	cluster string
	nodes   []nodeFolder
	trust   []string // folders for ca.crt alone
	valid   time.Duration
	added   []string // names of nodes that have nothing yet, and get it by a renewal
	force   bool
	wait    time.Duration // how long others are waited for
	settle  time.Duration // how long who follows its files has where nobody is waited for
	// ask asks the cluster who trusts which CA.
	ask func(ctx context.Context) (apitypes.Trust, error)
}

type nodeFolder struct{ name, dir string }

func clusterPlan(c *cli.Context) (*plan, error) {
	cluster, err := console.Required(c, "cluster", "--cluster prod")
	if err != nil {
		return nil, err
	}
	p := &plan{cluster: cluster, trust: c.StringSlice("trust"), settle: settle, force: c.Bool("force"), wait: c.Duration("wait"), added: c.StringSlice("new")}
	if p.valid, err = lifetime(c); err != nil {
		return nil, err
	}
	if err := federation.ValidateName("--cluster", cluster); err != nil {
		return nil, console.Usage(err)
	}
	for _, s := range c.StringSlice("node") {
		name, dir, ok := strings.Cut(s, "=")
		if !ok || dir == "" {
			return nil, console.Usagef("for example --node global-1=/secrets/global-1", "--node: %.80q is not NAME=FOLDER", s)
		}
		if err := federation.ValidateName("--node", name); err != nil {
			return nil, console.Usage(err)
		}
		p.nodes = append(p.nodes, nodeFolder{name, dir})
	}
	if len(p.nodes) == 0 {
		return nil, console.Usagef("for example --node global-1=/secrets/global-1", "--node is missing")
	}
	for _, name := range p.added {
		if !slices.ContainsFunc(p.nodes, func(n nodeFolder) bool { return n.name == name }) {
			return nil, console.Usagef("for example --node global-4=/secrets/global-4 --new global-4", "--new %.80q is no --node", name)
		}
	}
	for _, flag := range []string{"new", "force", "wait"} {
		if c.IsSet(flag) && !c.Bool("renew") {
			return nil, console.Usagef("add --renew", "--%s is for a renewal", flag)
		}
	}
	return p, nil
}

// folders are all of them; ca.crt in one says that it is complete.
func (p *plan) folders() []string {
	var dirs []string
	for _, n := range p.nodes {
		dirs = append(dirs, n.dir)
	}
	return append(dirs, p.trust...)
}

func (p *plan) certificates() []string {
	var paths []string
	for _, n := range p.nodes {
		paths = append(paths, nodeFiles(n.dir).Cert)
	}
	return paths
}

func nodeFiles(dir string) tlsutil.Files { return tlsutil.SelfMadeFiles(dir) }

// make makes everything, or nothing where it was made before.
func (p *plan) make(ctx context.Context, renew bool, voice *console.Voice) error {
	var done, missing []string
	for _, dir := range p.folders() {
		have, err := complete(dir)
		switch {
		case err != nil:
			return err
		case have:
			done = append(done, dir)
		default:
			missing = append(missing, dir)
		}
	}
	switch {
	case renew && len(done) == 0:
		return federation.Errorf(federation.Conflict, "there is nothing to renew: no folder has a %s", tlsutil.CAFile).
			WithHint("make everything first, without --renew")
	case renew:
		return p.renew(ctx, voice)
	case len(missing) > 0 && len(done) > 0:
		return federation.Errorf(federation.Conflict, "%s has no %s, and the key of the CA that the others have is gone", strings.Join(missing, ", "), tlsutil.CAFile).
			WithHint("have a new CA take over, which makes a certificate for a new member too: --renew --new NAME")
	case len(done) > 0:
		voice.Say("everything is there already, nothing was changed")
		return nil
	}
	return p.found()
}

// complete reports whether a folder has everything.
func complete(dir string) (bool, error) {
	if _, err := os.Stat(filepath.Join(dir, tlsutil.CAFile)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, federation.Errorf(federation.Internal, "looking into %s: %w", dir, err)
	}
	return true, nil
}

// found makes everything. The CA's certificate comes last into each folder: where
// it is absent, nobody has started with the rest.
func (p *plan) found() error {
	authority, err := tlsutil.NewClusterAuthority(p.cluster, tlsutil.CALifetime, time.Now())
	if err != nil {
		return err
	}
	seal, err := issue.NewSealKey()
	if err != nil {
		return err
	}
	for _, dir := range p.folders() {
		if err := makeFolder(dir); err != nil {
			return err
		}
	}
	for _, n := range p.nodes {
		if err := tlsutil.WriteFile(filepath.Join(n.dir, sealFile), seal, 0o600); err != nil {
			return err
		}
	}
	if err := p.issueNodes(authority); err != nil {
		return err
	}
	return p.writeCA(func(string) ([]byte, error) { return authority.CertPEM(), nil })
}

func (p *plan) issueNodes(authority *tlsutil.Authority) error {
	for _, n := range p.nodes {
		id := tlsutil.Identity{Cluster: p.cluster, Role: tlsutil.RoleNode, Name: n.name}
		if err := writePair(authority, nodeFiles(n.dir), id, ownHosts(id, nil), p.valid); err != nil {
			return err
		}
	}
	return nil
}

// writeCA writes ca.crt into every folder.
func (p *plan) writeCA(content func(path string) ([]byte, error)) error {
	for _, dir := range p.folders() {
		path := filepath.Join(dir, tlsutil.CAFile)
		data, err := content(path)
		if err != nil {
			return err
		}
		if err := tlsutil.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
