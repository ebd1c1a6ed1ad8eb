package apiclient

import (
	"context"
	"net/http"

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

// RemoveMember takes a member out of the cluster, and may expel it.
func (g *Global) RemoveMember(ctx context.Context, r apitypes.RemoveMemberRequest) (apitypes.RemovedMember, error) {
	return change[apitypes.RemovedMember](ctx, g.c, r, "v1", "cluster", "remove")
}

// ConfirmLoss takes the alarms of lost changes away.
func (g *Global) ConfirmLoss(ctx context.Context, r apitypes.ConfirmLossRequest) (apitypes.ConfirmedLoss, error) {
	return change[apitypes.ConfirmedLoss](ctx, g.c, r, "v1", "cluster", "confirm-loss")
}

// Expel refuses a certificate's key, or a node, on every port.
func (g *Global) Expel(ctx context.Context, r apitypes.ExpelRequest) (apitypes.ExpelResult, error) {
	return change[apitypes.ExpelResult](ctx, g.c, r, "v1", "expelled")
}

// Expelled returns who is refused on every port.
func (g *Global) Expelled(ctx context.Context) (list apitypes.ExpelledList, err error) {
	err = g.c.do(ctx, call{method: http.MethodGet, path: []string{"v1", "expelled"}, into: &list})
	return list, err
}

// Trust returns which CAs the members and the zones trust.
func (g *Global) Trust(ctx context.Context) (apitypes.Trust, error) {
	return get[apitypes.Trust](ctx, g.c, "who trusts which CA", nil, "v1", "trust")
}

// Readmit takes an expulsion back.
func (g *Global) Readmit(ctx context.Context, id string) error {
	return g.c.do(ctx, call{method: http.MethodDelete, path: []string{"v1", "expelled", id}, changes: true})
}
