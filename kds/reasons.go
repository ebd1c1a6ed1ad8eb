package kds

import "github.com/meridiankds/meridian/federation"

// Reasons of sessions and calls, beside those of tokens (cptoken.Reason).
const (
	ReasonNoZone       = "no_client_id"
	ReasonBadMetadata  = "bad_metadata"
	ReasonZoneDisabled = "zone_disabled" // federation.Zone.Admit
	ReasonZoneDeleted  = "zone_deleted"  // the same
	ReasonNodeID       = "node_id_mismatch"
	ReasonOtherCluster = "other_cluster"
	ReasonTooMany      = "too_many_sessions"
	ReasonDisplaced    = "displaced"
	ReasonSlow         = "too_slow"
	ReasonStopping     = "stopping"
	ReasonDisconnected = "disconnected"
	ReasonNotReady     = "not_ready"
	ReasonAhead        = "ahead"         // the zone holds more than a set leads to, and does not skip it
	ReasonMissingToken = "missing_token" // a token is demanded, and none came
	ReasonAuthChanged  = "auth_changed"  // the zone must prove itself in another way now
)

// Reasons of a relay's refusals.
const (
	ReasonUnproven   = "zone_not_authenticated"
	ReasonBusyRelay  = "too_many_relayed"
	ReasonGlobalAway = "global_away"
	ReasonNoRelay    = "no_relay"
)

// AuthChanged is the error with which a session ends whose zone must prove itself
// in another way than it did.
func AuthChanged(zone string) error {
	return federation.Errorf(federation.Unauthenticated, "how zone %s authenticates was changed", zone).WithReason(ReasonAuthChanged)
}
