package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/meridiankds/meridian/internal/apitypes"
	"go.etcd.io/bbolt"
)

// raftWrite makes writes one after the other at a lone global, turn by turn with
// what each cannot do without: an append to the log store, with its fsync.
func raftWrite(ctx context.Context, s *scope) error {
	g, err := s.startGlobal(ctx, "global", false)
	if err != nil {
		return err
	}
	db, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(s.dir, "bare.db"), BoltOptions: &bbolt.Options{NoFreelistSync: true}, MsgpackUseNewTimeFormat: true})
	if err != nil {
		return fmt.Errorf("opening a log: %w", err)
	}
	defer db.Close()
	entry := make([]byte, 150) // as large as the command of one revocation
	var ours, bare []time.Duration
	for i := range s.pick(500, 10) {
		c, err := g.revoke(ctx, 1)
		if err != nil {
			return err
		}
		ours = append(ours, time.Duration(c.Returned-c.Asked))
		begun := time.Now()
		if err := db.StoreLog(&raft.Log{Index: uint64(i + 1), Term: 1, Data: entry, AppendedAt: begun}); err != nil {
			return fmt.Errorf("appending: %w", err)
		}
		bare = append(bare, time.Since(begun))
	}
	if last, err := db.LastIndex(); err != nil || last != uint64(len(bare)) {
		return fmt.Errorf("the bare log ends at %d: %w", last, err)
	}
	return s.report.add(
		measured("raft-write", ms(median(ours)), "ms").beside(ms(median(bare))),
		measured("raft-write/p99", ms(percentile(ours, 99)), "ms").beside(ms(percentile(bare, 99))),
	)
}

// fillGlobal revokes n ids, in pieces as the API takes them.
func (g *global) fill(ctx context.Context, n int) error {
	for left := n; left > 0; left -= min(left, 100_000) {
		if _, err := g.revoke(ctx, min(left, 100_000)); err != nil {
			return err
		}
	}
	return nil
}

// peak follows the anonymous memory of a process.
type peak struct {
	stop chan struct{}
	done sync.WaitGroup
	max  float64
}

func follow(pid int) *peak {
	p := &peak{stop: make(chan struct{})}
	p.done.Go(func() {
		for {
			if bytes, err := anonymousMemory(pid); err == nil {
				p.max = max(p.max, bytes)
			}
			select {
			case <-p.stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	return p
}

func (p *peak) end() float64 {
	close(p.stop)
	p.done.Wait()
	return p.max
}

// snapshot1m saves the state with a long list through the API: how long it takes,
// and how much memory beyond the state's own.
func snapshot1m(ctx context.Context, s *scope) error {
	n := s.pick(many, 20_000)
	g, err := s.startGlobal(ctx, "global", false)
	if err != nil {
		return err
	}
	empty, err := g.weigh(ctx)
	if err != nil {
		return err
	}
	if err := g.fill(ctx, n); err != nil {
		return err
	}
	full, err := g.weigh(ctx)
	if err != nil {
		return err
	}
	api, err := apiOf(g.ends)
	if err != nil {
		return err
	}
	watch := follow(g.pid())
	begun := time.Now()
	body, err := api.SaveSnapshot(ctx, false)
	if err != nil {
		watch.end()
		return g.failure(err)
	}
	size, err := io.Copy(io.Discard, body)
	body.Close()
	took, most := time.Since(begun), watch.end()
	if err == nil && size < int64(16*n) {
		err = fmt.Errorf("the snapshot of %d ids has %d bytes", n, size)
	}
	if err != nil {
		return g.failure(err)
	}
	return s.report.add(
		measured("snapshot-1m", took.Seconds(), "s"),
		measured("snapshot-1m/bytes", float64(size)/float64(n), "B/id"),
		measured("snapshot-1m/memory", (most-full)/1e6, "MB"),
		measured("snapshot-1m/global-memory", (full-empty)/float64(n), "B/id"),
	)
}

// zoneStart1m starts a real zone whose copy has a long list, until it answers a
// proxy from it with the global away.
func zoneStart1m(ctx context.Context, s *scope) error {
	n := s.pick(many, 20_000)
	c, err := s.startCluster(ctx, 1)
	if err != nil {
		return err
	}
	z, question, err := c.filledZone(ctx, n)
	if err != nil {
		return err
	}
	c.members[0].kill()
	var took []time.Duration
	for range s.pick(5, 2) {
		if _, err := z.end(ctx); err != nil {
			return z.failure(err)
		}
		_ = os.Remove(filepath.Join(z.dir, "endpoints.json"))
		begun := time.Now()
		if z.process, err = z.again(); err != nil {
			return err
		}
		if err := z.await(ctx); err != nil {
			return z.failure(err)
		}
		err := z.accepts(ctx, question)
		if err != nil {
			return z.failure(err)
		}
		took = append(took, time.Since(begun))
	}
	bytes, err := anonymousMemory(z.pid())
	if err != nil {
		return err
	}
	return s.report.add(
		measured("zone-start-1m", ms(median(took)), "ms"),
		measured("zone-start-1m/memory", bytes/1e6, "MB"),
	)
}

// filledZone is a zone that holds n revoked ids, and a question that it accepts.
func (c *cluster) filledZone(ctx context.Context, n int) (*zone, apitypes.AuthenticateRequest, error) {
	var question apitypes.AuthenticateRequest
	m := c.members[0]
	if err := revokeBulk(ctx, m.api, n); err != nil {
		return nil, question, m.failure(err)
	}
	z, err := c.startZone(ctx, "west")
	if err != nil {
		return nil, question, err
	}
	if question, err = c.egressQuestion(ctx); err != nil {
		return nil, question, err
	}
	err = z.accepts(ctx, question)
	return z, question, z.failure(err)
}
