package cluster

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
)

// earlierToken signs a control plane token as an earlier control plane does:
// HS256, no kid, no expiry, no id.
func earlierToken(secret []byte, zone string) string {
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode([]byte(`{"Zone":"`+zone+`","TokenSerialNumber":1}`))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + encode(mac.Sum(nil))
}

// TestTokensOfAnEarlierControlPlane brings the secret of a control plane that
// came before to a new cluster: zones join with the tokens that they have, and
// with new ones.
func TestTokensOfAnEarlierControlPlane(t *testing.T) {
	secret := []byte("the secret of an earlier control plane, 32 bytes and more")
	g := StartGlobal(t, quiet, ControlPlaneKey(secret))
	west := g.StartZone("west", g.KDS())
	west.WaitCurrent(g)
	west.Stop()

	west.Token = earlierToken(secret, "west")
	west.Start()
	Eventually(t, "west to join with its old token", func() bool { return west.Node.Link().Connected })
	west.Stop()

	for name, token := range map[string]string{
		"another zone's old token": earlierToken(secret, "east"),
		"a forged old token":       earlierToken([]byte("some other secret of thirty-two bytes"), "west"),
	} {
		west.Token = token
		west.Start()
		Eventually(t, name+" to be refused", func() bool { return west.Node.Link().LastError != "" })
		if west.Node.Link().Connected {
			t.Errorf("joined with %s", name)
		}
		west.Stop()
	}
	// A cluster whose key was made, not brought, takes no such token.
	other := StartGlobal(t, quiet)
	east := other.StartZone("east", other.KDS())
	east.WaitCurrent(other)
	east.Stop()
	signer, err := other.Node.Store().Signer(cptoken.ControlPlane, "")
	if err != nil {
		t.Fatal(err)
	}
	east.Token = earlierToken(signer.Material(), "east")
	east.Start()
	Eventually(t, "a token without expiry to be refused", func() bool { return east.Node.Link().LastError != "" })
}
