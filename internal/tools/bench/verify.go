package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/keysync"
)

// Budgets of verifying.
const (
	coldFactor    = 1.25 // of one raw RSA-2048 verification
	warmBudget    = time.Microsecond
	warmAllocs    = 2
	revokedFactor = 1.05 // of the same with an empty list
	idBudget      = 64   // bytes of anonymous memory
)

// many is the long list of revoked ids.
const many = 1_000_000

// keyPair is a signing key of ours and the same as the standard library has it.
type keyPair struct {
	signing *issue.SigningKey
	raw     *rsa.PrivateKey
}

func newKeyPair() (keyPair, error) {
	raw, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return keyPair{}, fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(raw)
	if err != nil {
		return keyPair{}, fmt.Errorf("encoding a key: %w", err)
	}
	signing, err := issue.Import(issue.Ref{Kind: cptoken.Zone, Serial: 1}, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return keyPair{signing, raw}, err
}

// holder is a zone's copy with a key and a list, as a zone keeps it.
type holder struct {
	store *keysync.Store
	rev   federation.Revision
}

// newHolder opens a copy in the scope's folder and gives it full state.
func (s *scope) newHolder(name string, key keyPair, ids int) (*holder, error) {
	store, err := keysync.Open(filepath.Join(s.dir, name, "zone.db"), keysync.Options{Zone: "west"})
	if err != nil {
		return nil, err
	}
	s.onClose(func() { _ = store.Close() })
	h := &holder{store: store, rev: federation.Revision{History: federation.History{ID: "0123456789abcdef", Created: 1}, Index: 10}}
	return h, h.fill(key, ids)
}

// partRuns is how many runs of ids one part has.
const partRuns = 8

func (h *holder) fill(key keyPair, ids int) error {
	public, err := key.signing.Public(cptoken.Active)
	if err != nil {
		return err
	}
	part := cptoken.Part{Cluster: agent, To: h.rev, Full: true, Changes: []cptoken.Change{{Index: 2, Key: public}}}
	for left := ids; ; {
		for range partRuns {
			run := &cptoken.RevokedRun{Kind: cptoken.Zone}
			for ; left > 0 && len(run.IDs) < cptoken.MaxRun; left-- {
				run.IDs = append(run.IDs, cptoken.RevokedID{ID: uuid.NewString()})
			}
			if len(run.IDs) > 0 {
				part.Changes = append(part.Changes, cptoken.Change{Index: 5, Revoked: run})
			}
		}
		part.Last = left == 0
		if err := h.store.Apply(context.Background(), part); err != nil {
			return err
		}
		if part.Last {
			break
		}
		part.Number, part.Changes = part.Number+1, nil
	}
	if got := h.store.View().Revocations(); got != ids {
		return fmt.Errorf("the copy has %d revoked ids, want %d", got, ids)
	}
	return nil
}

// revoke takes one more id onto the list.
func (h *holder) revoke(id string) error {
	part := cptoken.Part{Cluster: agent, From: h.rev, To: h.rev, Last: true}
	part.To.Index++
	part.Changes = []cptoken.Change{{Index: part.To.Index, Revoked: &cptoken.RevokedRun{Kind: cptoken.Zone, IDs: []cptoken.RevokedID{{ID: id}}}}}
	h.rev = part.To
	return h.store.Apply(context.Background(), part)
}

// shown is tokens, and what the standard library needs to verify their signatures.
type shown struct {
	tokens []string
	ids    []string
	inputs [][]byte
	sigs   [][]byte
	key    *rsa.PublicKey
}

func newTokens(key keyPair, n int) (*shown, error) {
	t := &shown{key: &key.raw.PublicKey}
	for range n {
		raw, claims, err := key.signing.Issue(cptoken.Claims{Kind: cptoken.Zone, Zone: "west", Scope: []cptoken.Scope{cptoken.ScopeEgress}}, time.Hour, time.Now())
		if err != nil {
			return nil, err
		}
		parsed, err := cptoken.Parse(raw)
		if err != nil {
			return nil, err
		}
		t.tokens, t.ids = append(t.tokens, raw), append(t.ids, claims.ID)
		t.inputs, t.sigs = append(t.inputs, []byte(parsed.SigningInput())), append(t.sigs, parsed.Signature())
	}
	return t, nil
}

// raw verifies a signature and nothing else.
func (t *shown) raw(i int) error {
	i %= len(t.tokens)
	sum := sha256.Sum256(t.inputs[i])
	return rsa.VerifyPKCS1v15(t.key, crypto.SHA256, sum[:], t.sigs[i])
}

// verification is a verifier with a copy.
type verification struct {
	*shown
	v *cptoken.Verifier
	h *holder
}

func (v verification) verify(i int) error {
	_, err := v.v.Verify(v.h.store.View(), cptoken.Zone, v.tokens[i%len(v.tokens)])
	return err
}

// prepare makes a key, tokens, and a copy for each number of revoked ids.
func (s *scope) verification(cacheBytes int, ids ...int) ([]verification, error) {
	key, err := newKeyPair()
	if err != nil {
		return nil, err
	}
	tokens, err := newTokens(key, s.pick(256, 16))
	if err != nil {
		return nil, err
	}
	var all []verification
	for i, n := range ids {
		h, err := s.newHolder(fmt.Sprint("copy-", i), key, n)
		if err != nil {
			return nil, err
		}
		all = append(all, verification{tokens, cptoken.NewVerifier(cptoken.VerifierOptions{CacheBytes: cacheBytes}), h})
	}
	return all, nil
}

// alternately runs functions turn by turn, batch calls of each at a time, and
// returns for each the time of a batch that one of ten did not exceed: what it
// takes where nothing else interrupts it.
func alternately(turns, batch int, fs ...func(i int) error) ([]time.Duration, error) {
	all := make([][]time.Duration, len(fs))
	for turn := range turns {
		for f, call := range fs {
			begun := time.Now()
			for i := range batch {
				if err := call(turn*batch + i); err != nil {
					return nil, err
				}
			}
			all[f] = append(all[f], time.Since(begun))
		}
	}
	each := make([]time.Duration, len(fs))
	for f := range fs {
		each[f] = percentile(all[f], 10)
	}
	return each, nil
}

// perCall is a duration of a batch as nanoseconds of one call.
func perCall(d time.Duration, batch int) float64 { return float64(d) / float64(batch) }

// verifyCold verifies tokens that are seen for the first time.
func verifyCold(_ context.Context, s *scope) error {
	all, err := s.verification(-1, 0)
	if err != nil {
		return err
	}
	v := all[0]
	took, err := alternately(s.pick(5000, 50), 1, v.verify, v.raw)
	if err != nil {
		return err
	}
	if err := v.refuses(0); err != nil {
		return err
	}
	return s.report.add(measured("verify-cold", perCall(took[0], 1)/1000, "µs").beside(perCall(took[1], 1) / 1000).times(coldFactor))
}

// verifyWarm verifies them again.
func verifyWarm(_ context.Context, s *scope) error {
	all, err := s.verification(0, 0)
	if err != nil {
		return err
	}
	v := all[0]
	const batch = 100
	if _, err := alternately(10, batch, v.verify); err != nil {
		return err
	}
	took, err := alternately(s.pick(1000, 20), batch, v.verify, v.raw)
	if err != nil {
		return err
	}
	allocs := testing.AllocsPerRun(1000, func() { err = errors.Join(err, v.verify(0)) })
	if err != nil {
		return err
	}
	if err := v.refuses(0); err != nil {
		return err
	}
	return s.report.add(
		measured("verify-warm", perCall(took[0], batch), "ns").beside(perCall(took[1], batch)).within(float64(warmBudget)),
		measured("verify-warm/allocations", allocs, "allocs").within(warmAllocs),
	)
}

// refuses checks that a token that was accepted is refused as soon as the copy has
// it revoked, that the next one is not, and that a changed one never is accepted.
func (v verification) refuses(i int) error {
	if err := v.verify(i); err != nil {
		return err
	}
	if err := v.h.revoke(v.ids[i]); err != nil {
		return err
	}
	var refusal *cptoken.Refusal
	if err := v.verify(i); !errors.As(err, &refusal) || refusal.Reason != cptoken.Revoked {
		return fmt.Errorf("a revoked token came to: %w", err)
	}
	if err := v.verify(i + 1); err != nil {
		return err
	}
	changed := []byte(v.tokens[i+1])
	at := len(changed) - 100
	changed[at] = 'A' + (changed[at]-'A'+1)%26
	if _, err := v.v.Verify(v.h.store.View(), cptoken.Zone, string(changed)); !errors.As(err, &refusal) || refusal.Reason != cptoken.BadSignature {
		return fmt.Errorf("a changed token came to: %w", err)
	}
	return nil
}

// verifyRevoked verifies with a long list and with an empty one.
func verifyRevoked(_ context.Context, s *scope) error {
	n := s.pick(many, 20_000)
	cold, err := s.verification(-1, n, 0)
	if err != nil {
		return err
	}
	took, err := alternately(s.pick(5000, 50), 1, cold[0].verify, cold[1].verify)
	if err != nil {
		return err
	}
	const batch = 100
	warm := []verification{cold[0], cold[1]}
	for i := range warm {
		warm[i].v = cptoken.NewVerifier(cptoken.VerifierOptions{})
	}
	again, err := alternately(s.pick(3000, 50), batch, warm[0].verify, warm[1].verify)
	if err != nil {
		return err
	}
	if err := cold[0].refuses(0); err != nil {
		return err
	}
	return s.report.add(
		measured("verify-revoked-1m", perCall(took[0], 1)/1000, "µs").beside(perCall(took[1], 1)/1000).times(revokedFactor),
		measured("verify-revoked-1m/warm", perCall(again[0], batch), "ns").beside(perCall(again[1], batch)),
	)
}

// newCopyRole is a zone's copy alone in a child, to be weighed.
func newCopyRole() (methods, func()) {
	var open *scope
	var h *holder
	m := methods{
		"open": method(func(_ context.Context, dir string) (none, error) {
			key, err := newKeyPair()
			if err != nil {
				return none{}, err
			}
			open = &scope{bench: &bench{}, dir: dir}
			h, err = open.newHolder("copy", key, 0)
			return none{}, err
		}),
		"fill": method(func(_ context.Context, n int) (none, error) {
			key, err := newKeyPair()
			if err != nil {
				return none{}, err
			}
			h.rev.Index++
			return none{}, h.fill(key, n)
		}),
	}
	return m, func() {
		if open != nil {
			open.close()
		}
	}
}

// revocationMemory weighs a zone's copy with a long list.
func revocationMemory(ctx context.Context, s *scope) error {
	n := s.pick(many, 50_000)
	c, err := s.role("copy", "copy")
	if err != nil {
		return err
	}
	if _, err := ask[none](ctx, c, "open", s.dir); err != nil {
		return err
	}
	before, err := c.weigh(ctx)
	if err != nil {
		return err
	}
	if _, err := ask[none](ctx, c, "fill", n); err != nil {
		return err
	}
	after, err := c.weigh(ctx)
	if err != nil {
		return err
	}
	m := measured("revocation-memory", (after-before)/float64(n), "B/id")
	if !s.quick { // a short list is lost in what the process needs anyway
		m = m.within(idBudget)
	}
	return s.report.add(m)
}

// weigh returns the anonymous memory of a child once it has given back what is free.
func (c *child) weigh(ctx context.Context) (float64, error) {
	if _, err := ask[usage](ctx, c, "free", none{}); err != nil {
		return 0, err
	}
	return anonymousMemory(c.pid())
}
