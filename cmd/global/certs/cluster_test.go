package certs

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// A cluster whose CA key is gone is renewed in two steps, at each of which every
// node trusts what every other shows; a step that was interrupted is repeated.
func TestClusterIsRenewedWhileItRuns(t *testing.T) {
	dir := t.TempDir()
	one, west := filepath.Join(dir, "1"), filepath.Join(dir, "west")
	p := &plan{cluster: "prod", nodes: []nodeFolder{{"global-1", one}}, trust: []string{west}, valid: time.Hour}
	voice := console.NewVoice("global", nil, &bytes.Buffer{})
	if err := p.make(context.Background(), false, voice); err != nil {
		t.Fatal(err)
	}
	node, err := tlsutil.OpenSource(nodeFiles(one), tlsutil.Options{})
	if err != nil {
		t.Fatal(err)
	}
	zone, err := tlsutil.OpenSource(tlsutil.Files{CA: filepath.Join(west, tlsutil.CAFile)}, tlsutil.Options{})
	if err != nil {
		t.Fatal(err)
	}
	trusted := func(when string) {
		t.Helper()
		node.Check()
		zone.Check()
		m := node.Current()
		for _, s := range []*tlsutil.Source{node, zone} {
			ok := false
			for _, ca := range s.Current().CAs {
				ok = ok || m.Certificate.Leaf.CheckSignatureFrom(ca) == nil
			}
			if !ok {
				t.Fatalf("%s: the node's certificate is trusted no more", when)
			}
		}
	}
	first := node.Current()
	everybody := func(context.Context) (apitypes.Trust, error) {
		return apitypes.Trust{Items: []apitypes.Truster{
			{Role: "member", Name: "n1", State: "reported", Trusts: strings.Fields(node.Current().Trusts()), Shows: node.Current().Shows()},
			{Role: "zone", Name: "west", State: "reported", Trusts: strings.Fields(zone.Current().Trusts())},
		}}, nil
	}
	p.wait = time.Minute
	p.ask = func(ctx context.Context) (apitypes.Trust, error) { return everybody(ctx) } // nobody looks at the new files
	interrupted, cancel := context.WithCancel(context.Background())
	cancel()
	for range 2 {
		if err := p.make(interrupted, true, voice); err == nil {
			t.Fatal("an interrupted renewal says that it is done")
		}
		trusted("interrupted")
	}
	if n := len(zone.Current().CAs); n != 2 {
		t.Errorf("after two interrupted renewals %d CAs are trusted, want the new and the one in use", n)
	}
	p.ask = func(ctx context.Context) (apitypes.Trust, error) {
		trusted("asked")
		return everybody(ctx)
	}
	for range 3 {
		if err := p.make(context.Background(), true, voice); err != nil {
			t.Fatal(err)
		}
		trusted("renewed")
		if n := len(zone.Current().CAs); n != 2 {
			t.Errorf("%d CAs are trusted", n)
		}
	}
	if m := node.Current(); m.Certificate.Leaf.Equal(first.Certificate.Leaf) || m.Certificate.Leaf.CheckSignatureFrom(first.CAs[0]) == nil {
		t.Error("the certificate is still of the first CA")
	}
}

