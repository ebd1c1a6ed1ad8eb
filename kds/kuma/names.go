package kuma

import (
	"encoding/json"

	"github.com/meridiankds/meridian/cptoken"
)

// The types of Kuma's that are more than an empty answer here, as their bare names
// stand in type_url.
const (
	TypeConfig       = "Config"
	TypeMesh         = "Mesh"
	TypeGlobalSecret = "GlobalSecret"
	TypeSecret       = "Secret"
)

// Types are these types, in the order in which they are sent where several have
// changed: a mesh before what belongs to it.
var Types = [...]string{TypeConfig, TypeMesh, TypeGlobalSecret, TypeSecret}

// Labels of Kuma's resources.
const (
	LabelOrigin  = "kuma.io/origin"
	LabelDisplay = "kuma.io/display-name"

	OriginGlobal = "global"
)

// StoreFile is what a zone of Meridian's is told to keep its state in, in Kuma's words.
const StoreFile = "file"

// StoreConfig is the part of a zone's configuration, in Kuma's form, that says where it
// keeps its state: what kumactl's column BACKEND shows. The rest may hold secrets.
func StoreConfig(store string) string {
	if store == "" {
		return ""
	}
	text, _ := json.Marshal(store) // a text has a form
	return `{"store":{"type":` + string(text) + `}}`
}

// Names of Kuma's resources.
const (
	NameClusterID    = "kuma-cluster-id"
	prefixPublicKey  = "zone-token-signing-public-key-"
	prefixSigningKey = "zone-token-signing-key-"
	suffixRevoked    = "-revocations"
)

// ListName is the name of the secret with the revoked ids of a kind and mesh.
func ListName(kind cptoken.Kind, mesh string) string {
	if kind.PerMesh() {
		return kind.TokenName() + suffixRevoked + "-" + mesh
	}
	return kind.TokenName() + suffixRevoked
}
