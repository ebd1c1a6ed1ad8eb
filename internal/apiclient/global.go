package apiclient

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/tokenfile"
)

// Global is a client of a global's HTTP API. It is safe for concurrent use.
type Global struct{ c *client }

// OnStale has f told of each answer that a member gives without hearing the leader, and
// for how long it has not: what it shows may be old.
func (g *Global) OnStale(f func(silent time.Duration)) { g.c.stale = f }

// OnMembers has f told what operators call each member, by its id, with each answer.
func (g *Global) OnMembers(f func(names map[string]string)) { g.c.members = f }

// OnWaiting has f told why a change is sent again: the cluster has no leader just now.
func (g *Global) OnWaiting(f func(cause error)) { g.c.waits = f }

// NewGlobal returns a client of the target; agent is what it calls itself,
// "global/<version>". Nothing is dialled before the first call.
func NewGlobal(t Target, agent string) (*Global, error) {
	c, err := newClient(t, agent)
	if err != nil {
		return nil, err
	}
	return &Global{c}, nil
}

// WhoAmI asks as whom the caller is taken.
func (g *Global) WhoAmI(ctx context.Context) (me apitypes.WhoAmI, err error) {
	err = g.c.do(ctx, call{method: http.MethodGet, path: []string{"who-am-i"}, into: &me})
	return me, err
}

// Index asks who answers, and in which version: "unknown" where the caller shows nothing.
func (g *Global) Index(ctx context.Context) (apitypes.Index, error) {
	return get[apitypes.Index](ctx, g.c, "the version", nil)
}

// ControlPlaneToken issues a control plane token.
func (g *Global) ControlPlaneToken(ctx context.Context, r apitypes.ControlPlaneTokenRequest) (Issued, error) {
	return g.issue(ctx, "control-plane", r)
}

// ZoneToken issues a zone token.
func (g *Global) ZoneToken(ctx context.Context, r apitypes.ZoneTokenRequest) (Issued, error) {
	return g.issue(ctx, "zone", r)
}

// DataplaneToken issues a dataplane token.
func (g *Global) DataplaneToken(ctx context.Context, r apitypes.DataplaneTokenRequest) (Issued, error) {
	return g.issue(ctx, "dataplane", r)
}

// UserToken issues a user token.
func (g *Global) UserToken(ctx context.Context, r apitypes.UserTokenRequest) (Issued, error) {
	return g.issue(ctx, "user", r)
}

// Issued is a token and what the global said beside it.
type Issued struct {
	Token string
	// KeyWaiting is the name of a newer key, which signs nothing yet; empty where
	// there is none.
	KeyWaiting string
}

// issue asks for a token. Nothing changes at the global when it signs one, so a
// lost answer is not an unknown outcome.
func (g *Global) issue(ctx context.Context, kind string, request any) (Issued, error) {
	return g.c.issue(ctx, kind, request)
}

func (c *client) issue(ctx context.Context, kind string, request any) (Issued, error) {
	var text string
	var header http.Header
	err := c.do(ctx, call{method: http.MethodPost, path: []string{"tokens", kind}, body: request, into: &text, header: &header})
	if err != nil {
		return Issued{}, err
	}
	token, err := tokenfile.Parse("the answer of "+c.target.Address, text)
	if err != nil || token == "" {
		return Issued{}, c.notOurs(federation.Errorf(federation.Internal, "what answers at %s did not send a token", c.target))
	}
	return Issued{Token: token, KeyWaiting: header.Get(apitypes.HeaderKeyWaiting)}, nil
}

// GlobalSecrets lists the secrets that belong to no mesh.
func (g *Global) GlobalSecrets(ctx context.Context) ([]apitypes.Secret, error) {
	return list[apitypes.Secret](ctx, g.c, "global-secrets")
}

// GlobalSecret returns one of them.
func (g *Global) GlobalSecret(ctx context.Context, name string) (apitypes.Secret, error) {
	return get[apitypes.Secret](ctx, g.c, "the global secret "+name, nil, "global-secrets", name)
}

// Secrets lists the secrets of a mesh.
func (g *Global) Secrets(ctx context.Context, mesh string) ([]apitypes.Secret, error) {
	return list[apitypes.Secret](ctx, g.c, "meshes", mesh, "secrets")
}

// Secret returns one of them.
func (g *Global) Secret(ctx context.Context, mesh, name string) (apitypes.Secret, error) {
	return get[apitypes.Secret](ctx, g.c, "the secret "+name+" of mesh "+mesh, nil, "meshes", mesh, "secrets", name)
}

// Meshes lists the meshes.
func (g *Global) Meshes(ctx context.Context) ([]apitypes.Mesh, error) {
	return list[apitypes.Mesh](ctx, g.c, "meshes")
}

