package keyring

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"sync"
	"time"

	"github.com/meridiankds/meridian/cptoken"
)

// The keys of the tests, made once: RSA keys are slow to make.
var ownKey, otherKey = sync.OnceValue(newKey), sync.OnceValue(newKey)

func newKey() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
}

func publicPEM(key *rsa.PrivateKey) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)}))
}

func boolean(b bool) *bool { return &b }

// fakeSource is a global that has the keys of keys and refuses revoked.
type fakeSource struct {
	keys    map[cptoken.KeyID]*cptoken.PublicKey
	revoked string
	cut     time.Time
	pruned  time.Time
}

func (s *fakeSource) View() cptoken.View                            { return s }
func (s *fakeSource) Changed() <-chan struct{}                      { return nil }
func (s *fakeSource) Key(id cptoken.KeyID) *cptoken.PublicKey       { return s.keys[id] }
func (s *fakeSource) Revoked(_ cptoken.Kind, _, id string) bool     { return id == s.revoked }
func (s *fakeSource) CutOff(cptoken.Kind, string, string) time.Time { return s.cut }

func (s *fakeSource) Pruned() time.Time { return s.pruned }
func (s *fakeSource) Empty() bool       { return len(s.keys) == 0 }
