package apitypes

import "time"

// ZoneState is an item of GET /v1/zones: the record of a zone and the sessions of
// its control planes.
type ZoneState struct {
	Name      string     `json:"name"`
	Enabled   bool       `json:"enabled"`
	Auth      string     `json:"auth,omitempty"` // empty: the global's --kds-auth
	Online    bool       `json:"online"`
	Sessions  []Session  `json:"sessions"`
	FirstSeen *time.Time `json:"firstSeen,omitempty"`
	LastSeen  *time.Time `json:"lastSeen,omitempty"`
}

// Session is a connection of one control plane of a zone to one member.
type Session struct {
	Instance     string     `json:"instance"`
	Version      string     `json:"version,omitempty"`
	Member       string     `json:"member"`
	Remote       string     `json:"remote,omitempty"`
	Connected    *time.Time `json:"connected,omitempty"`
	Disconnected *time.Time `json:"disconnected,omitempty"` // absent while it is open
	LastHeard    *time.Time `json:"lastHeard,omitempty"`
	Online       bool       `json:"online"`
	Meridian     bool       `json:"meridian"` // else a Kuma control plane
	// Unheeded is what a Kuma control plane of this version does not heed, such as "lists
	// of zone tokens".
	Unheeded []string `json:"unheeded,omitempty"`
	// Revision is what the instance acknowledged last; Behind is how far it is
	// from the global's, as a difference of Raft indexes, absent where the two
	// are of different histories.
	Revision string  `json:"revision"`
	Behind   *uint64 `json:"behind,omitempty"`
	// BehindSeconds is how long ago the oldest change was made that the instance
	// lacks: only in GET /v1/zones/{name}, where Behind counts changes.
	BehindSeconds *float64   `json:"behindSeconds,omitempty"`
	Authenticated bool       `json:"authenticated"`
	Method        string     `json:"method,omitempty"`
	TokenSerial   uint64     `json:"tokenSerial,omitempty"`
	TokenID       string     `json:"tokenId,omitempty"`
	TokenExpires  *time.Time `json:"tokenExpires,omitempty"`
	// Verdict is what a token came to that was shown though none was demanded, such
	// as "expired"; empty where it would be accepted, or none was shown.
	Verdict string `json:"verdict,omitempty"`
	// NotHeld names what the instance was sent and does not understand: it is of an older
	// version than what the global uses.
	NotHeld []string `json:"notHeld,omitempty"`
	// Kept says what the instance refuses beyond the global's list, since nothing proved where
	// it stood: how many ids and cut-offs, then the first ids. It does until they expire, or
	// are withdrawn.
	Kept []string `json:"kept,omitempty"`
	// KeySets are those that others fetched at the instance: they may verify with copies.
	KeySets []KeySetUse `json:"keySets,omitempty"`
	// LiveKeys says how many sessions are open at the instance with tokens of each key.
	LiveKeys []LiveKey `json:"liveKeys,omitempty"`
	Nack     string    `json:"nack,omitempty"` // why the zone refused what it was sent
}

// LiveKey is how many sessions are open at a zone with tokens of one key: of proxies, and of
// programs that follow the zone.
type LiveKey struct {
	Kind     string `json:"kind"`
	Mesh     string `json:"mesh,omitempty"`
	KID      string `json:"kid"`
	Sessions uint64 `json:"sessions"`
}

// KeySetUse says how often a key set was fetched at a zone, and when last.
type KeySetUse struct {
	Set   string    `json:"set"` // "zone" or "dataplane/MESH", as in the path of the set
	Count uint64    `json:"count"`
	Last  time.Time `json:"last"`
}

// ZoneDetail is the answer of GET /v1/zones/{name}.
type ZoneDetail struct {
	ZoneState
	Relay    *Relay     `json:"relay,omitempty"`
	Created  *time.Time `json:"created,omitempty"`
	Modified *time.Time `json:"modified,omitempty"`
	Revision string     `json:"revision"` // the global's
	// Waits says what cannot go on until this zone has acknowledged more.
	Waits []string `json:"waits"`
	// AnsweredBy is the member whose picture this is, and Leader whether it leads: another
	// member shows what the leader told it last. AgeSeconds is how old the oldest report in
	// it is.
	AnsweredBy string  `json:"answeredBy"`
	Leader     bool    `json:"leader"`
	AgeSeconds float64 `json:"ageSeconds"`
}

// Status is the answer of GET /v1/status.
type Status struct {
	NodeID        string `json:"nodeId"`
	ClusterID     string `json:"clusterId"`
	Leader        string `json:"leader,omitempty"` // the leader's node id, empty where none is known
	LeaderAddress string `json:"leaderAddress,omitempty"`
	IsLeader      bool   `json:"isLeader"`
	Revision      string `json:"revision"` // the last change that zones see
	Applied       uint64 `json:"applied"`  // Raft index
	Version       string `json:"version"`
	Sealed        bool   `json:"sealed"`              // signing keys are sealed under a key outside Raft
	SealKeyID     string `json:"sealKeyId,omitempty"` // under which the cluster seals
	// CanSign says that this node has the seal key of every signing key; without it
	// signs nothing, admits no zone and is not ready. CannotOpen names those keys.
	CanSign    bool     `json:"canSign"`
	CannotOpen []string `json:"cannotOpen,omitempty"`
	Counts     Counts   `json:"counts"`
	// Certificates are those in use, the node's own one first.
	Certificates []Certificate `json:"certificates"`
}

// Certificate tells when a certificate of a node ends.
type Certificate struct {
	File     string    `json:"file"`
	Subject  string    `json:"subject"` // its identity, meridian://…, or its subject where it has none
	CA       bool      `json:"ca,omitempty"`
	NotAfter time.Time `json:"notAfter"`
	DaysLeft int       `json:"daysLeft"` // whole days, negative after the end
}

// Counts are sizes of the state.
type Counts struct {
	Keys        int `json:"keys"`
	Zones       int `json:"zones"`
	ZonesOnline int `json:"zonesOnline"`
	Meshes      int `json:"meshes"`
	Revocations int `json:"revocations"`
}
