package attack

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/test/cluster"
	"github.com/meridiankds/meridian/internal/zone/agent"
	zonenode "github.com/meridiankds/meridian/internal/zone/node"
	"github.com/meridiankds/meridian/internal/zone/resource"
)

// impostor answers with another end's certificate of the right CA, and collects what it
// is told.
type impostor struct {
	address string
	mu      sync.Mutex
	met     int    // handshakes
	told    []byte // what came after them
}

func startImpostor(t *testing.T, own tls.Certificate) *impostor {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i := &impostor{address: l.Addr().String()}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				defer raw.Close()
				conn := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{own}, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12})
				_ = raw.SetDeadline(time.Now().Add(time.Minute))
				data, _ := io.ReadAll(conn)
				i.mu.Lock()
				defer i.mu.Unlock()
				i.met, i.told = i.met+1, append(i.told, data...)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wait.Wait()
	})
	return i
}

// TestNobodyIsTakenForAnother has a zone's certificate answer where a global is meant,
// and a node's where a zone is: each caller ends the handshake and says nothing.
func TestNobodyIsTakenForAnother(t *testing.T) {
	ca, err := tlsutil.NewAuthority(clusterName, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := cluster.TempDir(t)
	caFile := filepath.Join(dir, tlsutil.CAFile)
	if err := os.WriteFile(caFile, ca.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	issue := func(role tlsutil.Role) tls.Certificate {
		cert, key, err := ca.Issue(tlsutil.Identity{Cluster: clusterName, Role: role, Name: "mallory"}, []string{"127.0.0.1"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	const token = "secret-token-of-the-caller"
	quiet := slog.New(slog.DiscardHandler)
	for name, tt := range map[string]struct {
		answers tlsutil.Role
		call    func(ctx context.Context, address string)
	}{
		"a zone that calls a global": {tlsutil.RoleZone, func(ctx context.Context, address string) {
			source, err := tlsutil.OpenSource(tlsutil.Files{CA: caFile}, tlsutil.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			node, err := zonenode.New(zonenode.Config{
				Zone: "west", DataDir: filepath.Join(dir, "west"), Globals: []string{address}, GlobalTLS: source,
				Token: func() (string, error) { return token, nil }, DPAddr: "127.0.0.1:0", Logger: quiet,
			})
			if err == nil {
				err = node.Run(ctx)
			}
			if err != nil {
				t.Error(err)
			}
		}},
		"an operator who calls a global": {tlsutil.RoleZone, func(ctx context.Context, address string) {
			c, err := apiclient.NewGlobal(apiclient.Target{Service: apiclient.API("global"), Address: "https://" + address, CAFile: caFile}, "test")
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = c.WhoAmI(ctx) // what it says is held against what it told
		}},
		"an operator who calls a zone": {tlsutil.RoleNode, func(ctx context.Context, address string) {
			c, err := apiclient.NewZone(apiclient.Target{Service: apiclient.API("zone"), Address: "https://" + address, CAFile: caFile}, "test")
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = c.Status(ctx)
		}},
		"a proxy's agent that calls a zone": {tlsutil.RoleNode, func(ctx context.Context, address string) {
			a, err := agent.New(agent.Config{
				Addresses: []string{"https://" + address}, CAFile: caFile, Name: "egress-1", Kind: resource.ZoneEgress,
				Token: func() (string, error) { return token, nil }, Logger: quiet,
			})
			if err != nil {
				t.Error(err)
				return
			}
			_ = a.RunADS(ctx) // it goes on trying until ctx ends
		}},
	} {
		t.Run(name, func(t *testing.T) {
			i := startImpostor(t, issue(tt.answers))
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() {
				defer close(done)
				tt.call(ctx, i.address)
			}()
			cluster.Eventually(t, "the impostor to be called", func() bool {
				i.mu.Lock()
				defer i.mu.Unlock()
				return i.met > 0
			})
			cancel()
			<-done
			i.mu.Lock()
			defer i.mu.Unlock()
			if len(i.told) > 0 {
				t.Errorf("the impostor was told %d bytes", len(i.told))
			}
		})
	}
}
