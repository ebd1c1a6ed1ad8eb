package node

import (
	"context"

	"github.com/meridiankds/meridian/internal/zone/proxyport"
	"github.com/meridiankds/meridian/kds"
)

// relay passes a user's request for a token on to the global.
func (n *Node) relay(ctx context.Context, r proxyport.RelayedRequest) (token, keyWaiting string, err error) {
	issued, err := n.client.DataplaneToken(ctx, kds.TokenRequest{
		UserToken: r.UserToken, RequestID: r.RequestID,
		Name: r.Name, Mesh: r.Mesh, Tags: r.Tags, Type: r.Type, Workload: r.Workload, ValidFor: r.ValidFor,
	})
	return issued.Token, issued.KeyWaiting, err
}
