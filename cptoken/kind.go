package cptoken

import "github.com/meridiankds/meridian/federation"

// Kind tells what a token proves, and to whom.
type Kind string

// The kinds of tokens. A key belongs to exactly one kind.
const (
	// ControlPlane tokens prove to the global that a zone control plane may
	// speak for its zone. HS256.
	ControlPlane Kind = "control-plane"
	// Zone tokens prove to a zone that a proxy is a zone proxy of it. RS256.
	Zone Kind = "zone"
	// Dataplane tokens prove to a zone which data plane proxy it talks to. RS256,
	// with a key of the proxy's mesh.
	Dataplane Kind = "dataplane"
	// User tokens prove to the HTTP APIs which operator is calling. RS256.
	User Kind = "user"
)

// Certificate is no kind of token: it stands beside them where something is revoked by
// its name, for the key of a certificate that was expelled ("sha256:" and 64 hexadecimal
// digits). So zones are told of it as of a revoked token, and keep it as long.
const Certificate Kind = "certificate"

// Revocable reports whether zones hold revocations of this kind.
func (k Kind) Revocable() bool { return k.AtZones() || k == Certificate }

// DefaultMesh is the mesh of who names none.
const DefaultMesh = "default"

// PerMesh reports whether each mesh has keys and revocations of this kind of its
// own.
func (k Kind) PerMesh() bool { return k == Dataplane }

// Valid reports whether k is one of [Kinds].
func (k Kind) Valid() bool {
	for _, known := range Kinds {
		if k == known {
			return true
		}
	}
	return false
}

// AtZones reports whether zones hold the keys and revocations of this kind.
// Control plane keys are symmetric and never leave the global's members.
func (k Kind) AtZones() bool { return k.Valid() && k != ControlPlane }

// TokenName is the kind's name on the command line: "zone-token" and so on.
func (k Kind) TokenName() string { return string(k) + "-token" }

// ParseKind reads a kind by its own name or its name on the command line.
func ParseKind(field, s string) (Kind, error) {
	for _, k := range Kinds {
		if s == string(k) || s == k.TokenName() {
			return k, nil
		}
	}
	return "", federation.InvalidField(field,
		"%.40q is not a kind of token: use control-plane-token, zone-token, dataplane-token or user-token", s)
}

// Arguments are the words that name tokens of the kind and mesh on a command line, for hints:
// "zone-token", "dataplane-token --mesh default".
func (k Kind) Arguments(mesh string) string {
	if mesh == "" {
		return k.TokenName()
	}
	return k.TokenName() + " --mesh " + mesh
}

// ValidateScope checks that mesh is named exactly where the kind has one.
func (k Kind) ValidateScope(mesh string) error {
	switch {
	case k.PerMesh():
		return federation.ValidateName("mesh", mesh)
	case mesh != "":
		return federation.InvalidField("mesh", "a %s belongs to no mesh", k.TokenName())
	}
	return nil
}
