package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/meridiankds/meridian/internal/endpoints"
)

// Budgets of an empty global.
const (
	startBudget  = 500 * time.Millisecond
	memoryBudget = 40e6
	sizeBudget   = 35e6
)

// size weighs the programs.
func size(_ context.Context, s *scope) error {
	for _, name := range []string{"global", "zone"} {
		info, err := os.Stat(filepath.Join(s.bin, name))
		if err != nil {
			return fmt.Errorf("weighing a program: %w", err)
		}
		row := "size"
		if name != "global" {
			row += "/" + name
		}
		if err := s.report.add(measured(row, float64(info.Size())/1e6, "MB").within(sizeBudget / 1e6)); err != nil {
			return err
		}
	}
	return nil
}

// devGlobal is a process of `global dev`.
type devGlobal struct {
	*process
	dir  string
	ends endpoints.Endpoints
}

// startDev starts one and waits until it is ready, which it measures from before
// the program is run.
func (s *scope) startDev(ctx context.Context, name string) (*devGlobal, time.Duration, error) {
	g := &devGlobal{dir: filepath.Join(s.dir, name)}
	_ = os.Remove(filepath.Join(g.dir, endpoints.FileName))
	begun := time.Now()
	args := []string{"dev", "--data-dir", g.dir, "--api-addr", "127.0.0.1:0", "--api-tls-addr", "127.0.0.1:0",
		"--kds-addr", "127.0.0.1:0", "--peer-addr", "127.0.0.1:0", "--diagnostics-addr", "127.0.0.1:0"}
	if s.profiles != "" {
		args = append(args, "--pprof")
	}
	var err error
	g.process, err = s.start(name, s.program("global", args...))
	if err != nil {
		return nil, 0, err
	}
	err = until(ctx, name+" to be ready", func() (bool, error) {
		if g.ends, err = endpoints.Read(g.dir); err != nil {
			return false, err
		}
		return ready(ctx, g.ends)
	})
	return g, time.Since(begun), g.failure(err)
}

// ready asks a node's diagnostics port.
func ready(ctx context.Context, e endpoints.Endpoints) (bool, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.Diagnostics+"/ready", nil)
	if err != nil {
		return false, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return false, err
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK, fmt.Errorf("it answers %s", answer.Status)
}

// start measures how long an empty global takes to be ready: one that was started
// before, and one that founds its cluster. What the first start cannot do without
// is its baseline: three RSA keys.
func start(ctx context.Context, s *scope) error {
	var first, again, keys, used []time.Duration
	for i := range s.pick(10, 1) {
		name := fmt.Sprintf("global-%d", i)
		took, err := threeKeys()
		if err != nil {
			return err
		}
		keys = append(keys, took)
		for _, into := range []*[]time.Duration{&first, &again} {
			g, took, err := s.startDev(ctx, name)
			if err != nil {
				return err
			}
			*into = append(*into, took)
			if into == &again {
				processor, err := processorTime(g.pid())
				if err != nil {
					return err
				}
				used = append(used, processor)
			}
			if _, err := g.end(ctx); err != nil {
				return g.failure(err)
			}
		}
	}
	return s.report.add(
		measured("start", ms(median(again)), "ms").within(ms(startBudget)),
		measured("start/processor", ms(median(used)), "ms"),
		measured("start/first", ms(median(first)), "ms").beside(ms(median(keys))).within(ms(startBudget)),
	)
}

// threeKeys makes three RSA-2048 keys at once.
func threeKeys() (time.Duration, error) {
	begun := time.Now()
	errs := make([]error, 3)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { _, errs[i] = rsa.GenerateKey(rand.Reader, 2048) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return 0, fmt.Errorf("making a key: %w", err)
		}
	}
	return time.Since(begun), nil
}

// globalMemory measures what an empty global occupies, as it runs: nothing is given
// back first.
func globalMemory(ctx context.Context, s *scope) error {
	g, _, err := s.startDev(ctx, "global")
	if err != nil {
		return err
	}
	wait(ctx, time.Duration(s.pick(10, 1))*time.Second)
	bytes, err := anonymousMemory(g.pid())
	if err != nil {
		return err
	}
	files, err := openFiles(g.pid())
	if err != nil {
		return err
	}
	return s.report.add(
		measured("global-memory", bytes/1e6, "MB").within(memoryBudget/1e6),
		measured("global-memory/descriptors", float64(files), "files"),
	)
}
