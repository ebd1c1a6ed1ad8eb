package agent

import (
	"encoding/json"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	"github.com/meridiankds/meridian/federation"
)

// nodeOf returns the node of a bootstrap: as what Envoy would introduce itself.
func nodeOf(bootstrap []byte) (*core.Node, error) {
	fail := func() (*core.Node, error) {
		return nil, federation.Errorf(federation.Internal, "the zone's bootstrap names no node").
			WithHint("is this the proxies' port of a zone? name it with --cp-address")
	}
	text, err := yaml.YAMLToJSON(bootstrap)
	if err != nil {
		return fail()
	}
	var b struct {
		Node json.RawMessage `json:"node"`
	}
	if err := json.Unmarshal(text, &b); err != nil || b.Node == nil {
		return fail()
	}
	node := &core.Node{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b.Node, node); err != nil || node.GetId() == "" {
		return fail()
	}
	return node, nil
}
