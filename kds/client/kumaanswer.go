package client

import (
	"strconv"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// kumaAnswer receives what a global of Kuma's asks on one of the other calls and
// returns what to say: of a zone's resources there are none, and of its proxies
// nothing is told.
func (l *link) kumaAnswer(s grpc.ClientStream, method string) (proto.Message, error) {
	const none = "this zone control plane does not show its proxies"
	switch method {
	case kds.RPCZoneToGlobal:
		var r discovery.DeltaDiscoveryRequest
		if err := s.RecvMsg(&r); err != nil {
			return nil, err
		}
		if r.GetResponseNonce() != "" || len(r.GetTypeUrl()) > maxTypeLen {
			return nil, nil
		}
		l.asked++
		return &discovery.DeltaDiscoveryResponse{
			TypeUrl: r.GetTypeUrl(), Nonce: strconv.FormatUint(l.asked, 10),
			ControlPlane: &core.ControlPlane{Identifier: l.client.cfg.Zone},
		}, nil
	case kds.KumaAdminRPCs[0]:
		var r kdspb.XDSConfigRequest
		err := s.RecvMsg(&r)
		return &kdspb.XDSConfigResponse{RequestId: r.GetRequestId(), Result: &kdspb.XDSConfigResponse_Error{Error: none}}, err
	case kds.KumaAdminRPCs[1]:
		var r kdspb.StatsRequest
		err := s.RecvMsg(&r)
		return &kdspb.StatsResponse{RequestId: r.GetRequestId(), Result: &kdspb.StatsResponse_Error{Error: none}}, err
	default:
		var r kdspb.ClustersRequest
		err := s.RecvMsg(&r)
		return &kdspb.ClustersResponse{RequestId: r.GetRequestId(), Result: &kdspb.ClustersResponse_Error{Error: none}}, err
	}
}

// maxTypeLen bounds the name of a type that a global asks for.
const maxTypeLen = 256
