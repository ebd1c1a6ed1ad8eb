package xds

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/internal/keyring"
)

// TestBalancersAskForHealth without a credential.
func TestBalancersAskForHealth(t *testing.T) {
	var unready error
	b := newBench(t, func(c *Config, _ *keyring.Settings) { c.Unready = func() error { return unready } })
	client := healthpb.NewHealthClient(b.dial())
	for service, want := range map[string]codes.Code{"": codes.OK, "envoy.service.discovery.v3.AggregatedDiscoveryService": codes.OK,
		"envoy.service.auth.v3.Authorization": codes.OK, "another": codes.NotFound, strings.Repeat("x", 2<<10): codes.Unknown} {
		got, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
		if code := status.Code(err); code != want && (want != codes.Unknown || err == nil || code == codes.NotFound) || err == nil && got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%.20q: %v %v", service, got, err)
		}
	}
	for name, call := range map[string]func() error{
		"Watch": func() error {
			stream, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		},
		"List": func() error { _, err := client.List(t.Context(), &healthpb.HealthListRequest{}); return err },
	} {
		if err := call(); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v", name, err)
		}
	}
	unready = errors.New("no keys")
	got, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || got.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("a zone that knows no keys: %v %v", got, err)
	}
}
