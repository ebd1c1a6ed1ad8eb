package cptoken

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// BenchmarkRawRSA is the baseline of the benchmarks below: hashing a token and one
// RSA-2048 verification with the standard library, nothing read.
func BenchmarkRawRSA(b *testing.B) {
	_, raw := rawVerification(b)
	b.ReportAllocs()
	for b.Loop() {
		raw()
	}
}

// rawVerification returns a token and a function that verifies its signature and
// does nothing else.
func rawVerification(b *testing.B) (token string, raw func()) {
	key := testKeys()[0]
	token = sign(b, key, header1, west)
	t, err := Parse(token)
	if err != nil {
		b.Fatal(err)
	}
	input := []byte(t.SigningInput())
	return token, func() {
		sum := sha256.Sum256(input)
		if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], t.signature); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerifyFirst verifies a token that is seen for the first time, turn by
// turn with the raw verification, so that a busy machine slows both; x-raw is the
// quotient of the medians, which a turn that was interrupted does not move.
func BenchmarkVerifyFirst(b *testing.B) {
	view, v := zoneView(b), NewVerifier(VerifierOptions{Now: func() time.Time { return testNow }, CacheBytes: -1})
	token, raw := rawVerification(b)
	var ours, theirs []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		begin := time.Now()
		raw()
		middle := time.Now()
		if _, err := v.Verify(view, Zone, token); err != nil {
			b.Fatal(err)
		}
		ours, theirs = append(ours, time.Since(middle)), append(theirs, middle.Sub(begin))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	median := ours[len(ours)/2]
	b.ReportMetric(float64(median)/float64(theirs[len(theirs)/2]), "x-raw")
	b.ReportMetric(float64(median.Nanoseconds()), "ns/verify")
}

// BenchmarkGolangJWT is what its users pay for the same token.
func BenchmarkGolangJWT(b *testing.B) {
	token, _ := rawVerification(b)
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithTimeFunc(func() time.Time { return testNow }))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parser.Parse(token, func(*jwt.Token) (any, error) { return &testKeys()[0].PublicKey, nil }); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerifyAgain verifies a token whose signature is remembered.
func BenchmarkVerifyAgain(b *testing.B) {
	view, v := zoneView(b), newVerifier()
	token, _ := rawVerification(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(view, Zone, token); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerifyAgainParallel shows what cores that verify at once cost each
// other: 64 tokens spread over the shards.
func BenchmarkVerifyAgainParallel(b *testing.B) {
	view, v := zoneView(b), newVerifier()
	tokens := make([]string, 64)
	for i := range tokens {
		tokens[i] = sign(b, testKeys()[0], header1, `{"Zone":"west","Scope":["egress"],`+times+`,"jti":"`+strconv.Itoa(i)+`"}`)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := v.Verify(view, Zone, tokens[i%len(tokens)]); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkParse reads a token without verifying it.
func BenchmarkParse(b *testing.B) {
	token, _ := rawVerification(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(token); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseHostile reads what costs the most time to refuse within the
// bounds: objects as full of keys as is allowed.
func BenchmarkParseHostile(b *testing.B) {
	claims := []byte{'{'}
	for i := range maxKeys / maxMembers {
		claims = append(claims, `"`+strconv.Itoa(i)+`":{`...)
		for j := range maxMembers - 2 {
			claims = append(claims, `"key`+strconv.Itoa(1000+j)+`":0,`...)
		}
		claims = append(claims, `"":0},`...)
	}
	token := unsigned(header1, string(claims)+`"z":0}`) + "."
	if _, err := Parse(token); ReasonOf(err) == TooLarge {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_, _ = Parse(token)
	}
}
