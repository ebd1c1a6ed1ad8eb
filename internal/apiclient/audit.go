package apiclient

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// AuditQuery picks records of the audit log. Empty members pick all.
type AuditQuery struct {
	User, Class, Outcome, RequestID, About string
	Since, Until                           time.Time
	// Before continues where an answer ended. Limit is how many are wanted.
	Before string
	Limit  int
}

func (q AuditQuery) values(limit int) url.Values {
	v := url.Values{"size": {strconv.Itoa(limit)}}
	for name, value := range map[string]string{"user": q.User, "class": q.Class, "outcome": q.Outcome, "requestId": q.RequestID,
		"about": q.About, "before": q.Before} {
		if value != "" {
			v.Set(name, value)
		}
	}
	for name, at := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !at.IsZero() {
			v.Set(name, at.UTC().Format(time.RFC3339))
		}
	}
	return v
}

// Audit returns the records that the query picks, newest first, and where there are
// more ("": nowhere).
func (g *Global) Audit(ctx context.Context, q AuditQuery) (all apitypes.Audit, more string, err error) {
	all = apitypes.Audit{Items: []apitypes.AuditRecord{}, Silent: []string{}}
	for range maxPages {
		var page apitypes.Audit
		query := q.values(min(q.Limit-len(all.Items), apitypes.MaxPage))
		if err := g.c.do(ctx, call{method: http.MethodGet, path: []string{"v1", "audit"}, query: query, into: &page}); err != nil {
			return all, "", err
		}
		all.Items = append(all.Items, page.Items...)
		all.Damaged = max(all.Damaged, page.Damaged)
		if all.Since == nil {
			all.Since = page.Since
		}
		if all.Began == nil {
			all.Began = page.Began
		}
		for _, member := range page.Silent {
			if !slices.Contains(all.Silent, member) {
				all.Silent = append(all.Silent, member)
			}
		}
		if page.Next == nil || *page.Next == "" {
			return all, "", nil
		}
		next, err := url.Parse(*page.Next)
		if err != nil || next.Query().Get("before") == "" || next.Query().Get("before") == q.Before {
			break
		}
		if q.Before = next.Query().Get("before"); len(all.Items) >= q.Limit {
			return all, q.Before, nil
		}
	}
	return all, "", g.c.notOurs(federation.Errorf(federation.Internal, "the audit log at %s has no end", g.c.target))
}
