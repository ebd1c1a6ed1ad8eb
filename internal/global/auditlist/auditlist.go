// Package auditlist reads the audit logs of all members of a cluster as one list: what was
// done and who was refused, through any of them, newest first. Each member's log is its
// own file, see package audit; nothing is copied between them, so the list is put together
// when somebody asks for it, and says whose part is missing.
package auditlist

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/global/audit"
	"github.com/meridiankds/meridian/internal/global/paging"
)

const (
	// patience is how long another member may take to tell its part.
	patience = 3 * time.Second
	// maxCursor bounds the text that says where a page begins, maxMembers the members in it.
	maxCursor  = 4 << 10
	maxMembers = 64
	// maxFilter bounds the text of a filter.
	maxFilter = 200
)

// cursor says up to where each member's records were shown: below which number the
// rest is. 0 means that there is none.
type cursor map[string]uint64

// Logs are the audit logs of a cluster.
type Logs struct {
	// Members returns the ids of all members, Self that of this one.
	Members func() []string
	Self    string
	Own     *audit.Log
	// Of asks another member for its part; nil: there is no other.
	Of     func(ctx context.Context, member string, q audit.Query) (audit.Page, error)
	Logger *slog.Logger
}

// List answers a query of an address. A member that does not answer is named: its part
// comes when it is back. next is the query of what was not shown, nil where all was.
func (l *Logs) List(ctx context.Context, v url.Values) (list apitypes.Audit, next url.Values, err error) {
	query, from, err := parse(v)
	if err != nil {
		return list, nil, err
	}
	parts, silent := l.parts(ctx, query, from)
	list = merge(parts, query.Limit)
	list.Silent = silent
	for _, p := range parts {
		list.Damaged += p.page.Damaged
		if since := p.page.Since; !since.IsZero() && (list.Since == nil || clock.Earlier(*list.Since, since)) {
			list.Since = &since
		}
		if began := p.page.Began; !began.IsZero() && (list.Began == nil || clock.Earlier(began, *list.Began)) {
			list.Began = &began
		}
	}
	if before := rest(parts, from, silent); before != "" {
		next = maps.Clone(v)
		next.Set("before", before)
	}
	return list, next, nil
}

// part is what one member told.
type part struct {
	member string
	page   audit.Page
	shown  int // how many of its records are in the answer
}

// parts asks every member for its next records, each for a whole page.
func (l *Logs) parts(ctx context.Context, q audit.Query, from cursor) (parts []*part, silent []string) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var mu sync.Mutex
	var wait sync.WaitGroup
	silent = []string{}
	for _, member := range l.Members() {
		mine := q
		before, known := from[member]
		if known && before == 0 {
			continue // all of it was shown
		}
		mine.Before = before
		wait.Go(func() {
			page, err := l.of(ctx, member, mine)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				l.Logger.Info("a member does not tell its part of the audit log", "member", member, "error", err)
				silent = append(silent, member)
				return
			}
			parts = append(parts, &part{member: member, page: page})
		})
	}
	wait.Wait()
	slices.Sort(silent)
	return parts, silent
}

func (l *Logs) of(ctx context.Context, member string, q audit.Query) (audit.Page, error) {
	if member == l.Self {
		return l.Own.Read(q)
	}
	if l.Of == nil {
		return audit.Page{}, federation.Errorf(federation.Unavailable, "the member cannot be asked")
	}
	return l.Of(ctx, member, q)
}

// merge puts the members' records in the order of their times, as far as all members
// have told theirs. Of one member the order is that of its numbers, whatever its clock
// did.
func merge(parts []*part, limit int) apitypes.Audit {
	list := apitypes.Audit{Items: []apitypes.AuditRecord{}}
	for len(list.Items) < limit {
		var newest *part
		for _, p := range parts {
			if p.shown == len(p.page.Records) {
				if p.page.Next != 0 {
					return list // what comes next may be this member's
				}
				continue
			}
			if newest == nil || clock.Earlier(newest.page.Records[newest.shown].Time, p.page.Records[p.shown].Time) {
				newest = p
			}
		}
		if newest == nil {
			return list
		}
		r := newest.page.Records[newest.shown]
		newest.shown++
		list.Items = append(list.Items, recordJSON(newest.member, r))
	}
	return list
}

