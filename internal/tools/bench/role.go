package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// A role is this program as a child: it answers requests on its standard input,
// one line of JSON each, and ends when that does.
//
//	request  {"method": "connect", "in": …}
//	answer   {"out": …} or {"error": "…"}
type request struct {
	Method string          `json:"method"`
	In     json.RawMessage `json:"in,omitempty"`
}

type answer struct {
	Out   json.RawMessage `json:"out,omitempty"`
	Error string          `json:"error,omitempty"`
}

// methods is what a role answers.
type methods map[string]func(ctx context.Context, in json.RawMessage) (any, error)

// roles are made anew in the child; close gives back what a role holds.
var roles = map[string]func() (m methods, close func()){
	"raft":         newRaftRole,
	"global":       newGlobalRole,
	"zones":        newZonesRole,
	"bareserver":   newBareServerRole,
	"bareclients":  newBareClientsRole,
	"etcdwatchers": newEtcdWatchersRole,
	"flood":        newFloodRole,
	"attack":       newAttackRole,
	"copy":         newCopyRole,
}

// method makes a method out of a function with types.
func method[In, Out any](f func(ctx context.Context, in In) (Out, error)) func(context.Context, json.RawMessage) (any, error) {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var in In
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &in); err != nil {
				return nil, fmt.Errorf("reading the request: %w", err)
			}
		}
		return f(ctx, in)
	}
}

type none struct{}

// asMany is for a child that stands for many processes. Each of them would hardly
// ever collect its garbage; one collector that walks the stacks of a thousand of them
// again and again would be load of the bench's own making. It is set for the zones and
// for the clients of the baseline alike, and for no global or server.
func asMany() { debug.SetGCPercent(400) }

// usage is what a role says about its own process.
type usage struct {
	Heap       uint64 `json:"heap"` // bytes of objects that live
	Goroutines int    `json:"goroutines"`
}

// returnFree gives back to the system what is free, so that the resident memory is
// what the process needs.
func returnFree(context.Context, none) (usage, error) {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{m.HeapAlloc, runtime.NumGoroutine()}, nil
}

// serveRole answers until in ends.
func serveRole(ctx context.Context, name string, in io.Reader, out io.Writer) error {
	newRole, ok := roles[name]
	if !ok {
		return fmt.Errorf("there is no role %q", name)
	}
	m, closeRole := newRole()
	defer closeRole()
	m["free"], m["profile"] = method(returnFree), method(takeProfile)
	requests := json.NewDecoder(bufio.NewReader(in))
	answers := json.NewEncoder(out)
	for {
		var q request
		if err := requests.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading a request: %w", err)
		}
		var a answer
		if f := m[q.Method]; f == nil {
			a.Error = fmt.Sprintf("role %s has no method %q", name, q.Method)
		} else if result, err := f(ctx, q.In); err != nil {
			a.Error = err.Error()
		} else if a.Out, err = json.Marshal(result); err != nil {
			a.Error = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			return fmt.Errorf("answering: %w", err)
		}
	}
}

// child is a role that runs.
type child struct {
	*process
	mu  sync.Mutex
	in  *json.Encoder
	out *json.Decoder
}

// role starts this program as a child.
func (s *scope) role(role, name string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	cmd := exec.Command(self, "role", role)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = outWrite
	p, err := s.start(name, cmd)
	outWrite.Close()
	if err != nil {
		outRead.Close()
		return nil, err
	}
	s.onClose(func() { outRead.Close() })
	s.onClose(func() { // before the kill: it may tidy up
		in.Close()
		select {
		case <-p.done:
		case <-time.After(5 * time.Second):
		}
	})
	return &child{process: p, in: json.NewEncoder(in), out: json.NewDecoder(bufio.NewReader(outRead))}, nil
}

// ask calls a method of the role. A call whose context ends leaves the child of no
// further use.
func ask[Out any](ctx context.Context, c *child, method string, in any) (out Out, err error) {
	type result struct {
		a   answer
		err error
	}
	done := make(chan result, 1)
	go func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		var r result
		raw, err := json.Marshal(in)
		if err == nil {
			err = c.in.Encode(request{method, raw})
		}
		if r.err = err; err == nil {
			r.err = c.out.Decode(&r.a)
		}
		done <- r
	}()
	select {
	case r := <-done:
		switch {
		case r.err != nil:
			return out, c.failure(fmt.Errorf("asking %s to %s: %w", c.name, method, r.err))
		case r.a.Error != "":
			return out, c.failure(fmt.Errorf("%s: %s: %s", c.name, method, r.a.Error))
		}
		return out, json.Unmarshal(r.a.Out, &out)
	case <-ctx.Done():
		c.kill() // ends the read too
		<-done
		return out, c.failure(fmt.Errorf("asking %s to %s: %w", c.name, method, context.Cause(ctx)))
	}
}
