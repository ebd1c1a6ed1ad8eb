package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// failoverBudget is what 95 of 100 kills of the leader must not exceed.
const failoverBudget = 1500 * time.Millisecond

// failover kills the leader of three real globals again and again, and measures
// until a write that began after the kill is accepted through another member.
// After every kill each acknowledged write of the whole run must be at every
// member. A real zone meanwhile answers a proxy's token over and over: none of its
// answers may be a refusal. The baseline is hashicorp/raft alone, three processes
// with the same timeouts whose leaders are killed turn by turn with ours.
func failover(ctx context.Context, s *scope) error {
	kills := s.pick(30, 5)
	c, err := s.startCluster(ctx, 3)
	if err != nil {
		return err
	}
	bare, err := s.startBareRaft(ctx, 3)
	if err != nil {
		return err
	}
	checks, err := c.startChecks(ctx)
	if err != nil {
		return err
	}
	f := &failures{cluster: c}
	var baseline []time.Duration
	for i := range kills {
		if err := f.kill(ctx); err != nil {
			return fmt.Errorf("kill %d: %w", i+1, err)
		}
		took, err := bare.kill(ctx)
		if err != nil {
			return fmt.Errorf("kill %d of the baseline: %w", i+1, err)
		}
		baseline = append(baseline, took)
	}
	seen := checks.stop()
	if seen.answers == 0 || seen.err != nil {
		return fmt.Errorf("the zone answered %d proxies: %w", seen.answers, seen.err)
	}
	p := func(what string, at float64) measurement {
		return measured("failover"+what, ms(percentile(f.took, at)), "ms").beside(ms(percentile(baseline, at)))
	}
	return s.report.add(
		p("", 95).within(ms(failoverBudget)), p("/p50", 50), p("/max", 100),
		measured("failover/writes-lost", float64(f.lost), "writes").within(0),
		measured("failover/zone-refusals", float64(seen.refused), "answers").within(0),
		measured("failover/zone-longest-answer", ms(seen.longest), "ms"),
	)
}

// failures is what the kills came to.
type failures struct {
	*cluster
	acknowledged []string // ids of revocations that a member accepted
	took         []time.Duration
	lost         int
}

// kill ends the leader, waits for the next accepted write, brings the member back,
// and looks for every acknowledged write at every member.
func (f *failures) kill(ctx context.Context) error {
	leader, rest, err := f.leader(ctx)
	if err != nil {
		return err
	}
	if err := f.write(ctx, leader); err != nil { // known to work before
		return err
	}
	leader.kill()
	begun := time.Now()
	if err := f.first(ctx, rest); err != nil {
		return err
	}
	f.took = append(f.took, time.Since(begun))
	if err := leader.launch(); err != nil {
		return err
	}
	if err := leader.await(ctx); err != nil {
		return err
	}
	if err := f.awaitVoters(ctx); err != nil {
		return err
	}
	return f.audit(ctx)
}

// write makes one write through a member.
func (f *failures) write(ctx context.Context, m *member) error {
	id, r := newRevocation()
	if _, err := m.api.Revoke(ctx, r); err != nil {
		return m.failure(err)
	}
	f.acknowledged = append(f.acknowledged, id)
	return nil
}

// first writes through all the members at once, each again until one accepts, as
// clients do that know several addresses.
func (f *failures) first(ctx context.Context, members []*member) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var mu sync.Mutex
	var writers sync.WaitGroup
	var accepted []string
	var last error
	for _, m := range members {
		writers.Go(func() {
			for ctx.Err() == nil {
				id, r := newRevocation()
				_, err := m.api.Revoke(ctx, r)
				mu.Lock()
				if err == nil {
					accepted = append(accepted, id)
					cancel() // what others have under way ends unknown
				} else if ctx.Err() == nil {
					last = err
				}
				mu.Unlock()
				if err != nil {
					wait(ctx, 5*time.Millisecond)
				}
			}
		})
	}
	writers.Wait()
	if len(accepted) == 0 {
		return fmt.Errorf("no write was accepted after the leader was killed: %w", errors.Join(last, ctx.Err()))
	}
	f.acknowledged = append(f.acknowledged, accepted...)
	return nil
}

// wait waits, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// audit looks for every acknowledged write at every member. A member answers from
// its own copy, which may still have to catch up.
func (f *failures) audit(ctx context.Context) error {
	for _, m := range f.members {
		missing := 0
		err := until(ctx, "acknowledged writes at "+m.name, func() (bool, error) {
			items, _, _, err := m.api.Revocations(ctx, apiclient.RevocationQuery{Kind: "zone-token", Limit: 1 << 20})
			if err != nil {
				return false, err
			}
			held := map[string]bool{}
			for _, r := range items {
				held[r.ID] = true
			}
			missing = 0
			for _, id := range f.acknowledged {
				if !held[id] {
					missing++
				}
			}
			return missing == 0, fmt.Errorf("%d of %d are missing", missing, len(f.acknowledged))
		})
		if err != nil && ctx.Err() != nil {
			return err
		}
		if err != nil {
			f.lost += missing
			return m.failure(err)
		}
	}
	return nil
}

// checks is a zone that is asked about a token without a pause.
type checks struct {
	zone     *zone
	question apitypes.AuthenticateRequest
	took     latencies
	cancel   context.CancelFunc
	done     chan struct{}
	seen     answers
}

// answers is what it said.
type answers struct {
	answers, refused int
	longest          time.Duration // of one answer
	err              error         // the first
}

// startChecks starts a real zone beside the cluster and asks it about a good token
// every few milliseconds until stop.
func (c *cluster) startChecks(ctx context.Context) (*checks, error) {
	z, err := c.startZone(ctx, "west")
	if err != nil {
		return nil, err
	}
	question, err := c.egressQuestion(ctx)
	if err != nil {
		return nil, err
	}
	err = z.accepts(ctx, question)
	if err != nil {
		return nil, z.failure(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	k := &checks{zone: z, question: question, cancel: cancel, done: make(chan struct{})}
	c.onClose(func() { k.stop() })
	go func() {
		defer close(k.done)
		for ctx.Err() == nil {
			begun := time.Now()
			_, err := z.proxies.Authenticate(ctx, question)
			if ctx.Err() != nil {
				return
			}
			k.seen.answers++
			k.seen.longest = max(k.seen.longest, time.Since(begun))
			k.took.note(begun)
			if err != nil {
				k.seen.refused++
				if k.seen.err == nil {
					k.seen.err = err
				}
			}
			wait(ctx, 10*time.Millisecond)
		}
	}()
	return k, nil
}

func (k *checks) stop() answers {
	k.cancel()
	<-k.done
	return k.seen
}
