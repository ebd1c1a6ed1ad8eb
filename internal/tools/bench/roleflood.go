package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// floodRole is a client that asks a zone about tokens as fast as it can, over
// several connections, none of which waits for another.
type floodRole struct {
	proxies []*apiclient.Proxies // one for each connection, which stay
	cancel  context.CancelFunc
	running sync.WaitGroup
	sent    atomic.Int64

	mu    sync.Mutex
	wrong error // an answer that should have been another
}

// floodStart says whom to ask what.
type floodStart struct {
	ZoneDir     string                       `json:"zoneDir"`
	Connections int                          `json:"connections"`
	Question    apitypes.AuthenticateRequest `json:"question"`
	// Garbage asks about tokens that are none instead: of half of them the zone can
	// tell at once, and of the others, which have a head and claims that were signed
	// but a random signature, only by verifying them.
	Garbage bool `json:"garbage"`
}

func newFloodRole() (methods, func()) {
	f := &floodRole{}
	return methods{
		"start": method(f.start),
		"stop": method(func(context.Context, none) (int64, error) {
			f.stop()
			return f.sent.Swap(0), f.wrong
		}),
	}, f.stop
}

func (f *floodRole) start(ctx context.Context, in floodStart) (none, error) {
	target, err := apiclient.Resolve(apiclient.ProxyPort(), apiclient.Flags{DataDir: in.ZoneDir}, os.Getenv, nil)
	if err != nil {
		return none{}, err
	}
	for len(f.proxies) < in.Connections {
		p, err := apiclient.NewProxies(target, agent)
		if err != nil {
			return none{}, err
		}
		f.proxies = append(f.proxies, p)
		if _, err := p.Authenticate(ctx, in.Question); err != nil { // connects
			return none{}, fmt.Errorf("asking about a good token: %w", err)
		}
	}
	run, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	for _, p := range f.proxies {
		f.running.Go(func() {
			if err := f.ask(run, p, in); err != nil {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.wrong = err
			}
		})
	}
	return none{}, nil
}

// ask asks until ctx ends. What was not answered, on a machine that is busy with all
// this, is not counted; a wrong answer ends it.
func (f *floodRole) ask(ctx context.Context, p *apiclient.Proxies, in floodStart) error {
	question := in.Question
	for i := 0; ctx.Err() == nil; i++ {
		if in.Garbage {
			question.Token = garbageToken(in.Question.Token, i%2 == 0)
		}
		_, err := p.Authenticate(ctx, question)
		switch refused := apiclient.Refused(err); {
		case ctx.Err() != nil:
			return nil
		case in.Garbage && err == nil:
			return fmt.Errorf("the zone accepted garbage")
		case !in.Garbage && refused:
			return fmt.Errorf("the zone refused a good token: %w", err)
		case err == nil || refused:
			f.sent.Add(1)
		}
	}
	return nil
}

// garbageToken is as long as a token of ours, and another one at each call.
func garbageToken(good string, signed bool) string {
	random := make([]byte, 256) // what an RSA-2048 signature has
	_, _ = rand.Read(random)    // it does not fail
	text := base64.RawURLEncoding.EncodeToString(random)
	if end := strings.LastIndexByte(good, '.'); signed && end >= 0 {
		return good[:end+1] + text
	}
	return text + text
}

func (f *floodRole) stop() {
	if f.cancel == nil {
		return
	}
	f.cancel()
	f.running.Wait()
	f.cancel = nil
}
