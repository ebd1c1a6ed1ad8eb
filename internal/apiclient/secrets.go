package apiclient

import (
	"context"
	"net/http"

	"github.com/meridiankds/meridian/internal/apitypes"
)

// ApplySecret writes a signing key or a list of revoked ids; a secret without a
// mesh is a global one. The answer says what a key still waits for.
func (g *Global) ApplySecret(ctx context.Context, s apitypes.Secret) (apitypes.SecretChange, error) {
	return replace[apitypes.SecretChange](ctx, g.c, http.MethodPut, s, secretPath(s.Mesh, s.Name)...)
}

// DeleteSecret deletes a signing key, or what may be deleted of a list; mesh is ""
// for a global secret.
func (g *Global) DeleteSecret(ctx context.Context, mesh, name string) (apitypes.SecretChange, error) {
	return replace[apitypes.SecretChange](ctx, g.c, http.MethodDelete, nil, secretPath(mesh, name)...)
}

func secretPath(mesh, name string) []string {
	if mesh == "" {
		return []string{"global-secrets", name}
	}
	return []string{"meshes", mesh, "secrets", name}
}
