package state

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

func randomUUID() string {
	var u cptoken.UUID
	rand.Read(u[:])
	return u.String()
}

func wantCode(t testing.TB, err error, code federation.Code, reason string) {
	t.Helper()
	var e *federation.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v is not a federation.Error", err)
	}
	if e.Code != code || e.Reason != reason {
		t.Fatalf("code %q reason %q (%v), want %q %q", e.Code, e.Reason, err, code, reason)
	}
}

func historyID(n byte) string { return hex.EncodeToString([]byte{0, 0, 0, 0, 0, 0, 0, n}) }

func sha256Of(data []byte) []byte {
	sum := sha256.Sum256(data)
	return sum[:]
}