// TestARenewalWaits: a renewal replaces no certificate, and drops no CA, as long as a member
// or a zone cannot do with the new one. Who it is, is named; --force goes on.
func TestARenewalWaits(t *testing.T) {
	dir := t.TempDir()
	one, west := filepath.Join(dir, "1"), filepath.Join(dir, "west")
	p := &plan{cluster: "prod", nodes: []nodeFolder{{"global-1", one}}, trust: []string{west}, valid: time.Hour, wait: time.Millisecond}
	var said bytes.Buffer
	voice := console.NewVoice("global", nil, &said)
	if err := p.make(context.Background(), false, voice); err != nil {
		t.Fatal(err)
	}
	caFile, certFile := filepath.Join(west, tlsutil.CAFile), nodeFiles(one).Cert
	read := func(path string) string {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	trusts := func() (all []string) {
		cas, err := readCertificates(caFile)
		if err != nil {
			t.Fatal(err)
		}
		for _, ca := range cas {
			all = append(all, tlsutil.Fingerprint(ca))
		}
		return all
	}
	first := trusts()[0]
	reported := func(f func() []string, shows string) apitypes.Truster {
		return apitypes.Truster{Role: "zone", Name: "west", State: "reported", Trusts: f(), Shows: shows}
	}
	// Each is who stands in the way of the certificates of a new CA, and of dropping one.
	for name, tt := range map[string]struct {
		who  func() apitypes.Truster
		want string // "": nobody
	}{
		"a zone that trusts it":        {func() apitypes.Truster { return reported(trusts, "") }, ""},
		"a zone without TLS":           {func() apitypes.Truster { return reported(func() []string { return []string{"plain"} }, "") }, ""},
		"a zone whose file is another": {func() apitypes.Truster { return reported(func() []string { return []string{first} }, "") }, "zone west does not trust the CA yet"},
		"a zone of the system's CAs":   {func() apitypes.Truster { return reported(func() []string { return []string{"system"} }, "") }, "CAs of its system"},
		"a zone that is away":          {func() apitypes.Truster { return apitypes.Truster{Role: "zone", Name: "west", State: "silent"} }, "is not connected"},
		"a Kuma zone":                  {func() apitypes.Truster { return apitypes.Truster{Role: "zone", Name: "west", State: "unable"} }, "cannot say"},
		"a member that is away":        {func() apitypes.Truster { return apitypes.Truster{Role: "member", Name: "n2", State: "silent"} }, "member n2 has not been heard"},
	} {
		p.ask = func(context.Context) (apitypes.Trust, error) {
			return apitypes.Trust{Items: []apitypes.Truster{tt.who()}}, nil
		}
		before := read(certFile)
		err := p.make(context.Background(), true, voice)
		if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if (read(certFile) != before) != (tt.want == "") {
			t.Errorf("%s: the node's certificate was replaced: %v", name, read(certFile) != before)
		}
	}
	// The former CA goes by the next renewal, unless somebody shows a certificate of it.
	former := ""
	p.ask = func(context.Context) (apitypes.Trust, error) {
		return apitypes.Trust{Items: []apitypes.Truster{reported(trusts, former)}}, nil
	}
	before := read(caFile)
	keep, drop, err := p.sortCAs()
	if err != nil || len(keep) != 1 || len(drop) == 0 {
		t.Fatalf("%d CAs are kept and %d dropped, %v", len(keep), len(drop), err)
	}
	former = tlsutil.Fingerprint(drop[0])
	if err := p.make(context.Background(), true, voice); err == nil || !strings.Contains(err.Error(), "shows a certificate of the CA that is to be dropped") {
		t.Errorf("a zone shows a certificate of the CA that is to be dropped: %v", err)
	}
	if read(caFile) != before {
		t.Error("the CA file was changed all the same")
	}
	// A cluster that cannot be asked is not gone past either; --force does, and says whom it passes.
	p.ask = func(context.Context) (apitypes.Trust, error) {
		return apitypes.Trust{}, federation.Errorf(federation.Unavailable, "nobody answers")
	}
	if err := p.make(context.Background(), true, voice); err == nil || !strings.Contains(federation.AsError(err).Hint, "--force") {
		t.Errorf("without an answer: %v", err)
	}
	p.force = true
	said.Reset()
	if err := p.make(context.Background(), true, voice); err != nil || !strings.Contains(said.String(), "nobody answers") {
		t.Errorf("by force: %v, %s", err, said.String())
	}
	if read(caFile) == before {
		t.Error("--force changed nothing")
	}
}

// TestANewMemberGetsItsIdentityByARenewal, when it is wanted and not before.
func TestANewMemberGetsItsIdentityByARenewal(t *testing.T) {
	dir := t.TempDir()
	one, four := filepath.Join(dir, "1"), filepath.Join(dir, "4")
	var said bytes.Buffer
	voice := console.NewVoice("global", nil, &said)
	ask := func(context.Context) (apitypes.Trust, error) { return apitypes.Trust{}, nil }
	plan := func(added []string, nodes ...nodeFolder) *plan {
		return &plan{cluster: "prod", nodes: nodes, valid: time.Hour, wait: time.Minute, ask: ask, added: added}
	}
	first, fourth := nodeFolder{"global-1", one}, nodeFolder{"global-4", four}
	if err := plan(nil, first, fourth).make(context.Background(), true, voice); err == nil {
		t.Error("a renewal of nothing")
	}
	if err := plan(nil, first).make(context.Background(), false, voice); err != nil {
		t.Fatal(err)
	}
	if err := plan(nil, first, fourth).make(context.Background(), false, voice); err == nil || !strings.Contains(federation.AsError(err).Hint, "--new") {
		t.Errorf("a second run with another node: %v", err)
	}
	if err := plan(nil, first, fourth).make(context.Background(), true, voice); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(four); !os.IsNotExist(err) || !strings.Contains(said.String(), "--new global-4 makes it one") {
		t.Errorf("a renewal made what was not asked for, or did not say how: %v\n%s", err, said.String())
	}
	seal := filepath.Join(one, sealFile)
	if err := os.Chmod(seal, 0o644); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(one, tlsutil.CAFile))
	if err != nil {
		t.Fatal(err)
	}
	err = plan([]string{"global-4"}, first, fourth).make(context.Background(), true, voice)
	if after, _ := os.ReadFile(filepath.Join(one, tlsutil.CAFile)); err == nil || !strings.Contains(err.Error(), "read by others") || !bytes.Equal(before, after) {
		t.Errorf("a seal key that others may read is given to a new member, or something was changed: %v", err)
	}
	if err := os.Chmod(seal, 0o600); err != nil {
		t.Fatal(err)
	}
	meanwhile := plan([]string{"global-4"}, first, fourth)
	meanwhile.ask = func(context.Context) (apitypes.Trust, error) { return apitypes.Trust{}, os.Chmod(seal, 0o644) }
	err = meanwhile.make(context.Background(), true, voice)
	if _, gone := os.Stat(filepath.Join(four, sealFile)); err == nil || !strings.Contains(err.Error(), "read by others") || !os.IsNotExist(gone) {
		t.Errorf("a seal key that others may read by the end of the wait: %v, %v", err, gone)
	}
	if err := os.Chmod(seal, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := plan([]string{"global-4"}, first, fourth).make(context.Background(), true, voice); err != nil {
		t.Fatal(err)
	}
	source, err := tlsutil.OpenSource(nodeFiles(four), tlsutil.Options{Accept: tlsutil.KeepIdentity(tlsutil.RoleNode)})
	if err != nil {
		t.Fatal(err)
	}
	other, err := tlsutil.OpenSource(nodeFiles(one), tlsutil.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if source.Current().Trusts() != other.Current().Trusts() || source.Current().Shows() != other.Current().Shows() {
		t.Error("the new member trusts others than the former one")
	}
	for _, folder := range []string{one, four} {
		info, err := os.Stat(filepath.Join(folder, sealFile))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the seal key of %s: %v %v", folder, info, err)
		}
	}
	if a, _ := os.ReadFile(filepath.Join(one, sealFile)); len(a) == 0 {
		t.Error("the first member has no seal key")
	} else if b, _ := os.ReadFile(filepath.Join(four, sealFile)); !bytes.Equal(a, b) {
		t.Error("the new member has another seal key")
	}
}

// TestWhoseKeyIsExpelled: a certificate is named by its file or its key, and a CA's, which
// nobody shows, is refused instead of being called expelled.
func TestWhoseKeyIsExpelled(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	ca, err := tlsutil.NewClusterAuthority("prod", time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	jane, _, err := ca.Issue(tlsutil.Identity{Cluster: "prod", Role: tlsutil.RoleUser, Name: "jane"}, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certs, err := tlsutil.ParseCertificates(jane)
	if err != nil {
		t.Fatal(err)
	}
	if id, subject, err := keyNamed(file("jane.crt", jane)); err != nil || id != tlsutil.KeyOf(certs[0]) || subject != "meridian://prod/user/jane" {
		t.Errorf("a user's: %s %s %v", id, subject, err)
	}
	for name, content := range map[string][]byte{"ca.crt": ca.CertPEM(), "bundle.crt": append(ca.CertPEM(), jane...), "none.crt": []byte("x")} {
		if _, _, err := keyNamed(file(name, content)); federation.CodeOf(err) != federation.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
