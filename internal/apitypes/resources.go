package apitypes

import "time"

// The type names of Kuma-shaped resources.
const (
	TypeZone         = "Zone"
	TypeZoneOverview = "ZoneOverview"
	TypeMesh         = "Mesh"
	TypeGlobalSecret = "GlobalSecret"
	TypeSecret       = "Secret"
)

// Zone is a zone as GET /zones/{name} answers it and as PUT takes it. What a PUT
// leaves out stays as it was; of a new zone, Enabled is true, Auth the global's own
// setting (--kds-auth) and Relay none. A PUT with "auth":"" goes back to the
// global's setting, one with "relay":{} takes every relay away. The times are
// ignored in a PUT.
type Zone struct {
	Type             string     `json:"type"`
	Name             string     `json:"name"`
	CreationTime     *time.Time `json:"creationTime,omitempty"`
	ModificationTime *time.Time `json:"modificationTime,omitempty"`
	Enabled          *bool      `json:"enabled,omitempty"`
	// Auth is "token" (or "cpToken"), "certificate" or "none"; "" is what --kds-auth says,
	// and so is nothing in an answer.
	Auth  *string `json:"auth,omitempty"`
	Relay *Relay  `json:"relay,omitempty"`
}

// Relay is what a zone may ask of the global for its users.
type Relay struct {
	Meshes      []string `json:"meshes"`
	MaxValidity string   `json:"maxValidity,omitempty"` // a duration; empty: 24h
}

// Mesh is a mesh as GET /meshes/{name} answers it and as PUT takes it.
type Mesh struct {
	Type             string     `json:"type"`
	Name             string     `json:"name"`
	CreationTime     *time.Time `json:"creationTime,omitempty"`
	ModificationTime *time.Time `json:"modificationTime,omitempty"`
}

// MeshChange is the answer to a PUT or DELETE of a mesh, with the warnings of [SecretChange].
type MeshChange struct {
	Mesh
	Warnings []string `json:"warnings,omitempty"`
}

// Secret is a key or a list of revoked ids in the form that users know. Mesh is
// set on mesh-scoped secrets (type "Secret") and empty on global ones (type
// "GlobalSecret"). Data is base64 in JSON: of a key the public part as PEM, or a
// fingerprint where it has none; of a list the comma-separated ids, which a listing
// of secrets leaves out. Private keys go in with PUT and never come out.
type Secret struct {
	Type             string     `json:"type"`
	Mesh             string     `json:"mesh,omitempty"`
	Name             string     `json:"name"`
	CreationTime     *time.Time `json:"creationTime,omitempty"`
	ModificationTime *time.Time `json:"modificationTime,omitempty"`
	Data             []byte     `json:"data,omitempty"`
}

// SecretChange is the answer to a PUT or DELETE of a secret. A PUT of a key
// answers 201 or 200 when the key is active, and 202 when it was stored and still
// waits for what Holding names; the same PUT again continues from there.
type SecretChange struct {
	Type      string   `json:"type"`
	Mesh      string   `json:"mesh,omitempty"`
	Name      string   `json:"name"`
	Added     int      `json:"added,omitempty"`     // ids that a list gained
	Withdrawn int      `json:"withdrawn,omitempty"` // ids that a list lost
	Revision  string   `json:"revision,omitempty"`
	Key       *Key     `json:"key,omitempty"`
	Holding   *Holding `json:"holding,omitempty"`
	CutOff    string   `json:"cutOff,omitempty"` // which tokens a removed key refuses
	// Warnings name the zones at which the change is not in force, under the name that
	// Kuma's answers have for what its clients should know.
	Warnings []string `json:"warnings,omitempty"`
}

// ZoneOverview is an item of GET /zones/_overview.
type ZoneOverview struct {
	Type             string      `json:"type"`
	Name             string      `json:"name"`
	CreationTime     *time.Time  `json:"creationTime,omitempty"`
	ModificationTime *time.Time  `json:"modificationTime,omitempty"`
	Zone             ZoneSpec    `json:"zone"`
	ZoneInsight      ZoneInsight `json:"zoneInsight"`
}

// ZoneSpec is what an operator decided about a zone.
type ZoneSpec struct {
	Enabled bool `json:"enabled"`
}

// ZoneInsight is what the global observes of a zone.
type ZoneInsight struct {
	Subscriptions []Subscription `json:"subscriptions"`
}

// Subscription is one connection of a zone control plane. A zone is online when
// its last subscription has no disconnectTime.
type Subscription struct {
	ID               string              `json:"id"`
	GlobalInstanceID string              `json:"globalInstanceId"`
	ConnectTime      *time.Time          `json:"connectTime,omitempty"`
	DisconnectTime   *time.Time          `json:"disconnectTime,omitempty"`
	Status           SubscriptionStatus  `json:"status"`
	Version          SubscriptionVersion `json:"version"`
	Config           string              `json:"config"`
}

// SubscriptionStatus counts what was sent and acknowledged.
type SubscriptionStatus struct {
	LastUpdateTime *time.Time               `json:"lastUpdateTime,omitempty"`
	Total          ResponseCount            `json:"total"`
	Stat           map[string]ResponseCount `json:"stat"`
}

// ResponseCount holds 64-bit counts, which protobuf's JSON writes as strings.
type ResponseCount struct {
	ResponsesSent         uint64 `json:"responsesSent,string"`
	ResponsesAcknowledged uint64 `json:"responsesAcknowledged,string"`
	ResponsesRejected     uint64 `json:"responsesRejected,omitempty,string"`
}

// SubscriptionVersion is the version of the zone control plane.
type SubscriptionVersion struct {
	KumaCP CPVersion `json:"kumaCp"`
}

// CPVersion is a control plane's version.
type CPVersion struct {
	Version string `json:"version"`
}
