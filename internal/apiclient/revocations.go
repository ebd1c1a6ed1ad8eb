package apiclient

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// Bulk is a list of ids to revoke, or to withdraw, as text.
type Bulk struct {
	Kind, Mesh, Reason string
	Withdraw, Compare  bool
	// IDs are one a line or separated by commas.
	IDs *Upload
}

// RevokeBulk sends a list of ids. All of it takes effect at once, or nothing does.
func (g *Global) RevokeBulk(ctx context.Context, b Bulk) (apitypes.RevokeResult, error) {
	query := url.Values{"kind": {b.Kind}}
	for name, value := range map[string]string{"mesh": b.Mesh, "reason": b.Reason} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if b.Withdraw {
		query.Set("withdraw", "true")
	}
	if b.Compare {
		query.Set("compare", "true")
	}
	var into apitypes.RevokeResult
	err := g.c.do(ctx, call{
		method: http.MethodPost, path: []string{"v1", "revocations", "bulk"}, query: query,
		upload: b.IDs, into: &into, changes: true,
	})
	return into, err
}

// Withdraw takes ids off a list: their tokens are accepted again.
func (g *Global) Withdraw(ctx context.Context, r apitypes.WithdrawRequest) (apitypes.WithdrawResult, error) {
	return change[apitypes.WithdrawResult](ctx, g.c, r, "v1", "revocations", "withdraw")
}

// CutOff refuses everything that was issued before a time.
func (g *Global) CutOff(ctx context.Context, r apitypes.CutOffRequest) (apitypes.CutOffResult, error) {
	return change[apitypes.CutOffResult](ctx, g.c, r, "v1", "cut-offs")
}

// WithdrawCutOff takes a cut-off back.
func (g *Global) WithdrawCutOff(ctx context.Context, r apitypes.CutOffRequest) (apitypes.CutOffResult, error) {
	return change[apitypes.CutOffResult](ctx, g.c, r, "v1", "cut-offs", "withdraw")
}

// CutOffs lists the cut-offs.
func (g *Global) CutOffs(ctx context.Context) ([]apitypes.CutOff, error) {
	return list[apitypes.CutOff](ctx, g.c, "v1", "cut-offs")
}

// RevocationLists tells how many ids of each kind and mesh are revoked.
func (g *Global) RevocationLists(ctx context.Context) ([]apitypes.RevocationList, error) {
	return list[apitypes.RevocationList](ctx, g.c, "v1", "revocation-lists")
}

// RevocationQuery picks revocations of a kind and mesh.
type RevocationQuery struct {
	Kind, Mesh string
	// ID is a beginning of the id, By the whole name, Reason a part; Since the
	// earliest time of the revocation. Empty ones pick all.
	ID, By, Reason string
	Since          time.Time
	// After continues behind an id. Limit is how many are wanted.
	After string
	Limit int
}

func (q RevocationQuery) values(limit int) url.Values {
	v := url.Values{"kind": {q.Kind}, "limit": {strconv.Itoa(limit)}}
	for name, value := range map[string]string{"mesh": q.Mesh, "id": q.ID, "by": q.By, "reason": q.Reason, "after": q.After} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.UTC().Format(time.RFC3339))
	}
	return v
}

// Revocations returns the revocations that the query picks, in the order of ids,
// how many there are on the list, and behind which id there are more ("": none).
func (g *Global) Revocations(ctx context.Context, q RevocationQuery) (items []apitypes.Revocation, total int, more string, err error) {
	items = []apitypes.Revocation{}
	for range maxPages {
		var page apitypes.List[apitypes.Revocation]
		query := q.values(min(q.Limit-len(items), apitypes.MaxPage))
		if err := g.c.do(ctx, call{method: http.MethodGet, path: []string{"v1", "revocations"}, query: query, into: &page}); err != nil {
			return nil, 0, "", err
		}
		items, total = append(items, page.Items...), page.Total
		if page.Next == nil || *page.Next == "" {
			return items, total, "", nil
		}
		next, err := url.Parse(*page.Next)
		if err != nil || next.Query().Get("after") <= q.After {
			break
		}
		if q.After = next.Query().Get("after"); len(items) >= q.Limit {
			return items, total, q.After, nil
		}
	}
	return nil, 0, "", g.c.notOurs(federation.Errorf(federation.Internal, "the list of revocations at %s has no end", g.c.target))
}
