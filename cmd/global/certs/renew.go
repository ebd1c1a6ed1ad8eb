package certs

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// renew replaces the CA and every node's certificate, and gives new nodes theirs.
func (p *plan) renew(ctx context.Context, voice *console.Voice) error {
	added, err := p.newcomers(voice)
	if err != nil {
		return err
	}
	authority, err := tlsutil.NewClusterAuthority(p.cluster, tlsutil.CALifetime, time.Now())
	if err != nil {
		return err
	}
	keep, drop, err := p.sortCAs()
	if err != nil {
		return err
	}
	if len(drop) > 0 {
		if err := p.await(ctx, voice, "the former CA is not dropped yet", missesDrop(keep, drop)); err != nil {
			return err
		}
	}
	trusted := append(authority.CertPEM(), pemOf(keep)...)
	if err := p.writeCA(func(string) ([]byte, error) { return trusted, nil }); err != nil {
		return err
	}
	voice.Say("the new CA is in place; waiting until every member and zone trusts it")
	if err := p.await(ctx, voice, "the new CA is trusted beside the former one, and no certificate is of it yet",
		missesCA(tlsutil.Fingerprint(authority.Certificate()))); err != nil {
		return err
	}
	return p.complete(authority, added, trusted)
}

// newcomers takes nodes that have nothing yet out of the plan, and returns those of them
// that are to get everything.
func (p *plan) newcomers(voice *console.Voice) (added []nodeFolder, err error) {
	var there []nodeFolder
	for _, n := range p.nodes {
		have, err := complete(n.dir)
		switch {
		case err != nil:
			return nil, err
		case have:
			there = append(there, n)
		case slices.Contains(p.added, n.name):
			added = append(added, n)
		default:
			voice.Say("%s has no certificate yet, and gets none: --new %s makes it one", n.name, n.name)
		}
	}
	if p.nodes = there; len(there) == 0 {
		return nil, federation.Errorf(federation.Conflict, "no --node has a certificate that could be renewed").
			WithHint("name the nodes of the cluster with the folders that they were made in")
	}
	if len(added) > 0 { // what others may have read is no secret to give to a new member
		if _, err := issue.LoadSealKeys(filepath.Join(there[0].dir, sealFile)); err != nil {
			return nil, err
		}
	}
	for _, dir := range p.trust { // a zone that is new is given the CAs like all others
		if err := makeFolder(dir); err != nil {
			return nil, err
		}
	}
	return added, nil
}

