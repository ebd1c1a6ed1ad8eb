package kds

import "github.com/meridiankds/meridian/cptoken"

// ChangesType is the type under which a zone subscribes to keys and revocations.
const ChangesType = "meridian.v1.Changes"

// What is fixed about the messages of ChangesType.
const (
	ResourceName = "changes"
	ChangesURL   = "type.googleapis.com/" + ChangesType
	// VersionVocabulary is the entry of initial_resource_versions with the vocabulary
	// that a zone's copy was made with.
	VersionVocabulary = "vocabulary"
	// VersionPosition is the entry with the position of a zone's copy, in base64.
	VersionPosition = "position"
)

// KeySetsType is the type of a request in which a zone reports which of its key sets
// were fetched: initial_resource_versions has them under VersionKeySets, in the form of
// [FormatKeySets]. It is no subscription and is not answered.
const (
	KeySetsType    = "meridian.v1.KeySets"
	VersionKeySets = "key-sets"
	// VersionLiveKeys has the open sessions of each key, in the same form. It is apart
	// because a global of before refuses a line that it cannot read, and passes over a name.
	VersionLiveKeys = "live-keys"
)

// Services and methods, as Kuma's zones call them.
const (
	SyncService   = "kuma.mesh.v1alpha1.KDSSyncService"
	GlobalService = "kuma.mesh.v1alpha1.GlobalKDSService"
	RelayService  = "meridian.v1.Relay" // ours
	HealthService = "grpc.health.v1.Health"

	RPCGlobalToZone   = "/" + SyncService + "/GlobalToZoneSync"
	RPCHealth         = "/" + HealthService + "/Check"
	RPCHealthCheck    = "/" + GlobalService + "/HealthCheck"
	RPCDataplaneToken = "/" + RelayService + "/DataplaneToken"
	RPCZoneToGlobal   = "/" + SyncService + "/ZoneToGlobalSync"
)

// KumaAdminRPCs are the calls on which a global of Kuma's asks its zones about their
// proxies.
var KumaAdminRPCs = [...]string{
	"/" + GlobalService + "/StreamXDSConfigs", "/" + GlobalService + "/StreamStats", "/" + GlobalService + "/StreamClusters",
}

// Metadata of a call, and what it may hold.
const (
	MDZone          = "client-id"
	MDKDSVersion    = "kds-version"
	MDVersion       = "version"
	MDFeatures      = "features"
	MDAuthorization = "authorization"
	MDInstance      = "meridian-instance"
	MDVocabulary    = "meridian-vocabulary"
	MDTrusts        = "meridian-trusts"
	MDConnection    = "meridian-connection"
	MDPosition      = "meridian-position"

	KDSVersion       = "v3"
	FeatureHealth    = "zone-ping-health"
	FeatureSuffix    = "hash-suffix"
	FeatureMeridian  = "meridian"
	MaxVersionLen    = 128
	MaxInstanceLen   = 128
	MaxVocabularyLen = 20
	MaxConnectionLen = 20
	MaxAuthorization = 9 << 10 // the largest token, and its scheme
	MaxTrustsLen     = 2 << 10
	MaxPositionLen   = 4 * (cptoken.MaxPosition + 2) / 3 // in base64
)

// Metadata of an answer.
const (
	MDMember  = "meridian-member"
	MDCluster = "meridian-cluster"
	// MDContact is how many milliseconds ago the member last heard the leader, 0 of the
	// leader itself.
	MDContact = "meridian-leader-contact"
)
