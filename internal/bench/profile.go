package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
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
