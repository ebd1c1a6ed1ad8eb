package apiclient

import (
	"context"
	"slices"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/clock"
)

// IssuedToken is what the members' audit logs say of a token, and what became of it.
type IssuedToken struct {
	Kind    string    `json:"kind"`
	Mesh    string    `json:"mesh,omitempty"`
	Subject string    `json:"subject"` // "zone west for egress", "user jane"
	Zone    string    `json:"zone,omitempty"`
	ID      string    `json:"id"`
	KID     string    `json:"kid"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	By      string    `json:"by"`
	Member  string    `json:"member"`
	// State is valid, expired, revoked, "cut off", "key removed", or unknown where the caller
	// may not see that.
	State string `json:"state"`
}

// Valid reports whether the token is good, as far as is known.
func (t IssuedToken) Valid() bool { return t.State == "valid" || t.State == "unknown" }

// IssuedTokens is an answer to a [TokenQuery].
type IssuedTokens struct {
	Items []IssuedToken `json:"items"`
	// Since is from when on the list is complete; absent where the members kept everything.
	Since *time.Time `json:"since,omitempty"`
	// Began is the time of the oldest record that the members keep.
	Began *time.Time `json:"began,omitempty"`
	// Silent are members that do not answer: what they issued is missing.
	Silent []string `json:"silent"`
}

// TokenQuery picks tokens. Empty members pick all.
type TokenQuery struct {
	Kind, Mesh, KID, Zone, By string
	Since, Until              time.Time // when it was issued
	ExpiresBefore             time.Time // and not expired yet
	Limit                     int       // how many records of the audit logs are read
}

// IssuedTokens tells which tokens the global issued, newest first, from the audit logs of all
// members: a token itself is kept nowhere.
func (g *Global) IssuedTokens(ctx context.Context, q TokenQuery, now time.Time) (IssuedTokens, error) {
	found := IssuedTokens{Items: []IssuedToken{}}
	log, more, err := g.Audit(ctx, AuditQuery{Class: "issue", Outcome: "done", About: q.Zone, User: q.By, Since: q.Since, Until: q.Until, Limit: q.Limit})
	if err != nil {
		return found, err
	}
	found.Since, found.Began, found.Silent = log.Since, log.Began, log.Silent
	if more != "" && len(log.Items) > 0 { // older ones were not read
		found.Since = &log.Items[len(log.Items)-1].Time
	}
	place := map[string]int{}
	for _, r := range log.Items {
		t, ok := issuedToken(r)
		if !ok || !q.wants(t, now) {
			continue
		}
		key := t.Kind + " " + t.Mesh + " " + t.ID
		if i, seen := place[key]; seen { // it was renewed later, and keeps its id
			found.Items[i].Issued = t.Issued
			continue
		}
		place[key] = len(found.Items)
		found.Items = append(found.Items, t)
	}
	return found, g.judge(ctx, found.Items, now)
}

func (q TokenQuery) wants(t IssuedToken, now time.Time) bool {
	return (q.Kind == "" || q.Kind == t.Kind) && (q.Mesh == "" || q.Mesh == t.Mesh) && (q.KID == "" || q.KID == t.KID) && (q.Zone == "" || q.Zone == t.Zone) &&
		(q.ExpiresBefore.IsZero() || clock.Earlier(t.Expires, q.ExpiresBefore) && clock.Earlier(now, t.Expires))
}

// issuedToken reads a record of the audit log; ok is false for one that is of no token.
func issuedToken(r apitypes.AuditRecord) (t IssuedToken, ok bool) {
	about := r.About
	expires, err := time.Parse(time.RFC3339, about["expires"])
	if about["jti"] == "" || about["kind"] == "" || err != nil {
		return t, false
	}
	t = IssuedToken{Kind: about["kind"], Mesh: about["mesh"], Zone: about["zone"], ID: about["jti"], KID: about["serial"],
		Issued: r.Time, Expires: expires, By: r.User, Member: r.Member}
	switch {
	case t.Zone != "" && about["scope"] != "":
		t.Subject = "zone " + t.Zone + " for " + about["scope"]
	case t.Zone != "":
		t.Subject = "zone " + t.Zone
	case t.Mesh != "" && about["name"] != "":
		t.Subject = t.Mesh + "/" + about["name"]
	case t.Mesh != "":
		t.Subject = "any proxy of mesh " + t.Mesh
	default:
		t.Subject = "user " + about["name"]
	}
	return t, true
}

// perToken is how many tokens of a list are looked up one by one; above it the list is read.
const perToken = 50

// maxRevoked is how many ids of a list are read. What is beyond is not known.
const maxRevoked = 100_000

// judge says of each token what became of it.
func (g *Global) judge(ctx context.Context, tokens []IssuedToken, now time.Time) error {
	keys, err := g.Keys(ctx)
	if err != nil && federation.CodeOf(err) != federation.Forbidden {
		return err
	}
	cutOffs, err := g.CutOffs(ctx)
	if err != nil && federation.CodeOf(err) != federation.Forbidden {
		return err
	}
	revoked, err := g.revokedAmong(ctx, tokens)
	if err != nil && federation.CodeOf(err) != federation.Forbidden {
		return err
	}
	known := err == nil
	for i := range tokens {
		t := &tokens[i]
		gone := len(keys) > 0 && !slices.ContainsFunc(keys, func(k apitypes.Key) bool {
			return k.Kind == t.Kind && k.Mesh == t.Mesh && k.KID == t.KID && k.State != "removed"
		})
		cut := slices.ContainsFunc(cutOffs, func(c apitypes.CutOff) bool {
			return c.Kind == t.Kind && c.Mesh == t.Mesh && (c.KID == "" || c.KID == t.KID) && c.Before != nil && clock.Earlier(t.Issued, *c.Before)
		})
		switch {
		case !clock.Earlier(now, t.Expires):
			t.State = "expired"
		case revoked[t.Kind+" "+t.Mesh+" "+t.ID]:
			t.State = "revoked"
		case cut:
			t.State = "cut off"
		case gone:
			t.State = "key removed"
		case !known:
			t.State = "unknown"
		default:
			t.State = "valid"
		}
	}
	return nil
}

// revokedAmong returns those tokens that are revoked.
func (g *Global) revokedAmong(ctx context.Context, tokens []IssuedToken) (map[string]bool, error) {
	revoked, lists := map[string]bool{}, map[string][]IssuedToken{}
	for _, t := range tokens {
		lists[t.Kind+" "+t.Mesh] = append(lists[t.Kind+" "+t.Mesh], t)
	}
	for list, of := range lists {
		queries := []RevocationQuery{{Kind: of[0].Kind, Mesh: of[0].Mesh, Limit: maxRevoked}}
		if len(of) <= perToken {
			queries = queries[:0]
			for _, t := range of {
				queries = append(queries, RevocationQuery{Kind: t.Kind, Mesh: t.Mesh, ID: t.ID, Limit: 1})
			}
		}
		for _, q := range queries {
			items, _, _, err := g.Revocations(ctx, q)
			if err != nil {
				return revoked, err
			}
			for _, r := range items {
				revoked[list+" "+r.ID] = true
			}
		}
	}
	return revoked, nil
}
