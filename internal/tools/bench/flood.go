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

// floodCase is one way to attack, and where.
type floodCase struct {
	name        string // as --flood-cases has it
	shape       string
	descriptors int    // 0: as many as this process has
	from        string // the attackers' address; "": one each
}

// strangersAddress is not the valid callers'.
const strangersAddress = "127.0.0.2"

// floodCases are all shapes of attack, then some with few descriptors, from the valid
// callers' address, and from an address each.
func floodCases() (cases []floodCase) {
	for _, shape := range floodShapes {
		cases = append(cases, floodCase{shape, shape, 0, strangersAddress})
	}
	return append(cases,
		floodCase{"1024", "silent", 1024, strangersAddress}, floodCase{"4096", "silent", 4096, strangersAddress},
		floodCase{"one-address", "silent", 0, "127.0.0.1"}, floodCase{"addresses", "silent", 0, ""},
		floodCase{"1024-one-address", "silent", 1024, "127.0.0.1"})
}

// flood attacks every port of a global and a zone at once, one case after the other.
func flood(ctx context.Context, s *scope) error {
	cases := floodCases()
	if s.quick {
		cases = cases[:len(floodShapes)]
	}
	if s.floodCases != "" {
		names := strings.Split(s.floodCases, ",")
		cases = slices.DeleteFunc(floodCases(), func(c floodCase) bool { return !slices.Contains(names, c.name) })
		if len(cases) != len(names) {
			return usageError(fmt.Sprintf("--flood-cases %.200q: there are %s", s.floodCases, floodNames()))
		}
	}
	for len(cases) > 0 { // those of the same limit share their programs
		same := 1
		for same < len(cases) && cases[same].descriptors == cases[0].descriptors {
			same++
		}
		if err := s.floodPrograms(ctx, cases[:same]); err != nil {
			return err
		}
		cases = cases[same:]
	}
	return nil
}

func floodNames() string {
	var names []string
	for _, c := range floodCases() {
		names = append(names, c.name)
	}
	return strings.Join(names, ",")
}

// floodPrograms starts a global and a zone and attacks them.
func (s *scope) floodPrograms(ctx context.Context, cases []floodCase) error {
	return s.apart("flood-"+cases[0].name, func(s *scope) error {
		s.descriptors = cases[0].descriptors
		c, z, question, err := s.startAccepting(ctx)
		if err != nil {
			return err
		}
		f := flooded{scope: s, zone: z, question: question, procs: map[string]int{"global": c.members[0].pid(), "zone": z.pid()}, idle: map[string]float64{}}
		if f.ports, err = floodPorts(c, z); err != nil {
			return err
		}
		for name, pid := range f.procs {
			if f.idle[name], err = statusField(pid, "VmRSS:"); err != nil {
				return err
			}
		}
		for _, attack := range cases {
			if err := f.attack(ctx, attack); err != nil {
				return err
			}
		}
		return nil
	})
}

// flooded are the programs that are attacked, and what they occupied before.
type flooded struct {
	*scope
	zone     *zone
	question apitypes.AuthenticateRequest
	ports    []floodPort
	procs    map[string]int
	idle     map[string]float64
}

func floodPorts(c *cluster, z *zone) ([]floodPort, error) {
	m := c.members[0]
	zone, err := endpoints.Read(z.dir)
	if err != nil {
		return nil, err
	}
	host := func(url string) string { return strings.TrimPrefix(strings.TrimPrefix(url, "https://"), "http://") }
	api, ready := []string{"/v1/revocations/bulk"}, []string{"/ready"}
	index, public := []string{"/", "/v1/status"}, []string{"/metrics", "/ready", "/healthy"}
	ports := []floodPort{
		{Address: host(zone.DP), TLS: true, Open: []string{"/v1/jwks/zone", "/nothing"}, Paths: []string{"/bootstrap", "/v1/authenticate/batch",
			"/envoy.service.auth.v3.Authorization/Check", "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"}},
		{Address: host(m.ends.APITLS), TLS: true, Paths: api, Open: index}, {Address: host(m.ends.API), Paths: api, Open: index},
		{Address: m.ends.KDS, TLS: true, Paths: []string{"/kuma.mesh.v1alpha1.GlobalKDSService/HealthCheck"}},
		{Address: m.ends.Peer, TLS: true},
		{Address: host(m.ends.Diagnostics), Paths: ready, Open: public},
		{Address: host(zone.API), Paths: []string{"/tokens/dataplane"}, Open: index}, {Address: host(zone.Diagnostics), Paths: ready, Open: public},
	}
	return slices.DeleteFunc(ports, func(p floodPort) bool { return p.Address == "" }), nil
}

// attack runs one case, and a part of the time beside a load that is not ours.
func (f flooded) attack(ctx context.Context, attack floodCase) error {
	for _, pid := range f.procs {
		// The kernel forgets its peak; where it may not, the peak is that of the start too.
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o200)
	}
	span := f.floodSpan
	if f.quick {
		span = 2 * time.Second
	}
	under, err := f.callers(ctx, span, attackStart{Shape: attack.shape, From: attack.from, Ports: f.ports, PerPort: f.pick(200, 40)})
	if err != nil {
		return fmt.Errorf("valid callers under %s: %w", attack.name, err)
	}
	name := "flood/" + attack.name
	for _, program := range []string{"global", "zone"} {
		peak, err := statusField(f.procs[program], "VmHWM:")
		if err != nil {
			return err
		}
		if f.quick && peak-f.idle[program] > floodMemory {
			return fmt.Errorf("%s: the %s takes %.0f MB more than when it is idle", name, program, (peak-f.idle[program])/1e6)
		}
		if err := f.report.add(measured(name+"/"+program+"-memory", max(0, peak-f.idle[program])/1e6, "MB above idle").within(floodMemory / 1e6)); err != nil {
			return err
		}
	}
	if f.quick { // where the machine decides what timings say
		return nil
	}
	// As many threads as those that attack and those that are attacked.
	alone, err := f.callers(ctx, span/4, attackStart{Shape: "busy", PerPort: 2 * runtime.NumCPU(), Ports: f.ports[:1]})
	if err != nil {
		return err
	}
	return f.report.add(measured(name+"/valid-p99", under.Seconds()*1000, "ms").beside(alone.Seconds() * 1000).times(floodFactor))
}

// callers has a valid caller connect anew and ask, again and again beside an attack by
// another process, and returns the 99th percentile. A caller that is not served fails the
// row.
func (f flooded) callers(ctx context.Context, span time.Duration, attack attackStart) (_ time.Duration, err error) {
	attackers, err := f.role("attack", "attack-"+attack.Shape)
	if err != nil {
		return 0, err
	}
	defer attackers.kill()
	if _, err := ask[none](ctx, attackers, "start", attack); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, span)
	defer cancel()
	ends, err := endpoints.Read(f.zone.dir)
	if err != nil {
		return 0, err
	}
	roots, err := tlsutil.LoadPool(ends.CAFile)
	if err != nil {
		return 0, err
	}
	body, err := json.Marshal(f.question)
	if err != nil {
		return 0, err
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: tlsutil.Client(roots), DisableKeepAlives: true}}
	url := "https://" + strings.TrimPrefix(ends.DP, "https://") + "/v1/authenticate"
	load := loadNow()
	profiled := f.profileProgram(ctx, strings.TrimPrefix(ends.Diagnostics, "http://"), "zone-"+attack.Shape)
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
	f.report.note("%s: %d calls, median %.1f ms, p99 %.1f ms; %s", attack.Shape, len(took), ms(median(took)), ms(percentile(took, 99)), load.since())
	return percentile(took, 99), nil
}
