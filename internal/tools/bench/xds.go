package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"golang.org/x/sync/errgroup"
)

const endpointURL = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"

// xdsChange has many proxies at a real zone, each with as many clusters whose endpoints are
// asked for by name, and changes every cluster by one edit. It measures from the edit until the
// last proxy has all clusters, and all endpoints behind them once more, for which Envoy waits.
// In that time is the second in which the directory must be quiet before it is read.
func xdsChange(ctx context.Context, s *scope) error {
	n, clusters, rounds := s.pick(50, 5), s.pick(50, 5), s.pick(5, 1)
	dir := filepath.Join(s.scratch, "xds")
	if err := os.MkdirAll(filepath.Join(dir, "all"), 0o700); err != nil {
		return fmt.Errorf("making the directory of resources: %w", err)
	}
	if err := writeClusters(dir, clusters, 0); err != nil {
		return err
	}
	c, z, _, err := s.startAccepting(ctx, "--xds-dir", dir)
	if err != nil {
		return err
	}
	empty, err := statusField(z.pid(), "RssAnon:")
	if err != nil {
		return err
	}
	all, err := c.openProxies(ctx, z, n)
	if err != nil {
		return z.failure(err)
	}
	names := make([]string, clusters)
	for i := range names {
		names[i] = clusterName(i)
	}
	if err := together(all, func(p *proxy) error { return p.endpoints(ctx, names) }); err != nil {
		return z.failure(err)
	}
	var took []time.Duration
	for round := range rounds {
		begun := time.Now()
		if err := writeClusters(dir, clusters, round+1); err != nil {
			return err
		}
		if err := together(all, func(p *proxy) error { return p.changed(ctx, names) }); err != nil {
			return z.failure(err)
		}
		took = append(took, time.Since(begun))
	}
	full, err := statusField(z.pid(), "RssAnon:")
	if err != nil {
		return err
	}
	return s.report.add(
		measured("xds-50x50", ms(median(took)), "ms"),
		measured("xds-50x50/memory", float64(full-empty)/float64(n)/1024, "KiB/proxy"),
	)
}

func clusterName(i int) string { return fmt.Sprintf("service-%02d", i) }

// writeClusters replaces the file of resources; each round has another setting in every cluster.
func writeClusters(dir string, n, round int) error {
	var text strings.Builder
	text.WriteString("resources:\n")
	for i := range n {
		name := clusterName(i)
		fmt.Fprintf(&text, "- {'@type': %s, name: %s, type: EDS, connect_timeout: %ds, eds_cluster_config: {eds_config: {ads: {}, resource_api_version: V3}}}\n", clusterURL, name, round+1)
		fmt.Fprintf(&text, "- {'@type': %s, cluster_name: %s, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 10.0.0.%d, port_value: 80}}}}]}]}\n", endpointURL, name, i+1)
	}
	path := filepath.Join(dir, "all", "clusters.yaml")
	err := os.WriteFile(path+".new", []byte(text.String()), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("writing the resources: %w", err)
	}
	return nil
}

// together has every proxy do something at once.
func together(all []*proxy, do func(*proxy) error) error {
	var group errgroup.Group
	for _, p := range all {
		group.Go(func() error {
			if err := do(p); err != nil {
				return fmt.Errorf("proxy %d: %w", p.number, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// endpoints asks for the endpoints of these names, and takes them.
func (p *proxy) endpoints(ctx context.Context, names []string) error {
	_ = p.ads.Send(&discovery.DiscoveryRequest{TypeUrl: endpointURL, ResourceNames: names})
	m, err := p.next(ctx, endpointURL)
	if err == nil {
		err = p.complete(m, names)
	}
	return err
}

// changed takes changed clusters, and their endpoints behind them.
func (p *proxy) changed(ctx context.Context, names []string) error {
	m, err := p.next(ctx, clusterURL)
	if err != nil {
		return err
	}
	_ = p.ads.Send(&discovery.DiscoveryRequest{TypeUrl: clusterURL, VersionInfo: m.GetVersionInfo(), ResponseNonce: m.GetNonce()})
	if m, err = p.next(ctx, endpointURL); err != nil {
		return err
	}
	return p.complete(m, names)
}

// complete acknowledges endpoints that are all there.
func (p *proxy) complete(m *discovery.DiscoveryResponse, names []string) error {
	if len(m.GetResources()) != len(names) {
		return fmt.Errorf("it has endpoints of %d clusters of %d", len(m.GetResources()), len(names))
	}
	return p.ads.Send(&discovery.DiscoveryRequest{TypeUrl: endpointURL, VersionInfo: m.GetVersionInfo(), ResponseNonce: m.GetNonce(), ResourceNames: names})
}

// next waits for a response of a type.
func (p *proxy) next(ctx context.Context, url string) (*discovery.DiscoveryResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		select {
		case m := <-p.got:
			if m.GetTypeUrl() == url {
				return m, nil
			}
		case <-p.done:
			return nil, fmt.Errorf("the stream ended: %w", p.err)
		case <-ctx.Done():
			return nil, fmt.Errorf("waited in vain for %s: %w", url, context.Cause(ctx))
		}
	}
}
