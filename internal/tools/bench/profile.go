package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sync"
)

// profileIn starts a profile of the processor where Start is set, and else ends it
// and writes it to File.
type profileIn struct {
	Start bool   `json:"start"`
	File  string `json:"file"`
}

// profiled holds the profile of this process that is being taken. A process has
// one of it, as it has one profiler.
var profiled bytes.Buffer

func takeProfile(_ context.Context, in profileIn) (none, error) {
	if in.Start {
		profiled.Reset()
		return none{}, pprof.StartCPUProfile(&profiled)
	}
	pprof.StopCPUProfile()
	if err := os.WriteFile(in.File, profiled.Bytes(), 0o600); err != nil {
		return none{}, fmt.Errorf("writing the profile: %w", err)
	}
	return none{}, nil
}

// profile takes a profile of each child until stop, where --profile asks for it.
func (s *scope) profile(ctx context.Context, children ...*child) (stop func() error, err error) {
	if s.profiles == "" {
		return func() error { return nil }, nil
	}
	for _, c := range children {
		if _, err := ask[none](ctx, c, "profile", profileIn{Start: true}); err != nil {
			return nil, err
		}
	}
	return func() error {
		for _, c := range children {
			if _, err := ask[none](ctx, c, "profile", profileIn{File: filepath.Join(s.profiles, c.name+".pprof")}); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// profileSeconds is how much of a program of its own is profiled.
const profileSeconds = 3

// profile takes a profile of a program while it works, where --profile asks for it,
// and leaves it in NAME.pprof. What is returned waits until it is there.
func (g *devGlobal) profile(ctx context.Context, s *scope, name string) (wait func() error) {
	return s.profileProgram(ctx, g.ends.Diagnostics, name)
}

// profileProgram is the same for a program whose diagnostics are at an address.
func (s *scope) profileProgram(ctx context.Context, diagnostics, name string) (wait func() error) {
	if s.profiles == "" {
		return func() error { return nil }
	}
	var taken error
	var taking sync.WaitGroup
	taking.Go(func() { taken = fetchProfile(ctx, diagnostics, filepath.Join(s.profiles, name+".pprof")) })
	s.onClose(taking.Wait) // also where the row fails first
	return func() error {
		taking.Wait()
		return taken
	}
}

func fetchProfile(ctx context.Context, diagnostics, file string) error {
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", diagnostics, profileSeconds)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("taking a profile: %w", err)
	}
	defer answer.Body.Close()
	profile, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("it answers %s", answer.Status)
	}
	if err != nil {
		return fmt.Errorf("taking a profile: %w", err)
	}
	return os.WriteFile(file, profile, 0o600)
}
