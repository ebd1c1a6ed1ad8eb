package xds

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"

	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/zone/resource"
)

// TestDefaultsStayUntilAListenerIsGiven: what a folder says about clusters takes no listener
// from anybody; one listener in it is all that the proxy has.
func TestDefaultsStayUntilAListenerIsGiven(t *testing.T) {
	r, err := resource.ParseRequest([]byte(backend))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, file string
		want       []string
	}{
		{"a cluster", clusterFile("redis"), []string{"inbound:10.0.0.1:8080", "localhost:80", "redis"}},
		{"nothing, on purpose", "resources: []\n", []string{"inbound:10.0.0.1:8080", "localhost:80"}},
		{"the cluster of the service, its own way", clusterFile("localhost:80"), []string{"inbound:10.0.0.1:8080", "localhost:80"}},
		{"a listener", "resources:\n- {'@type': type.googleapis.com/envoy.config.listener.v3.Listener, name: mine, address: {socket_address: {address: 0.0.0.0, port_value: 1}}}\n", []string{"mine"}},
	} {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "all"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "all/a.yaml"), []byte(tt.file), 0o600); err != nil {
			t.Fatal(err)
		}
		s := New(Config{Dir: openDir(t, dir)})
		set, err := s.resourcesOf(r)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for key := range maps.Keys(set) {
			got = append(got, key.Name)
		}
		if slices.Sort(got); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestWhoWouldCallItself: a Dataplane whose service would be its own listener is refused
// with the reason, before one request becomes a thousand connections.
func TestWhoWouldCallItself(t *testing.T) {
	for networking, self := range map[string]bool{
		`"address":"127.0.0.1","inbound":[{"port":8080}]`:                                                         true,
		`"address":"127.0.0.1","inbound":[{"port":8080,"servicePort":8080}]`:                                      true,
		`"address":"10.0.0.1","inbound":[{"port":8080,"address":"127.0.0.1"}]`:                                    true,
		`"address":"10.0.0.1","inbound":[{"port":8080,"serviceAddress":"10.0.0.1"}]`:                              true,
		`"address":"10.0.0.1","inbound":[{"port":80,"servicePort":81},{"port":8080,"serviceAddress":"10.0.0.1"}]`: true,
		`"address":"backend.example","inbound":[{"port":8080}]`:                                                   true,
		`"address":"backend.example","inbound":[{"port":8080,"serviceAddress":"backend.example"}]`:                true,
		`"address":"127.0.0.1","inbound":[{"port":8080,"serviceAddress":"localhost"}]`:                            true,
		`"address":"::1","inbound":[{"port":8080,"serviceAddress":"::1"}]`:                                        true,
		`"address":"127.0.0.1","inbound":[{"port":8080,"servicePort":80}]`:                                        false,
		`"address":"10.0.0.1","inbound":[{"port":8080}]`:                                                          false,
		`"address":"127.0.0.1","inbound":[{"port":8080,"serviceAddress":"127.0.0.2"}]`:                            false,
		`"address":"10.0.0.1","inbound":[{"port":8080,"serviceAddress":"service.example"}]`:                       false,
	} {
		networking = strings.ReplaceAll(networking, `"port":`, `"tags":{"kuma.io/service":"backend"},"port":`)
		r, err := resource.ParseRequest([]byte(`{"type":"Dataplane","mesh":"default","name":"backend-1","networking":{` + networking + `}}`))
		if err != nil {
			t.Fatal(networking, err)
		}
		if _, err := inbounds(r); (err != nil) != self || self && !strings.Contains(err.Error(), "].servicePort: ") {
			t.Errorf("%s: %v", networking, err)
		}
	}
	b := newBench(t, func(c *Config, _ *keyring.Settings) {})
	stream := b.open(b.dial(), sign(t, backendClaims))
	stream.ask(&discovery.DiscoveryRequest{TypeUrl: clusterType, Node: node("default.backend-1", "dataplane",
		strings.Replace(backend, `"port":8080,"servicePort":80`, `"port":80,"address":"127.0.0.1"`, 1))})
	if code, _, message := stream.ends(); code != codes.InvalidArgument || !strings.Contains(message, "connect to itself") {
		t.Errorf("its stream ends with %s %q", code, message)
	}
}
