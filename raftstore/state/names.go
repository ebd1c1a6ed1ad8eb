package state

import "github.com/meridiankds/meridian/cptoken"

// KeyName is a key as the command line names it, for messages to operators:
// "zone-token 1", "dataplane-token 1 of mesh default".
func KeyName(id cptoken.KeyID) string {
	name := id.Kind.TokenName() + " " + id.KID
	if id.Mesh != "" {
		name += " of mesh " + id.Mesh
	}
	return name
}
