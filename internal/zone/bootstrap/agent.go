package bootstrap

import (
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/zone/resource"
)

// Agent is what our own agent tells beside kuma-dp's fields. It keeps files for its Envoy, and
// replaces each whole, by renaming, when what is in it changes: then nothing in a running
// Envoy is of the hour of its start.
type Agent struct {
	// TokenFile and CAFile hold what [envoyres.TokenFile] and [envoyres.CAFile] make. CAFile is "" where the agent
	// trusts its machine's CAs.
	TokenFile string `json:"tokenFile"`
	CAFile    string `json:"caFile"`
	// AdminSocket is where Envoy's admin interface is to listen; "" is a port.
	AdminSocket string `json:"adminSocket"`
	// ControlPlanes are the zone's as the agent knows them, "host:port".
	ControlPlanes []string `json:"controlPlanes"`
}

// maxControlPlanes bounds those of one zone.
const maxControlPlanes = 16

// check reports what of it Envoy could not use.
func (a *Agent) check() error {
	if a.TokenFile == "" {
		return federation.InvalidField("meridianAgent.tokenFile", "must not be empty")
	}
	if len(a.AdminSocket) > maxSocketPath {
		return federation.InvalidField("meridianAgent.adminSocket", "is longer than the %d characters that a socket's path may have", maxSocketPath)
	}
	if len(a.ControlPlanes) > maxControlPlanes {
		return federation.InvalidField("meridianAgent.controlPlanes", "are %d, at most %d may be", len(a.ControlPlanes), maxControlPlanes)
	}
	for _, address := range a.ControlPlanes {
		c, err := parseControlPlane(address)
		if err != nil || !resource.IsHost(c.host) {
			return federation.InvalidField("meridianAgent.controlPlanes", "%.100q is not HOST:PORT", address)
		}
	}
	return nil
}