// complete issues the certificates of all nodes. A new node's ca.crt comes last: where it is
// absent, nobody has started with the rest.
func (p *plan) complete(authority *tlsutil.Authority, added []nodeFolder, trusted []byte) error {
	if err := p.shareSeal(added); err != nil {
		return err
	}
	p.nodes = append(p.nodes, added...)
	if err := p.issueNodes(authority); err != nil {
		return err
	}
	for _, n := range added {
		if err := tlsutil.WriteFile(filepath.Join(n.dir, tlsutil.CAFile), trusted, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// shareSeal gives the seal key to new members, as its file is now: the wait for others may
// have been long.
func (p *plan) shareSeal(added []nodeFolder) error {
	if len(added) == 0 {
		return nil
	}
	seal, err := issue.ReadSealFile(filepath.Join(p.nodes[0].dir, sealFile))
	if err != nil {
		return err
	}
	defer clear(seal)
	for _, n := range added {
		if err := makeFolder(n.dir); err != nil {
			return err
		}
		if err := tlsutil.WriteFile(filepath.Join(n.dir, sealFile), seal, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// sortCAs returns the CAs that vouch for a node's certificate, and those that were replaced
// before.
func (p *plan) sortCAs() (keep, drop []*x509.Certificate, err error) {
	var leaves []*x509.Certificate
	for _, n := range p.nodes {
		own, err := readCertificates(nodeFiles(n.dir).Cert)
		if err != nil {
			return nil, nil, err
		}
		leaves = append(leaves, own[0])
	}
	seen := map[string]bool{}
	for _, n := range p.nodes {
		cas, err := readCertificates(filepath.Join(n.dir, tlsutil.CAFile))
		if err != nil {
			return nil, nil, err
		}
		for _, ca := range cas {
			vouches := func(leaf *x509.Certificate) bool { return leaf.CheckSignatureFrom(ca) == nil }
			switch {
			case seen[tlsutil.Fingerprint(ca)]:
			case slices.ContainsFunc(leaves, vouches):
				keep = append(keep, ca)
			default:
				drop = append(drop, ca)
			}
			seen[tlsutil.Fingerprint(ca)] = true
		}
	}
	return keep, drop, nil
}

func pemOf(cas []*x509.Certificate) (out []byte) {
	for _, ca := range cas {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})...)
	}
	return out
}

// A missing tells why an end cannot do with what comes; "" where it can.
type missing func(t apitypes.Truster) string

// missesCA names who has not said that it trusts a CA.
func missesCA(ca string) missing {
	return func(t apitypes.Truster) string {
		switch {
		case t.State == "silent" && t.Role == "zone":
			return "is not connected, and cannot say whether it trusts the CA"
		case t.State == "silent":
			return "has not been heard lately"
		case t.State != "reported":
			return "cannot say whether it trusts the CA"
		case slices.Contains(t.Trusts, ca), slices.Contains(t.Trusts, tlsutil.TrustPlain):
			return ""
		case slices.Contains(t.Trusts, tlsutil.TrustSystem):
			return "trusts the CAs of its system, and cannot say whether this is one of them"
		}
		return "does not trust the CA yet"
	}
}

// missesDrop names who needs a CA that is to be dropped: it shows a certificate of it, or
// trusts none of those that are kept.
func missesDrop(keep, drop []*x509.Certificate) missing {
	return func(t apitypes.Truster) (why string) {
		for _, ca := range drop {
			if t.Shows == tlsutil.Fingerprint(ca) {
				return "shows a certificate of the CA that is to be dropped"
			}
		}
		for _, ca := range keep {
			if why = missesCA(tlsutil.Fingerprint(ca))(t); why != "" {
				return why
			}
		}
		return ""
	}
}

// await asks the cluster until nobody misses anything. Whoever does is named, and with force
// it goes on all the same, after as long as it takes to see a file that was replaced.
func (p *plan) await(ctx context.Context, voice *console.Voice, state string, misses missing) error {
	deadline := time.NewTimer(p.wait)
	defer deadline.Stop()
	again := time.NewTicker(trustEvery)
	defer again.Stop()
	answered := false
	for said := ""; ; {
		who, err := p.missing(ctx, misses)
		switch {
		case p.force:
			return p.goOn(ctx, voice, who, err)
		case err != nil && answered:
			who = []string{"the cluster does not answer: " + federation.AsError(err).Error()} // it may have no leader just now
		case err != nil:
			return federation.Errorf(federation.Unavailable, "%s: the cluster could not be asked who trusts which CA: %w", state, err).
				WithHint("name a member with --address or --data-dir and run the command again; with --force it goes on without asking")
		case len(who) == 0:
			return nil
		}
		answered = true
		if now := strings.Join(who, "\n"); now != said {
			said = now
			for _, line := range who {
				voice.Say("waiting: %s", line)
			}
		}
		select {
		case <-again.C:
		case <-deadline.C:
			return federation.Errorf(federation.Conflict, "%s: %s", state, strings.Join(who, "; ")).WithReason("not_trusted").
				WithHint("give them the new ca.crt, or a new certificate, and run the command again; with --force it goes on without them")
		case <-ctx.Done():
			return federation.Errorf(federation.Conflict, "interrupted: %s", state).WithHint("run the command again")
		}
	}
}

// missing names who misses something now.
func (p *plan) missing(ctx context.Context, misses missing) (who []string, err error) {
	trust, err := p.ask(ctx)
	if err != nil {
		return nil, err
	}
	return missed(trust, misses), nil
}

func missed(trust apitypes.Trust, misses missing) (who []string) {
	for _, t := range trust.Items {
		if why := misses(t); why != "" {
			name := t.Role + " " + t.Name
			if t.Address != "" {
				name += fmt.Sprintf(" (%s)", t.Address)
			}
			who = append(who, name+" "+why)
		}
	}
	return who
}

func (p *plan) goOn(ctx context.Context, voice *console.Voice, who []string, err error) error {
	if err != nil {
		voice.Warn("the cluster could not be asked who trusts which CA: %s", federation.AsError(err).Error())
	}
	for _, line := range who {
		voice.Warn("going on although %s", line)
	}
	select {
	case <-ctx.Done():
		return federation.Errorf(federation.Conflict, "interrupted").WithHint("run the command again")
	case <-time.After(p.settle):
		return nil
	}
}
