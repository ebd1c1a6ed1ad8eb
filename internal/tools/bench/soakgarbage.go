package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// greed is over how many connections a flood asks at once.
const greed = 8

// verified is what a client of valid tokens had in a kind of stretch, and what was
// used meanwhile.
type verified struct {
	took             []time.Duration
	wall             time.Duration
	own, zone, flood time.Duration // processor time; own is this client's
	flooded          int64         // questions of the flood that were answered
}

func (v *verified) rate() float64 { return float64(len(v.took)) / v.wall.Seconds() }

// garbage has one client ask the real zone about a valid token again and again:
// alone, beside a client that floods the zone with the same valid token, and beside
// one that floods it with garbage, as fast as it can over as many connections, turn
// by turn. Garbage may slow the first client down by no more than its share of the
// processor time that both clients and the zone use: what the flooding client does,
// and the zone beyond what the valid answers take alone. Other work on the machine is
// thus in neither. The valid flood shows what is due to greed.
func (k *soaking) garbage(ctx context.Context) ([]measurement, error) {
	rounds, length := k.pick(5, 2), 3*time.Second
	if k.quick {
		length = 500 * time.Millisecond
	}
	f, err := k.role("flood", "flood")
	if err != nil {
		return nil, err
	}
	defer f.kill() // and with it its connections: the zone is weighed next
	var alone, valid, garbage verified
	for range rounds {
		if err := k.verify(ctx, &alone, f, nil, length); err != nil {
			return nil, err
		}
		start := floodStart{ZoneDir: k.checks.zone.dir, Connections: greed, Question: k.checks.question}
		if err := k.verify(ctx, &valid, f, &start, length); err != nil {
			return nil, fmt.Errorf("beside a flood of valid tokens: %w", err)
		}
		start.Garbage = true
		if err := k.verify(ctx, &garbage, f, &start, length); err != nil {
			return nil, fmt.Errorf("beside a flood of garbage: %w", err)
		}
	}
	if garbage.flooded == 0 || valid.flooded == 0 {
		return nil, fmt.Errorf("the floods were none: %d tokens of garbage, %d valid ones", garbage.flooded, valid.flooded)
	}
	one := alone.zone / time.Duration(len(alone.took))
	share := func(v verified) float64 {
		spent := v.flood + v.zone - one*time.Duration(len(v.took))
		return 100 * float64(spent) / float64(v.own+v.zone+v.flood)
	}
	slower := func(v verified) float64 { return 100 * (1 - v.rate()/alone.rate()) }
	return []measurement{
		measured("soak/garbage/slower", slower(garbage), "%").beside(share(garbage)).times(1),
		measured("soak/garbage/slower-by-valid", slower(valid), "%").beside(share(valid)),
		measured("soak/garbage/verify", ms(median(garbage.took))*1000, "µs").beside(ms(median(valid.took)) * 1000),
		measured("soak/garbage/verify-alone", ms(median(alone.took))*1000, "µs"),
		measured("soak/garbage/rate", float64(garbage.flooded)/garbage.wall.Seconds(), "tokens/s").beside(float64(valid.flooded) / valid.wall.Seconds()),
	}, nil
}

// verify asks about a valid token for so long, without a pause, beside a flood or,
// where start is nil, alone.
func (k *soaking) verify(ctx context.Context, v *verified, f *child, start *floodStart, length time.Duration) error {
	if start != nil {
		if _, err := ask[none](ctx, f, "start", start); err != nil {
			return err
		}
	}
	used := meter{k.checks.zone.process, f.process}
	before, err := used.read()
	if err != nil {
		return err
	}
	ownBefore, err := processorTime(os.Getpid())
	if err != nil {
		return err
	}
	begun := time.Now()
	for now := begun; now.Sub(begun) < length; {
		if _, err := k.checks.zone.proxies.Authenticate(ctx, k.checks.question); err != nil {
			return k.checks.zone.failure(fmt.Errorf("the zone refused a good token: %w", err))
		}
		last := now
		now = time.Now()
		v.took = append(v.took, now.Sub(last))
	}
	v.wall += time.Since(begun)
	after, err := used.read()
	if err != nil {
		return err
	}
	own, err := processorTime(os.Getpid())
	if err != nil {
		return err
	}
	v.own += own - ownBefore
	v.zone, v.flood = v.zone+after[0]-before[0], v.flood+after[1]-before[1]
	if start == nil {
		return nil
	}
	n, err := ask[int64](ctx, f, "stop", none{})
	v.flooded += n
	return err
}
