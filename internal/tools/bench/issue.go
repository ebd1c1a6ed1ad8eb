package main

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// issueFactor is how many times the processor of one raw RSA-2048 signature a token
// over HTTP may take at the global.
const issueFactor = 1.15

// issueGo signs in this process, turn by turn with a raw signature.
func issueGo(_ context.Context, s *scope) error {
	key, err := newKeyPair()
	if err != nil {
		return err
	}
	var last string
	took, err := alternately(s.pick(1000, 10), 1,
		func(int) error {
			last, _, err = key.signing.Issue(cptoken.Claims{Kind: cptoken.Zone, Zone: "west"}, time.Hour, time.Now())
			return err
		}, key.sign)
	if err != nil {
		return err
	}
	public, err := key.signing.Public(cptoken.Active)
	if err != nil {
		return err
	}
	if err := verifies(public, last); err != nil {
		return err
	}
	return s.report.add(measured("issue-go", perCall(took[0], 1)/1000, "µs").beside(perCall(took[1], 1) / 1000))
}

// sign is a raw signature.
func (k keyPair) sign(i int) error {
	sum := sha256.Sum256([]byte{byte(i)})
	_, err := rsa.SignPKCS1v15(nil, k.raw, crypto.SHA256, sum[:])
	return err
}

// signMany makes n raw signatures, as many at a time as tokens are asked for: two
// that share a core slow each other.
func (k keyPair) signMany(ctx context.Context, callers, n int) error {
	_, err := issueMany(ctx, callers, n, func() (string, error) { return "", k.sign(n) })
	return err
}

// oneKey is a view that knows one key.
type oneKey struct{ key *cptoken.PublicKey }

func (o oneKey) Key(id cptoken.KeyID) *cptoken.PublicKey {
	if id == o.key.ID {
		return o.key
	}
	return nil
}
func (oneKey) Revoked(cptoken.Kind, string, string) bool     { return false }
func (oneKey) CutOff(cptoken.Kind, string, string) time.Time { return time.Time{} }

func (oneKey) Pruned() (none time.Time) { return none }

func verifies(key *cptoken.PublicKey, token string) error {
	c, err := cptoken.NewVerifier(cptoken.VerifierOptions{}).Verify(oneKey{key}, cptoken.Zone, token)
	if err == nil && c.Zone != "west" {
		err = fmt.Errorf("the token is for zone %q", c.Zone)
	}
	return err
}

// issueCallers is how many ask for tokens at once, and fewCallers how many in the
// line beside it: the fewer, the fewer tokens share a sync of the audit log.
const (
	issueCallers = 16
	fewCallers   = 4
)

// issueHTTP asks a real global for tokens over HTTP, several at a time, and measures
// the processor time that the global spends on one. Turn by turn this process signs
// as many times and measures its own.
func issueHTTP(ctx context.Context, s *scope) error {
	g, _, err := s.startDev(ctx, "global")
	if err != nil {
		return err
	}
	profiled := g.profile(ctx, s, "issue-http")
	many, err := s.issuing(ctx, g, issueCallers)
	if err != nil {
		return err
	}
	if err := profiled(); err != nil {
		return err
	}
	few, err := s.issuing(ctx, g, fewCallers)
	if err != nil {
		return err
	}
	return s.report.add(
		measured("issue-http", many.token, "µs").beside(many.signature).times(issueFactor),
		measured("issue-http/wall", many.wall, "µs"),
		measured("issue-http/four", few.token, "µs").beside(few.signature),
		measured("issue-http/four/wall", few.wall, "µs"),
	)
}

// issued is what a token took: microseconds of the global's processor, of a raw
// signature beside it, and on the clock.
type issued struct{ token, signature, wall float64 }

func (s *scope) issuing(ctx context.Context, g *devGlobal, callers int) (issued, error) {
	api, err := apiOf(g.ends)
	if err != nil {
		return issued{}, err
	}
	key, err := newKeyPair()
	if err != nil {
		return issued{}, err
	}
	batch := s.pick(400, 20)
	var ours, raw []time.Duration
	var wall time.Duration
	seen := map[string]bool{}
	for turn := range s.pick(11, 2) {
		before, err := processorTime(g.pid())
		if err != nil {
			return issued{}, err
		}
		begun := time.Now()
		tokens, err := issueMany(ctx, callers, batch, func() (string, error) {
			issued, err := api.ZoneToken(ctx, apitypes.ZoneTokenRequest{Zone: "west", Scope: []string{"egress"}})
			return issued.Token, err
		})
		if err != nil {
			return issued{}, g.failure(err)
		}
		took := time.Since(begun)
		for _, t := range tokens {
			seen[t] = true
		}
		after, err := processorTime(g.pid())
		if err != nil {
			return issued{}, err
		}
		signed, err := ownProcessor(func() error { return key.signMany(ctx, callers, batch) })
		if err != nil {
			return issued{}, err
		}
		if turn > 0 { // the first one warms both
			ours, raw, wall = append(ours, after-before), append(raw, signed), wall+took
		}
	}
	if want := batch * s.pick(11, 2); len(seen) != want {
		return issued{}, fmt.Errorf("%d tokens are different, want %d", len(seen), want)
	}
	return issued{perCall(median(ours), batch) / 1000, perCall(median(raw), batch) / 1000, float64(wall) / float64(batch*len(ours)) / 1000}, nil
}

// issueMany makes n calls, so many at a time.
func issueMany(ctx context.Context, atOnce, n int, call func() (string, error)) ([]string, error) {
	work := make(chan struct{}, n)
	for range n {
		work <- struct{}{}
	}
	close(work)
	var mu sync.Mutex
	var tokens []string
	var failed error
	var callers sync.WaitGroup
	for range atOnce {
		callers.Go(func() {
			for range work {
				token, err := call()
				mu.Lock()
				tokens = append(tokens, token)
				if err != nil {
					failed = err
				}
				mu.Unlock()
				if err != nil || ctx.Err() != nil {
					return
				}
			}
		})
	}
	callers.Wait()
	return tokens, failed
}

// ownProcessor is the processor time that this process spends on f.
func ownProcessor(f func() error) (time.Duration, error) {
	before, err := processorTime(os.Getpid())
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := processorTime(os.Getpid())
	return after - before, err
}
