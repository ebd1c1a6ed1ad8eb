package adminapi

import (
	"context"
	"strings"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/audit"
	"github.com/meridiankds/meridian/internal/global/auditlist"
	"github.com/meridiankds/meridian/internal/global/secretname"
	"github.com/meridiankds/meridian/raftstore"
)

// An id that is mistyped or cut off is on the list like any other, and its token is accepted
// as before. That is found out here. It costs a look through the audit logs of all members,
// so it is done for who asks for it, and after the revocation, unless an id looks mistaken:
// those that are issued here are UUIDs, and no UUID is the beginning of another.

// maxOdd is how many ids of another form are looked at more closely.
const maxOdd = 100

// comparison is a revocation whose ids are held against those that are known.
type comparison struct {
	api      *API
	caller   string
	kind     cptoken.Kind
	mesh     string
	unlisted []string // the ids that the list does not have yet
	odd      []string // those of them that are of another form than ours
	named    int      // how many ids there are
	issued   auditlist.Issued
	asked    bool // the audit logs have been read
}

// compare begins a comparison, and refuses ids that are parts of known ones.
func (api *API) compare(ctx context.Context, a *act, kind cptoken.Kind, mesh string, ids []string) (*comparison, error) {
	c := &comparison{api: api, caller: a.turn(), kind: kind, mesh: mesh, named: len(ids)}
	if len(ids) > apitypes.MaxIDs {
		return c, nil
	}
	for _, id := range ids {
		if api.onList(kind, mesh, id) {
			continue
		}
		c.unlisted = append(c.unlisted, id)
		if !ordinary(id) && len(c.odd) < maxOdd {
			c.odd = append(c.odd, id)
		}
	}
	if len(c.odd) == 0 {
		return c, nil
	}
	c.read(ctx)
	for _, id := range c.odd {
		if known := c.resembling(id); len(known) > 0 {
			return c, mistakenID(id, known)
		}
	}
	return c, nil
}

// ordinary reports whether an id is of the form of those that are issued here.
func ordinary(id string) bool {
	u, err := uuid.Parse(id)
	return err == nil && u.String() == id
}

// mistakenID is the error for an id that is part of known ones.
func mistakenID(id string, known []string) error {
	e := federation.Errorf(federation.Invalid, "%.80q is not the id of a token, but part of one, and nothing was revoked", id).WithReason("part_of_id")
	if len(known) > 1 {
		return e.WithHint("%d ids begin so, one of them is %s: give the whole one", len(known), known[0])
	}
	return e.WithHint("did you mean %s? With --exactly the id is revoked as it stands", known[0])
}

// onList reports whether an id is revoked.
func (api *API) onList(kind cptoken.Kind, mesh, id string) bool {
	found := api.store.Revocations(kind, mesh, before(id), 1)
	return len(found) > 0 && found[0].ID == id
}

// read reads the audit logs, once: as many at a time as read them for other reasons.
func (c *comparison) read(ctx context.Context) {
	if c.asked || len(c.unlisted) == 0 {
		return
	}
	c.asked = true
	done, err := c.api.audits.Enter(ctx, c.caller)
	if err != nil {
		c.issued.Silent = c.api.cfg.Members()
		return
	}
	defer done()
	c.issued = c.api.logs.Issued(ctx, c.unlisted, c.odd)
}

func (c *comparison) issuedHere(id string) bool {
	for _, t := range c.issued.Tokens {
		if t.ID == id && t.Kind == string(c.kind) && t.Mesh == c.mesh {
			return true
		}
	}
	return false
}

// resembling returns the ids, of this kind and mesh, that an id is part of.
func (c *comparison) resembling(id string) (known []string) {
	seen := map[string]bool{}
	add := func(of string) {
		if !seen[of] && ordinary(of) && audit.Resembles(id, of) {
			seen[of], known = true, append(known, of)
		}
	}
	for _, t := range c.issued.Tokens {
		if t.Kind == string(c.kind) && t.Mesh == c.mesh {
			add(t.ID)
		}
	}
	c.api.scan(c.kind, c.mesh, "", revocationFilter{id: id}, func(r raftstore.Revocation) bool {
		add(r.ID)
		return len(known) < apitypes.MaxPage
	})
	return known
}

// result is what is known of the ids, after they were revoked; nil where they were too many.
func (c *comparison) result(ctx context.Context) *apitypes.Compared {
	if c == nil || c.named > apitypes.MaxIDs {
		return nil
	}
	c.read(ctx)
	told := &apitypes.Compared{Unknown: []string{}, Silent: c.issued.Silent, Since: stamp(c.issued.Since)}
	kinds := map[string]auditlist.Token{}
	for _, t := range c.issued.Tokens {
		kinds[t.ID] = t
	}
	for _, id := range c.unlisted {
		switch t, known := kinds[id]; {
		case c.issuedHere(id):
		case known:
			told.Elsewhere = append(told.Elsewhere, apitypes.KnownID{ID: id, Kind: t.Kind, Mesh: t.Mesh})
		case !strings.HasPrefix(id, "sha256:"): // those are of tokens without an id, which are never issued here
			told.Unknown = append(told.Unknown, id)
		}
	}
	if len(told.Unknown) > 0 {
		told.Others = c.api.othersKeys(c.kind, c.mesh)
	}
	return told
}

// othersKeys names the keys of a kind and mesh with which others sign, or may have.
func (api *API) othersKeys(kind cptoken.Kind, mesh string) (names []string) {
	for _, k := range api.store.Keys() {
		switch {
		case k.ID.Kind != kind || k.ID.Mesh != mesh || k.State == cptoken.Removed:
		case k.Registered != nil:
			names = append(names, k.ID.KID)
		case k.Imported:
			names = append(names, secretname.Ref{Kind: kind, Mesh: mesh, Serial: k.Serial}.Name())
		}
	}
	return names
}
