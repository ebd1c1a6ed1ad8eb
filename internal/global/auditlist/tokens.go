package auditlist

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/global/audit"
)

// Token is a token that some member issued.
type Token struct{ ID, Kind, Mesh string }

// Issued is what the logs know of some tokens.
type Issued struct {
	Tokens []Token
	// Since is from when on the logs are complete; zero where nothing has been dropped.
	Since time.Time
	// Silent are members that did not answer in time: what they issued is missing.
	Silent []string
}

// Issued finds the tokens with the given ids, and those that near resembles, see
// [audit.Resembles]. A member whose log is long tells what it found in time.
func (l *Logs) Issued(ctx context.Context, ids, near []string) (found Issued) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, member := range l.Members() {
		wait.Go(func() {
			tokens, since, err := l.issuedBy(ctx, member, audit.Query{Class: audit.Issue, Tokens: ids, Near: near, Limit: audit.MaxPage})
			mu.Lock()
			defer mu.Unlock()
			found.Tokens = append(found.Tokens, tokens...)
			found.Since = clock.Last(found.Since, since)
			if err != nil {
				l.Logger.Info("a member does not tell its part of the audit log", "member", member, "error", err)
				found.Silent = append(found.Silent, member)
			}
		})
	}
	wait.Wait()
	slices.Sort(found.Silent)
	return found
}

// issuedBy is the part of one member. A log that is read to its end is read at 32 MiB a page.
func (l *Logs) issuedBy(ctx context.Context, member string, q audit.Query) (tokens []Token, since time.Time, err error) {
	for {
		page, err := l.of(ctx, member, q)
		if err != nil {
			return tokens, since, err
		}
		if q.Before == 0 {
			since = page.Since
		}
		for _, r := range page.Records {
			tokens = append(tokens, Token{ID: r.About["jti"], Kind: r.About["kind"], Mesh: r.About["mesh"]})
		}
		if page.Next == 0 || ctx.Err() != nil {
			return tokens, since, ctx.Err()
		}
		q.Before = page.Next
	}
}
