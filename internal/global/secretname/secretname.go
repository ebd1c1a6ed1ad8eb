// Package secretname has the names under which users know keys and lists of revoked ids:
// in the API that Kuma's clients use, in messages and in key lists.
package secretname

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/meridiankds/meridian/cptoken"
)

// The names under which users know keys and lists. <mesh> is the mesh of the
// path; names that end in it are unambiguous because it is known beforehand.
//
//	control-plane-signing-key-0001           zero-padded to four digits
//	zone-token-signing-key-1
//	user-token-signing-key-1
//	dataplane-token-signing-key-<mesh>-1     in /meshes/<mesh>/secrets
//	control-plane-token-revocations
//	zone-token-revocations
//	zoneegress-token-revocations             older name: takes additions only
//	user-token-revocations
//	dataplane-token-revocations-<mesh>       in /meshes/<mesh>/secrets
const legacyZoneList = "zoneegress-token-revocations"

// Ref is what the name of a secret stands for: the key of a serial, or,
// where the serial is 0, the list of revoked ids.
type Ref struct {
	Kind    cptoken.Kind
	Mesh    string
	Serial  uint64
	AddOnly bool // a list under its older name
}

// IsKey tells a key from a list.
func (s Ref) IsKey() bool { return s.Serial != 0 }

// KeyID is the key's name in the state; of keys only.
func (s Ref) KeyID() cptoken.KeyID {
	return cptoken.KeyID{Kind: s.Kind, Mesh: s.Mesh, KID: cptoken.SerialKID(s.Serial)}
}

// Name is the one name under which the secret is shown.
func (s Ref) Name() string {
	switch {
	case s.AddOnly:
		return legacyZoneList
	case s.IsKey() && s.Kind == cptoken.ControlPlane:
		return fmt.Sprintf("%s%04d", keyPrefix(s.Kind, ""), s.Serial)
	case s.IsKey():
		return keyPrefix(s.Kind, s.Mesh) + strconv.FormatUint(s.Serial, 10)
	}
	return listName(s.Kind, s.Mesh)
}

func keyPrefix(kind cptoken.Kind, mesh string) string {
	switch {
	case kind == cptoken.ControlPlane:
		return "control-plane-signing-key-"
	case kind.PerMesh():
		return kind.TokenName() + "-signing-key-" + mesh + "-"
	}
	return kind.TokenName() + "-signing-key-"
}

func listName(kind cptoken.Kind, mesh string) string {
	if kind.PerMesh() {
		return kind.TokenName() + "-revocations-" + mesh
	}
	return kind.TokenName() + "-revocations"
}

// Parse finds what a name stands for among the secrets of a mesh, or
// among the global ones where mesh is empty.
func Parse(mesh, name string) (Ref, bool) {
	if mesh == "" && name == legacyZoneList {
		return Ref{Kind: cptoken.Zone, AddOnly: true}, true
	}
	for _, kind := range cptoken.Kinds {
		if kind.PerMesh() != (mesh != "") {
			continue
		}
		if name == listName(kind, mesh) {
			return Ref{Kind: kind, Mesh: mesh}, true
		}
		digits, ok := strings.CutPrefix(name, keyPrefix(kind, mesh))
		if !ok {
			continue
		}
		if serial, ok := parseSerial(kind, digits); ok {
			return Ref{Kind: kind, Mesh: mesh, Serial: serial}, true
		}
	}
	return Ref{}, false
}

// parseSerial reads a serial in decimal. Leading zeros are taken only where the
// kind's names are padded, and no further than the padding goes, so that a key
// has few names.
func parseSerial(kind cptoken.Kind, digits string) (uint64, bool) {
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	if digits[0] == '0' && (kind != cptoken.ControlPlane || len(digits) > 4) {
		return 0, false
	}
	serial, err := strconv.ParseUint(digits, 10, 64)
	return serial, err == nil && serial > 0
}
