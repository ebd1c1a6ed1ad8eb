package apitypes

import "time"

// Backup is what a backup says about itself. GET /v1/snapshot sends one as a stream
// of bytes, POST /v1/snapshot/restore takes one.
type Backup struct {
	Format      int        `json:"format"`
	Level       uint32     `json:"level"`
	ClusterID   string     `json:"clusterId"`
	Revision    string     `json:"revision"` // where zones stood
	Time        *time.Time `json:"time,omitempty"`
	SealKeys    []string   `json:"sealKeys"` // ids of the seal keys that are needed to use it
	Keys        int        `json:"keys"`
	Zones       int        `json:"zones"`
	Meshes      int        `json:"meshes"`
	Revocations int        `json:"revocations"`
	CutOffs     int        `json:"cutOffs"`
	SHA256      string     `json:"sha256"` // over the content of its records
	Bytes       int64      `json:"bytes"`
	HasMAC      bool       `json:"hasMac"` // only a restore, which has the seal key, can check it
	// ClusterSecret is the generation of the cluster secret that its MAC is under.
	ClusterSecret uint32 `json:"clusterSecret"`
}

// Restore are the parameters of POST /v1/snapshot/restore: whether to replace what the
// cluster holds, and, where the backup is not of this cluster or not under the newest
// generation of its secret, which cluster or generation it is of.
type Restore struct {
	Force         bool
	Cluster       string
	ClusterSecret uint
}

// RestoreResult is the answer of POST /v1/snapshot/restore.
type RestoreResult struct {
	Backup   Backup `json:"backup"`
	Revision string `json:"revision"` // where the new history begins
	// Replaced is the id of the cluster whose state was replaced, where the backup is of
	// another one.
	Replaced string `json:"replaced,omitempty"`
}

// Seal is the answer of GET /v1/seal: how a node stands with the seal keys.
type Seal struct {
	NodeID string `json:"nodeId"`
	// Active is the id of the seal key under which the cluster seals new keys; First
	// is the one under which a rotation at this node would seal all of them.
	Active  string    `json:"active"`
	First   string    `json:"first"`
	Keys    []SealKey `json:"keys"`
	CanSign bool      `json:"canSign"`
	// CannotOpen names the signing keys whose seal key this node lacks.
	CannotOpen []string `json:"cannotOpen"`
	// ClusterSecret is the newest generation of the cluster secret, 0 before the first.
	ClusterSecret uint32 `json:"clusterSecret"`
}

// SealKey is a seal key that this node holds or lacks.
type SealKey struct {
	ID     string `json:"id"`
	Held   bool   `json:"held"`
	Sealed int    `json:"sealed"` // how many signing keys are sealed under it
}

// SealRotation is the answer of POST /v1/seal/rotate.
type SealRotation struct {
	Under   string   `json:"under"`
	Keys    int      `json:"keys"`    // sealed anew by this call
	Dropped []string `json:"dropped"` // no longer needed by anything in the state
	// ClusterSecret is the newest generation of the cluster secret.
	ClusterSecret uint32 `json:"clusterSecret"`
}

// SecretRotation is the answer of POST /v1/seal/rotate-cluster-secret.
type SecretRotation struct {
	Generation uint32 `json:"generation"`
}
