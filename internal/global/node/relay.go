package node

import (
	"context"

	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/adminapi"
	"github.com/meridiankds/meridian/kds"
)

// relay has the API answer what zones pass on. The API is made after the KDS server
// that asks it, and before either serves.
type relay struct{ node *Node }

// DataplaneToken implements kds.Relay.
func (r relay) DataplaneToken(ctx context.Context, zone string, q kds.TokenRequest) (kds.IssuedToken, error) {
	token, newer, err := r.node.api.RelayDataplaneToken(ctx, adminapi.Relayed{
		Zone: zone, UserToken: q.UserToken, RequestID: q.RequestID,
		Request: apitypes.DataplaneTokenRequest{Name: q.Name, Mesh: q.Mesh, Tags: q.Tags, Type: q.Type, Workload: q.Workload, ValidFor: q.ValidFor},
	})
	return kds.IssuedToken{Token: token, KeyWaiting: newer}, err
}
