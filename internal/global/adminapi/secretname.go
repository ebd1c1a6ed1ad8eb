package adminapi

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

// secretRef is what the name of a secret stands for: the key of a serial, or,
// where the serial is 0, the list of revoked ids.
type secretRef struct {
	kind    cptoken.Kind
	mesh    string
	serial  uint64
	addOnly bool // a list under its older name
}

// isKey tells a key from a list.
func (s secretRef) isKey() bool { return s.serial != 0 }

func (s secretRef) keyID() cptoken.KeyID {
	return cptoken.KeyID{Kind: s.kind, Mesh: s.mesh, KID: cptoken.SerialKID(s.serial)}
}

// name is the one name under which the secret is shown.
func (s secretRef) name() string {
	switch {
	case s.addOnly:
		return legacyZoneList
	case s.isKey() && s.kind == cptoken.ControlPlane:
		return fmt.Sprintf("%s%04d", keyPrefix(s.kind, ""), s.serial)
	case s.isKey():
		return keyPrefix(s.kind, s.mesh) + strconv.FormatUint(s.serial, 10)
	}
	return listName(s.kind, s.mesh)
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

// parseSecretName finds what a name stands for among the secrets of a mesh, or
// among the global ones where mesh is empty.
func parseSecretName(mesh, name string) (secretRef, bool) {
	if mesh == "" && name == legacyZoneList {
		return secretRef{kind: cptoken.Zone, addOnly: true}, true
	}
	for _, kind := range cptoken.Kinds {
		if kind.PerMesh() != (mesh != "") {
			continue
		}
		if name == listName(kind, mesh) {
			return secretRef{kind: kind, mesh: mesh}, true
		}
		digits, ok := strings.CutPrefix(name, keyPrefix(kind, mesh))
		if !ok {
			continue
		}
		if serial, ok := parseSerial(kind, digits); ok {
			return secretRef{kind: kind, mesh: mesh, serial: serial}, true
		}
	}
	return secretRef{}, false
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
