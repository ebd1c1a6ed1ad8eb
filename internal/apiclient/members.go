package apiclient

import (
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// missing names a member without which an answer of that type is none, or
// returns "". Any other server's JSON object decodes into any of our types, with
// nothing in it; it must not be taken for a node that knows nothing.
func missing(answer any) string {
	var name, value string
	switch v := answer.(type) {
	case apitypes.Secret:
		name, value = "name", v.Name
	case apitypes.Zone:
		name, value = "name", v.Name
	case apitypes.ZoneState:
		name, value = "name", v.Name
	case apitypes.Mesh:
		name, value = "name", v.Name
	case apitypes.Key:
		name, value = "kid", v.KID
	case apitypes.KeyHolding:
		name, value = "key", v.Key.KID
	case apitypes.KeyChange:
		name, value = "key", v.Key.KID
	case apitypes.RequestOutcome:
		name, value = "outcome", v.Outcome
	case apitypes.RevokeResult:
		name, value = "revision", v.Revision
	case apitypes.Identity:
		name, value = "revision", v.Revision // a proxy may be accepted without a token of ours
	case apitypes.ZoneStatus:
		name, value = "zone", v.Zone
		if v.Zone != "" {
			name, value = "instance", v.Instance
		}
	default:
		return ""
	}
	if value == "" {
		return name
	}
	return ""
}

// complete returns an error where an answer lacks what every such answer has.
func (c *client) complete(answer any) error {
	if name := missing(answer); name != "" {
		return c.incomplete(name)
	}
	return nil
}

func (c *client) incomplete(member string) error {
	return c.notOurs(federation.Errorf(federation.Internal,
		"what answers at %s does not speak the %s's API: its answer has no %q", c.target, c.node(), member))
}
