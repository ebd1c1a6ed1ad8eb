package issue

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
)

// BenchmarkIssueZoneToken issues turn by turn with one raw RSA-2048 signature, its
// baseline, so that a busy machine slows both; x-raw is the quotient of the
// medians.
func BenchmarkIssueZoneToken(b *testing.B) {
	key := testKeys()[cptoken.Zone]
	sum := sha256.Sum256([]byte("input"))
	var ours, raw []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		begin := time.Now()
		if _, err := rsa.SignPKCS1v15(nil, key.secret().rsa, crypto.SHA256, sum[:]); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if _, _, err := key.Issue(cptoken.Claims{Zone: "west"}, time.Hour, middle); err != nil {
			b.Fatal(err)
		}
		ours, raw = append(ours, time.Since(middle)), append(raw, middle.Sub(begin))
	}
	slices.Sort(ours)
	slices.Sort(raw)
	b.ReportMetric(float64(ours[len(ours)/2])/float64(raw[len(raw)/2]), "x-raw")
}

// BenchmarkVerifyControlPlane checks a control plane token; nothing is remembered.
func BenchmarkVerifyControlPlane(b *testing.B) {
	key := testKeys()[cptoken.ControlPlane]
	raw, _, err := key.Issue(cptoken.Claims{Zone: "west"}, time.Hour, testNow)
	if err != nil {
		b.Fatal(err)
	}
	keys := secrets{2: {key, false}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := VerifyControlPlane(raw, keys, &view{}, testNow); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFromMaterial is what unsealing a key costs, once for each key and node.
func BenchmarkFromMaterial(b *testing.B) {
	key := testKeys()[cptoken.Zone]
	material := key.Material()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := FromMaterial(zoneRef, material); err != nil {
			b.Fatal(err)
		}
	}
}
