package apiclient

import (
	"context"

	"github.com/meridiankds/meridian/internal/apitypes"
)

// Cluster tells who the members are.
func (g *Global) Cluster(ctx context.Context) (apitypes.Cluster, error) {
	return get[apitypes.Cluster](ctx, g.c, "the cluster", nil, "v1", "cluster")
}

// TransferLeader hands the leadership to another member.
func (g *Global) TransferLeader(ctx context.Context, r apitypes.TransferLeaderRequest) error {
	_, err := change[struct{}](ctx, g.c, r, "v1", "cluster", "transfer-leader")
	return err
}

// RemoveMember takes a member out of the cluster.
func (g *Global) RemoveMember(ctx context.Context, r apitypes.RemoveMemberRequest) error {
	_, err := change[struct{}](ctx, g.c, r, "v1", "cluster", "remove")
	return err
}
