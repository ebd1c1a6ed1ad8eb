package tokenreview

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
)

// FuzzReview reads tokens of strangers and answers of whatever stands where the API
// server should: nobody is believed whom the answer does not authenticate for the
// audience.
func FuzzReview(f *testing.F) {
	f.Add("eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOlsibWVyaWRpYW4tem9uZSJdLCJleHAiOjF9.c2ln", []byte(`{"kind":"TokenReview","status":{"authenticated":true,"audiences":["meridian-zone"],"user":{"username":"system:serviceaccount:shop:backend","extra":{"authentication.kubernetes.io/pod-name":["backend-1"]}}}}`))
	f.Add("a.eyJhdWQiOiJ4IiwiZXhwIjoxZTMwMH0.b", []byte(`{"status":{"authenticated":true,"user":{"username":"system:serviceaccount::"}}}`))
	r := &Reviewer{cfg: Config{Audience: audience, Now: time.Now}}
	f.Fuzz(func(t *testing.T, token string, answer []byte) {
		c, err := peek(token)
		if err != nil {
			if federation.CodeOf(err) != federation.Unauthenticated {
				t.Fatalf("%v", err)
			}
			return
		}
		if end := c.expiry(); !end.IsZero() && (end.Year() < 1970 || end.Year() > 9999) {
			t.Fatalf("it ends at %s", end)
		}
		var got review
		if json.Unmarshal(answer, &got) != nil || got.Status == nil {
			return
		}
		id, err := r.judge(got.Status, c)
		if err != nil {
			if federation.AsError(err).Reason == "" {
				t.Fatalf("no reason: %v", err)
			}
			return
		}
		if !got.Status.Authenticated || !slices.Contains(got.Status.Audiences, audience) || id.Namespace == "" ||
			strings.Contains(id.Namespace, ":") || id.ServiceAccount == "" {
			t.Fatalf("believed %+v", id)
		}
		if id.Check(Proxy{Name: "x.other" + id.Namespace}) == nil {
			t.Fatal("it speaks for another namespace")
		}
	})
}
