package apitypes

// HeaderKeyWaiting is the header of an issued token's answer that names a newer
// key of its kind and mesh which is prepared and signs nothing yet: somebody began
// a rotation, or imported a key, and it has not been finished.
const HeaderKeyWaiting = "Meridian-Key-Waiting"

// ControlPlaneTokenRequest is the body of POST /tokens/control-plane. The answer
// of this and the other issuing calls is text/plain: the token alone.
type ControlPlaneTokenRequest struct {
	Zone     string `json:"zone"`
	ValidFor string `json:"validFor,omitempty"` // a duration; absent, and empty: 87600h
}

// ZoneTokenRequest is the body of POST /tokens/zone. No scope means egress and
// ingress.
type ZoneTokenRequest struct {
	Zone     string   `json:"zone"`
	Scope    []string `json:"scope,omitempty"`
	ValidFor string   `json:"validFor,omitempty"`
}

// DataplaneTokenRequest is the body of POST /tokens/dataplane. Type is "",
// "dataplane", "ingress" or "egress"; empty claims do not bind.
type DataplaneTokenRequest struct {
	Name     string              `json:"name,omitempty"`
	Mesh     string              `json:"mesh"`
	Tags     map[string][]string `json:"tags,omitempty"`
	Type     string              `json:"type,omitempty"`
	ValidFor string              `json:"validFor,omitempty"`
	// Workload is the label kuma.io/workload that the proxy's resource must have.
	Workload string `json:"workload,omitempty"`
}

// UserTokenRequest is the body of POST /tokens/user.
type UserTokenRequest struct {
	Name   string   `json:"name"`
	Groups []string `json:"groups,omitempty"`
	// ForZone names zones that the token is shown to: it is good at their APIs, and at the
	// global for what they relay alone. Empty: it is good at the global, and at no zone.
	ForZone  []string `json:"forZone,omitempty"`
	ValidFor string   `json:"validFor,omitempty"`
}
