package apiclient

import (
	"context"
	"net/http"
	"net/url"

	"github.com/meridiankds/meridian/internal/apitypes"
)

// PublicKeys lists the public keys that are registered for offline issuing.
func (g *Global) PublicKeys(ctx context.Context) ([]apitypes.PublicKey, error) {
	return list[apitypes.PublicKey](ctx, g.c, "v1", "public-keys")
}

// ApplyPublicKey registers a public key, or replaces its bounds.
func (g *Global) ApplyPublicKey(ctx context.Context, k apitypes.PublicKey) (apitypes.PublicKeyChange, error) {
	return publicKey[apitypes.PublicKeyChange](ctx, g.c, http.MethodPut, k, k.Kind, k.Mesh, k.KID)
}

// DeletePublicKey removes a registered key: its tokens are refused from then on.
func (g *Global) DeletePublicKey(ctx context.Context, kind, mesh, kid string) (apitypes.KeyChange, error) {
	return publicKey[apitypes.KeyChange](ctx, g.c, http.MethodDelete, nil, kind, mesh, kid)
}

func publicKey[T any](ctx context.Context, c *client, method string, body any, kind, mesh, kid string) (into T, err error) {
	var query url.Values
	if mesh != "" {
		query = url.Values{"mesh": {mesh}}
	}
	err = c.do(ctx, call{method: method, path: []string{"v1", "public-keys", kind, kid}, query: query, body: body, into: &into, changes: true})
	return into, err
}
