package kds

import "github.com/meridiankds/meridian/cptoken"

// The types of Kuma's that are more than an empty answer here, as their bare names
// stand in type_url.
const (
	typeConfig       = "Config"
	typeMesh         = "Mesh"
	typeGlobalSecret = "GlobalSecret"
	typeSecret       = "Secret"
)

// kumaTypes are these types, in the order in which they are sent where several have
// changed: a mesh before what belongs to it.
var kumaTypes = [...]string{typeConfig, typeMesh, typeGlobalSecret, typeSecret}

// Labels of Kuma's resources.
const (
	labelOrigin  = "kuma.io/origin"
	labelDisplay = "kuma.io/display-name"

	originGlobal = "global"
)

// Names of Kuma's resources.
const (
	nameClusterID    = "kuma-cluster-id"
	prefixPublicKey  = "zone-token-signing-public-key-"
	prefixSigningKey = "zone-token-signing-key-"
	suffixRevoked    = "-revocations"
)

// kumaListName is the name of the secret with the revoked ids of a kind and mesh.
func kumaListName(kind cptoken.Kind, mesh string) string {
	if kind.PerMesh() {
		return kind.TokenName() + suffixRevoked + "-" + mesh
	}
	return kind.TokenName() + suffixRevoked
}
