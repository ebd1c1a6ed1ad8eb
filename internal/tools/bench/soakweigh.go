package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/meridiankds/meridian/internal/endpoints"
)

// weight is what a process holds.
type weight struct {
	name                            string
	memory, heap, goroutines, files float64
}

// weigh looks at the members together, at the process of the zones, and at the real
// zone.
func (k *soaking) weigh(ctx context.Context) ([]weight, error) {
	wait(ctx, 5*time.Second) // what just ended is given back
	// Zones move between the members: what all of them hold together must not grow.
	globals := weight{name: "globals"}
	for _, m := range k.members {
		w, err := weightOf(ctx, m.name, m.process, m.ends.Diagnostics)
		if err != nil {
			return nil, m.failure(err)
		}
		globals.memory, globals.heap = globals.memory+w.memory, globals.heap+w.heap
		globals.goroutines, globals.files = globals.goroutines+w.goroutines, globals.files+w.files
	}
	west, err := endpoints.Read(k.checks.zone.dir)
	if err != nil {
		return nil, err
	}
	zone, err := weightOf(ctx, "zone", k.checks.zone.process, west.Diagnostics)
	if err != nil {
		return nil, k.checks.zone.failure(err)
	}
	u, err := ask[usage](ctx, k.zones.child, "free", none{})
	if err != nil {
		return nil, err
	}
	crowd := weight{name: "zones", heap: float64(u.Heap), goroutines: float64(u.Goroutines)}
	return []weight{globals, zone, crowd}, crowd.of(k.zones.process)
}

// weightOf looks at a program of ours. Its heap is that after its last collection
// and what was made since, and thus up to twice what lives.
func weightOf(ctx context.Context, name string, p *process, diagnostics string) (weight, error) {
	w := weight{name: name}
	var err error
	if w.goroutines, err = metric(ctx, diagnostics, "go_goroutines"); err != nil {
		return w, err
	}
	if w.heap, err = metric(ctx, diagnostics, "go_memstats_heap_alloc_bytes"); err != nil {
		return w, err
	}
	return w, w.of(p)
}

// of adds what the system says of the process.
func (w *weight) of(p *process) error {
	var err error
	if w.memory, err = anonymousMemory(p.pid()); err != nil {
		return err
	}
	files, err := openFiles(p.pid())
	w.files = float64(files)
	return err
}

// grown compares what is held at the end with what was after the first minute, and
// says which of it has grown beyond noise. ids is how many were revoked meanwhile:
// one takes some 300 bytes of each global, and of each of the crowd's copies, which
// hold ids one by one in a map (see memoryZone), some 100: growth that is meant.
func grown(before, after []weight, ids int64, crowd int) (list []measurement, beyond []string) {
	for i, b := range before {
		meant := float64(ids) * 1200 / 1e6
		if b.name == "zones" {
			meant += float64(ids) * float64(crowd) * 200 / 1e6
		}
		a := after[i]
		for _, m := range []measurement{
			measured("soak/"+b.name+"/memory", a.memory/1e6, "MB").beside(b.memory / 1e6).within(1.5*b.memory/1e6 + 20 + meant),
			measured("soak/"+b.name+"/heap", a.heap/1e6, "MB").beside(b.heap / 1e6).within(2*b.heap/1e6 + 40 + meant),
			measured("soak/"+b.name+"/goroutines", a.goroutines, "goroutines").beside(b.goroutines).within(1.25*b.goroutines + 100),
			measured("soak/"+b.name+"/descriptors", a.files, "files").beside(b.files).within(1.25*b.files + 50),
		} {
			if list = append(list, m); !m.OK {
				beyond = append(beyond, m.line())
			}
		}
	}
	return list, beyond
}

// metric reads one number of a node's metrics.
func metric(ctx context.Context, diagnostics, name string) (float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+diagnostics+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, fmt.Errorf("reading the metrics: %w", err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, 4<<20))
	if err != nil {
		return 0, fmt.Errorf("reading the metrics: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("the metrics have no %s", name)
}
