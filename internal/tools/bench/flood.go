package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// Budgets of a flood.
const (
	floodMemory = 128e6 // above idle, by the kernel's own peak
	floodFactor = 3     // of what valid callers get beside an equal load of the processor
)

// flood attacks every port of a global and a zone at once, one shape after the other,
// then one shape with few descriptors, and with attackers at the valid callers' address.
func flood(ctx context.Context, s *scope) error {
	if err := s.floodOnce(ctx, "", 0, "127.0.0.2", floodShapes); err != nil || s.quick {
		return err
	}
	for _, limit := range []int{1024, 4096} {
		if err := s.floodOnce(ctx, "/"+strconv.Itoa(limit), limit, "127.0.0.2", floodShapes[:1]); err != nil {
			return err
		}
	}
	return s.floodOnce(ctx, "/one-address", 0, "127.0.0.1", floodShapes[:1])
}

// floodOnce starts a global and a zone and attacks them.
func (s *scope) floodOnce(ctx context.Context, suffix string, descriptors int, from string, shapes []string) error {
	return s.apart("flood"+strings.ReplaceAll(suffix, "/", "-"), func(s *scope) error {
		s.descriptors = descriptors
		c, err := s.startCluster(ctx, 1)
		if err != nil {
			return err
		}
		z, err := c.startZone(ctx, "west")
		if err != nil {
			return err
		}
		question, err := c.egressQuestion(ctx)
		if err != nil {
			return err
		}
		if err := z.accepts(ctx, question); err != nil {
			return err
		}
		ports, err := floodPorts(c, z, from)
		if err != nil {
			return err
		}
		span := s.floodSpan
		if s.quick {
			span = 2 * time.Second
		}
		procs, idle := map[string]int{"global": c.members[0].pid(), "zone": z.pid()}, map[string]float64{}
		for name, pid := range procs {
			if idle[name], err = statusField(pid, "VmRSS:"); err != nil {
				return err
			}
		}
		for _, shape := range shapes {
			if err := s.floodShape(ctx, shape, suffix, span, ports, procs, idle, z, question); err != nil {
				return err
			}
		}
		return nil
	})
}

func floodPorts(c *cluster, z *zone, from string) ([]floodPort, error) {
	m := c.members[0]
	zone, err := endpoints.Read(z.dir)
	if err != nil {
		return nil, err
	}
	host := func(url string) string { return strings.TrimPrefix(strings.TrimPrefix(url, "https://"), "http://") }
	api := []string{"/v1/revocations/bulk"}
	ports := []floodPort{
		{host(zone.DP), from, true, []string{"/bootstrap", "/v1/authenticate/batch", "/envoy.service.auth.v3.Authorization/Check",
			"/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"}},
		{host(m.ends.APITLS), from, true, api}, {host(m.ends.API), from, false, api},
		{m.ends.KDS, from, true, []string{"/kuma.mesh.v1alpha1.GlobalKDSService/HealthCheck"}},
		{m.ends.Peer, from, true, nil}, {host(m.ends.Diagnostics), from, false, []string{"/ready"}},
		{host(zone.API), from, false, []string{"/tokens/dataplane"}}, {host(zone.Diagnostics), from, false, []string{"/ready"}},
	}
	return slices.DeleteFunc(ports, func(p floodPort) bool { return p.Address == "" }), nil
}

// floodShape runs one shape, and the same time beside a load that is not ours.
func (s *scope) floodShape(ctx context.Context, shape, suffix string, span time.Duration, ports []floodPort, procs map[string]int, idle map[string]float64, z *zone, q apitypes.AuthenticateRequest) error {
	for _, pid := range procs {
		// The kernel forgets its peak; where it may not, the peak is that of the start too.
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o200)
	}
	attack := attackStart{Shape: shape, Ports: ports, PerPort: s.pick(200, 40)}
	under, err := s.floodCallers(ctx, span, attack, z, q)
	if err != nil {
		return fmt.Errorf("valid callers under %s: %w", shape, err)
	}
	name := "flood" + suffix + "/" + shape
	for _, program := range []string{"global", "zone"} {
		peak, err := statusField(procs[program], "VmHWM:")
		if err != nil {
			return err
		}
		if s.quick && peak-idle[program] > floodMemory {
			return fmt.Errorf("%s: the %s takes %.0f MB more than when it is idle", name, program, (peak-idle[program])/1e6)
		}
		if err := s.report.add(measured(name+"/"+program+"-memory", max(0, peak-idle[program])/1e6, "MB above idle").within(floodMemory / 1e6)); err != nil {
			return err
		}
	}
	if s.quick { // where the machine decides what timings say
		return nil
	}
	// As many threads as those that attack and those that are attacked.
	alone, err := s.floodCallers(ctx, span/2, attackStart{Shape: "busy", PerPort: 2 * runtime.NumCPU(), Ports: ports[:1]}, z, q)
	if err != nil {
		return err
	}
	return s.report.add(measured(name+"/valid-p99", under.Seconds()*1000, "ms").beside(alone.Seconds() * 1000).times(floodFactor))
}

// floodCallers has a valid caller connect anew and ask, again and again beside an attack
// by another process, and returns the 99th percentile. A caller that is not served fails
// the row.
func (s *scope) floodCallers(ctx context.Context, span time.Duration, attack attackStart, z *zone, q apitypes.AuthenticateRequest) (_ time.Duration, err error) {
	attackers, err := s.role("attack", "attack-"+attack.Shape)
	if err != nil {
		return 0, err
	}
	defer attackers.kill()
	if _, err := ask[none](ctx, attackers, "start", attack); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, span)
	defer cancel()
	ends, err := endpoints.Read(z.dir)
	if err != nil {
		return 0, err
	}
	roots, err := tlsutil.LoadPool(ends.CAFile)
	if err != nil {
		return 0, err
	}
	body, err := json.Marshal(q)
	if err != nil {
		return 0, err
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: tlsutil.Client(roots), DisableKeepAlives: true}}
	url := "https://" + strings.TrimPrefix(ends.DP, "https://") + "/v1/authenticate"
	profiled := s.profileProgram(ctx, strings.TrimPrefix(ends.Diagnostics, "http://"), "zone-"+attack.Shape)
	var took []time.Duration
	for ctx.Err() == nil {
		begun := time.Now()
		resp, err := client.Post(url, "application/json", bytes.NewReader(body))
		if err != nil {
			return 0, fmt.Errorf("a valid caller was not served after %s: %w", time.Since(begun), err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("a valid caller was answered %s", resp.Status)
		}
		took = append(took, time.Since(begun))
		wait(ctx, 20*time.Millisecond)
	}
	if err := profiled(); err != nil {
		return 0, err
	}
	if len(took) == 0 {
		return 0, errors.New("no valid caller was measured")
	}
	slices.Sort(took)
	return took[len(took)*99/100], nil
}
