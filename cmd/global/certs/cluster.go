package certs

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// sealFile is the name of the seal key that certsCluster makes.
const sealFile = "seal.key"

// settle is how long nodes have to take over a second CA before certificates of
// it appear: three looks.
const settle = 3 * tlsutil.ReloadEvery

func certsCluster() *cli.Command {
	return &cli.Command{
		Name:  "cluster",
		Usage: "make what a whole cluster starts with, without leaving a CA key",
		Description: `For who keeps no CA: each --node folder gets ca.crt, node.crt, node.key and the
cluster's seal.key, each --trust folder ca.crt alone. The CA key is never written,
so that nobody can make more certificates of it. A second run changes nothing.

With --renew a new CA takes over from the former one while the cluster runs: it is
added to every ca.crt, and 15 seconds later, when all have seen it, the nodes'
certificates are replaced. The former CA, whose key nobody has, stays in ca.crt
until the next renewal.

Examples:
  global certs cluster --cluster prod --node global-1=/secrets/global-1 \
    --node global-2=/secrets/global-2 --trust /secrets/west
  global certs cluster --cluster prod --node global-1=/secrets/global-1 --renew`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "cluster", Usage: "the `NAME` of the cluster, part of every identity"},
			&cli.StringSliceFlag{Name: "node", Usage: "`NAME=FOLDER` of a global; may be repeated"},
			&cli.StringSliceFlag{Name: "trust", Usage: "a `FOLDER` for ca.crt alone, of a zone or client; may be repeated"},
			&cli.DurationFlag{Name: "valid-for", Usage: "how `LONG` the nodes' certificates are valid", Value: tlsutil.LeafLifetime},
			&cli.BoolFlag{Name: "renew", Usage: "replace CA and certificates of a cluster that may be running", EnvVars: []string{"GLOBAL_CERTS_RENEW"}},
		},
		Action: func(c *cli.Context) error {
			p, err := clusterPlan(c)
			if err != nil {
				return err
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
	settle  time.Duration
}

type nodeFolder struct{ name, dir string }

func clusterPlan(c *cli.Context) (*plan, error) {
	cluster, err := console.Required(c, "cluster", "--cluster prod")
	if err != nil {
		return nil, err
	}
	p := &plan{cluster: cluster, trust: c.StringSlice("trust"), settle: settle}
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
		if _, err := os.Stat(filepath.Join(dir, tlsutil.CAFile)); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, dir)
		} else if err != nil {
			return federation.Errorf(federation.Internal, "looking into %s: %w", dir, err)
		} else {
			done = append(done, dir)
		}
	}
	switch {
	case len(missing) > 0 && (renew || len(done) > 0):
		return federation.Errorf(federation.Conflict, "%s has no %s, and the key of the CA that the others have is gone", strings.Join(missing, ", "), tlsutil.CAFile).
			WithHint("empty all folders to begin anew, or give the same folders as the first time")
	case renew:
		return p.renew(ctx, voice)
	case len(done) > 0:
		voice.Say("everything is there already, nothing was changed")
		return nil
	}
	return p.found()
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

// renew replaces the CA and every node's certificate.
func (p *plan) renew(ctx context.Context, voice *console.Voice) error {
	authority, err := tlsutil.NewClusterAuthority(p.cluster, tlsutil.CALifetime, time.Now())
	if err != nil {
		return err
	}
	var leaves []*x509.Certificate
	for _, n := range p.nodes {
		own, err := readCertificates(nodeFiles(n.dir).Cert)
		if err != nil {
			return err
		}
		leaves = append(leaves, own[0])
	}
	err = p.writeCA(func(path string) ([]byte, error) {
		former, err := readCertificates(path)
		return append(authority.CertPEM(), inUse(former, leaves)...), err
	})
	if err != nil {
		return err
	}
	voice.Say("the new CA is in place; waiting %s until everybody has seen it", p.settle)
	select {
	case <-ctx.Done():
		return federation.Errorf(federation.Conflict, "interrupted: the new CA is trusted, and no certificate is of it yet").
			WithHint("run the command again")
	case <-time.After(p.settle):
	}
	return p.issueNodes(authority)
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

// inUse are those of the CAs, as PEM, that vouch for one of the certificates: the
// others were replaced before.
func inUse(cas, leaves []*x509.Certificate) []byte {
	var out []byte
	for _, ca := range cas {
		vouches := func(leaf *x509.Certificate) bool { return leaf.CheckSignatureFrom(ca) == nil }
		if slices.ContainsFunc(leaves, vouches) {
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})...)
		}
	}
	return out
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
