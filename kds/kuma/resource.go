package kuma

import (
	"crypto/sha256"
	"encoding/hex"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds/kdspb"
)

// resource is one resource of Kuma's, marshalled once for all streams. It is
// immutable.
type resource struct {
	key     string // as removals name it: <name>.<mesh>
	version string // Changes with the content
	wire    []byte // the entry of DeltaDiscoveryResponse.resources, with its tag
}

// fieldResources is DeltaDiscoveryResponse.resources.
const fieldResources = 2

// newResource marshals a resource. The mesh is "" where the type has none.
func newResource(name, mesh string, labels map[string]string, spec proto.Message) (*resource, error) {
	failed := func(err error) (*resource, error) {
		return nil, federation.Errorf(federation.Internal, "marshalling %.80q for zones of Kuma's: %w", name, err)
	}
	sure := proto.MarshalOptions{Deterministic: true} // a version must not differ between members
	inner := &anypb.Any{}
	if err := anypb.MarshalFrom(inner, spec, sure); err != nil {
		return failed(err)
	}
	all := map[string]string{LabelOrigin: OriginGlobal}
	for k, v := range labels {
		all[k] = v
	}
	outer := &anypb.Any{}
	err := anypb.MarshalFrom(outer, &kdspb.KumaResource{
		Meta: &kdspb.KumaResource_Meta{Name: name, Mesh: mesh, Labels: all}, Spec: inner,
	}, sure)
	if err != nil {
		return failed(err)
	}
	sum := sha256.Sum256(outer.Value)
	r := &resource{key: name + "." + mesh, version: hex.EncodeToString(sum[:])}
	body, err := sure.Marshal(&discovery.Resource{Version: r.version, Resource: outer})
	if err != nil {
		return failed(err)
	}
	r.wire = make([]byte, 0, len(body)+12)
	r.wire = protowire.AppendTag(r.wire, fieldResources, protowire.BytesType)
	r.wire = protowire.AppendBytes(r.wire, body)
	return r, nil
}

// SecretSpec is the spec of a GlobalSecret or Secret.
func SecretSpec(data []byte) proto.Message {
	return &kdspb.Secret{Data: wrapperspb.Bytes(data)}
}
