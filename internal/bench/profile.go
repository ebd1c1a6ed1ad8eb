package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
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

func profile(_ context.Context, in profileIn) (none, error) {
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