// Zones lists the records of zones.
func (g *Global) Zones(ctx context.Context) ([]apitypes.Zone, error) {
	return list[apitypes.Zone](ctx, g.c, "zones")
}

// ZoneStates lists the zones with the sessions of their control planes.
func (g *Global) ZoneStates(ctx context.Context) ([]apitypes.ZoneState, error) {
	return list[apitypes.ZoneState](ctx, g.c, "v1", "zones")
}

// Keys lists every key.
func (g *Global) Keys(ctx context.Context) ([]apitypes.Key, error) {
	return list[apitypes.Key](ctx, g.c, "v1", "keys")
}

// PrepareKey makes the next key of a kind and mesh, or returns the one that is
// prepared already.
func (g *Global) PrepareKey(ctx context.Context, r apitypes.KeyPrepareRequest) (apitypes.Key, error) {
	return change[apitypes.Key](ctx, g.c, r, "v1", "keys", "prepare")
}

// Holding tells who holds a key and who is still waited for.
func (g *Global) Holding(ctx context.Context, kind, mesh, kid string) (apitypes.KeyHolding, error) {
	var query url.Values
	if mesh != "" {
		query = url.Values{"mesh": {mesh}}
	}
	return get[apitypes.KeyHolding](ctx, g.c, "the "+kind+" key "+kid, query, "v1", "keys", kind, kid, "holding")
}

// ActivateKey lets a prepared key sign.
func (g *Global) ActivateKey(ctx context.Context, r apitypes.KeyStepRequest) (apitypes.KeyChange, error) {
	return change[apitypes.KeyChange](ctx, g.c, r, "v1", "keys", "activate")
}

// RetireKey stops a key from signing.
func (g *Global) RetireKey(ctx context.Context, r apitypes.KeyStepRequest) (apitypes.KeyChange, error) {
	return change[apitypes.KeyChange](ctx, g.c, r, "v1", "keys", "retire")
}

// RemoveKey removes a key; tokens that it signed are refused from then on.
func (g *Global) RemoveKey(ctx context.Context, r apitypes.KeyStepRequest) (apitypes.KeyChange, error) {
	return change[apitypes.KeyChange](ctx, g.c, r, "v1", "keys", "remove")
}

// Revoke revokes ids, or a token.
func (g *Global) Revoke(ctx context.Context, r apitypes.RevokeRequest) (apitypes.RevokeResult, error) {
	return change[apitypes.RevokeResult](ctx, g.c, r, "v1", "revocations")
}

// get reads one resource. what names it where the node does not know it.
func get[T any](ctx context.Context, c *client, what string, query url.Values, path ...string) (T, error) {
	var into T
	err := c.do(ctx, call{method: http.MethodGet, path: path, query: query, into: &into})
	if e := federation.AsError(err); e != nil && e.Code == federation.NotFound && e.Detail == "Not found" {
		// Kuma's words, kept for its clients, do not say what was not found.
		err = federation.Errorf(federation.NotFound, "%s was not found", what).WithHint("%s", e.Hint)
	}
	if err == nil {
		err = c.complete(into)
	}
	return into, err
}

// change posts a request that changes something.
func change[T any](ctx context.Context, c *client, body any, path ...string) (T, error) {
	var into T
	err := c.do(ctx, call{method: http.MethodPost, path: path, body: body, into: &into, changes: true})
	if err == nil {
		err = c.complete(into)
	}
	return into, err
}

// maxPages bounds a list whose node never says that it ended: 10 million items.
const maxPages = 10_000

// list reads every page of a list. Where the next page is, only the query is
// taken from the answer: the host stays the one that was asked.
func list[T any](ctx context.Context, c *client, path ...string) ([]T, error) {
	items := []T{}
	query := url.Values{"size": {strconv.Itoa(apitypes.MaxPage)}}
	for range maxPages {
		var page apitypes.List[T]
		if err := c.do(ctx, call{method: http.MethodGet, path: path, query: query, into: &page}); err != nil {
			return nil, err
		}
		if page.Items == nil {
			return nil, c.incomplete("items")
		}
		for _, item := range page.Items {
			if err := c.complete(item); err != nil {
				return nil, err
			}
		}
		items = append(items, page.Items...)
		if page.Next == nil || *page.Next == "" || len(page.Items) == 0 {
			return items, nil
		}
		next, err := url.Parse(*page.Next)
		if err != nil || next.RawQuery == query.Encode() {
			break
		}
		query = next.Query()
	}
	return nil, c.notOurs(federation.Errorf(federation.Internal, "the list at %s has no end", c.target))
}