// rest is the cursor of what was not shown, "" where all was. A silent member stays
// where it was.
func rest(parts []*part, from cursor, silent []string) string {
	next, more := cursor{}, false
	for member, before := range from {
		next[member] = before
	}
	for _, p := range parts {
		switch {
		case p.shown < len(p.page.Records):
			// Everything from the first record that was not shown is left.
			next[p.member] = p.page.Records[p.shown].Seq + 1
		default:
			next[p.member] = p.page.Next
		}
		more = more || next[p.member] != 0
	}
	for _, member := range silent {
		if before, known := next[member]; known {
			more = more || before != 0
		}
	}
	if !more {
		return ""
	}
	text, err := json.Marshal(next)
	if err != nil {
		return "" // cannot happen: names and numbers
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func parse(v url.Values) (q audit.Query, from cursor, err error) {
	if q.Limit, err = paging.Int(v, "size", apitypes.DefaultPage, 1, audit.MaxPage); err != nil {
		return q, nil, err
	}
	text := func(name string) string {
		value := v.Get(name)
		if len(v[name]) > 1 || len(value) > maxFilter {
			err = federation.InvalidField(name, "must be given once, with %d bytes at most", maxFilter)
		}
		return value
	}
	q.User, q.RequestID, q.About = text("user"), text("requestId"), text("about")
	class, outcome, since, until := text("class"), text("outcome"), text("since"), text("until")
	if err != nil {
		return q, nil, err
	}
	if q.Class = audit.Class(class); class != "" && !slices.Contains(audit.Classes[:], q.Class) {
		return q, nil, federation.InvalidField("class", "%.40q is none: use change, revocation, issue or refusal", class)
	}
	outcomes := []audit.Outcome{audit.Begun, audit.Done, audit.Rejected, audit.Refused, audit.Failed, audit.Unknown}
	if q.Outcome = audit.Outcome(outcome); outcome != "" && !slices.Contains(outcomes, q.Outcome) {
		return q, nil, federation.InvalidField("outcome", "%.40q is none: use done, rejected, refused, failed, unknown or begun", outcome)
	}
	for _, t := range []struct {
		name, text string
		into       *time.Time
	}{{"since", since, &q.Since}, {"until", until, &q.Until}} {
		if t.text == "" {
			continue
		}
		if *t.into, err = time.Parse(time.RFC3339, t.text); err != nil {
			return q, nil, federation.InvalidField(t.name, "%.40q is not a time: write it like 2026-11-22T06:30:00Z", t.text)
		}
	}
	from, err = readCursor(v["before"])
	return q, from, err
}

func readCursor(values []string) (cursor, error) {
	if len(values) == 0 {
		return cursor{}, nil
	}
	bad := federation.InvalidField("before", "is not what a page before gave as next")
	if len(values) > 1 || len(values[0]) > maxCursor {
		return nil, bad
	}
	text, err := base64.RawURLEncoding.DecodeString(values[0])
	if err != nil {
		return nil, bad
	}
	c := cursor{}
	if err := json.Unmarshal(text, &c); err != nil || len(c) > maxMembers {
		return nil, bad
	}
	return c, nil
}

func recordJSON(member string, r audit.Record) apitypes.AuditRecord {
	return apitypes.AuditRecord{
		Time: r.Time, Member: member, Seq: r.Seq, Class: string(r.Class), User: r.User, Via: r.Via, Remote: r.Remote,
		Action: r.Action, About: r.About, RequestID: r.RequestID, Outcome: string(r.Outcome), Status: r.Status,
		Reason: r.Reason, Detail: r.Detail, Revision: r.Revision, Suppressed: r.Suppressed,
	}
}
