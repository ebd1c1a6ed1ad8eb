package certs

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"
	"time"

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
	interrupted, cancel := context.WithCancel(context.Background())
	cancel()
	p.settle = time.Hour
	for range 2 {
		if err := p.make(interrupted, true, voice); err == nil {
			t.Fatal("an interrupted renewal says that it is done")
		}
		trusted("interrupted")
	}
	if n := len(zone.Current().CAs); n != 2 {
		t.Errorf("after two interrupted renewals %d CAs are trusted, want the new and the one in use", n)
	}
	p.settle = 0
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
