package kds

// ChangesType is the type under which a zone subscribes to keys and revocations.
const ChangesType = "meridian.v1.Changes"

// What is fixed about the messages of ChangesType.
const (
	resourceName = "changes"
	changesURL   = "type.googleapis.com/" + ChangesType
)

// Services and methods, as Kuma's zones call them.
const (
	syncService   = "kuma.mesh.v1alpha1.KDSSyncService"
	globalService = "kuma.mesh.v1alpha1.GlobalKDSService"
	relayService  = "meridian.v1.Relay" // ours

	methodGlobalToZone = "/" + syncService + "/GlobalToZoneSync"
	methodHealthCheck  = "/" + globalService + "/HealthCheck"
	methodRelayToken   = "/" + relayService + "/DataplaneToken"
)

// Metadata of a call.
const (
	mdZone          = "client-id"
	mdKDSVersion    = "kds-version"
	mdVersion       = "version"
	mdFeatures      = "features"
	mdAuthorization = "authorization"
	mdInstance      = "meridian-instance"

	kdsVersion       = "v3"
	featureHealth    = "zone-ping-health"
	featureSuffix    = "hash-suffix"
	featureMeridian  = "meridian"
	maxVersionLen    = 128
	maxInstanceLen   = 128
	maxAuthorization = 16 << 10
)

// Metadata of an answer.
const (
	mdMember  = "meridian-member"
	mdCluster = "meridian-cluster"
)
