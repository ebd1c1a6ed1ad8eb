package tokenreview

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
)

// The extra fields of a user in which Kubernetes says more of a token.
const (
	extraPod        = "authentication.kubernetes.io/pod-name"
	extraPodUID     = "authentication.kubernetes.io/pod-uid"
	extraCredential = "authentication.kubernetes.io/credential-id"
)

// credentialPrefix begins the credential id of a token, whose id follows.
const credentialPrefix = "JTI="

// accountPrefix begins the user name of a service account, which goes on with
// its namespace, a colon and its name.
const accountPrefix = "system:serviceaccount:"

// claims are those of a token that nobody has verified. They save a question, and
// make a refusal clearer; a time is taken from them only once the API server has
// accepted the token.
type claims struct {
	Exp *float64  `json:"exp"`
	Aud audiences `json:"aud"`
}

// audiences is a text or a list of them (RFC 7519, section 4.1.3).
type audiences []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audiences) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audiences{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// peek reads the claims. What is no JWT is not worth a question: every service
// account token is one.
func peek(token string) (claims, error) {
	var c claims
	if len(token) > MaxTokenBytes {
		return c, refusal(Malformed, "the service account token is longer than %d bytes", MaxTokenBytes)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, notAToken()
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return c, notAToken()
	}
	for _, part := range []string{parts[0], parts[2]} {
		if _, err := base64.RawURLEncoding.DecodeString(part); err != nil || part == "" {
			return c, notAToken()
		}
	}
	return c, nil
}

func notAToken() *federation.Error {
	return refusal(Malformed, "what was presented is not a service account token").
		WithHint("present the token that Kubernetes projects into the pod")
}

// maxUnix keeps a time from overflowing: the year 9999.
const maxUnix = 253402300799

// expiry is zero for a token that has none.
func (c claims) expiry() time.Time {
	if c.Exp == nil {
		return time.Time{}
	}
	return time.Unix(int64(min(max(*c.Exp, 1), maxUnix)), 0).UTC()
}

func (c claims) endedAt(now time.Time) bool {
	end := c.expiry()
	return clock.Ended(end, now)
}

// judge makes an identity of what the API server decided.
func (r *Reviewer) judge(status *reviewStatus, c claims) (Identity, error) {
	if !status.Authenticated {
		if len(c.Aud) > 0 && !slices.Contains(c.Aud, r.cfg.Audience) {
			return Identity{}, r.wrongAudience()
		}
		return Identity{}, refusal(NotAuthenticated, "Kubernetes does not accept the service account token").
			WithHint("it is another cluster's, or its pod or service account is gone: present the token in the pod's file")
	}
	if !slices.Contains(status.Audiences, r.cfg.Audience) {
		return Identity{}, r.wrongAudience()
	}
	rest, ok := strings.CutPrefix(status.User.Username, accountPrefix)
	namespace, account, cut := strings.Cut(rest, ":")
	if !ok || !cut || namespace == "" || account == "" {
		return Identity{}, refusal(NotServiceAccount, "the token is good, but not a service account's").
			WithHint("present the token that Kubernetes projects into the pod")
	}
	id := Identity{
		Namespace: namespace, ServiceAccount: account,
		Pod: first(status.User.Extra[extraPod]), PodUID: first(status.User.Extra[extraPodUID]), ID: strings.TrimPrefix(first(status.User.Extra[extraCredential]), credentialPrefix),
		ExpiresAt: c.expiry(),
	}
	if !r.cfg.AllowUnbound && (id.Pod == "" || id.PodUID == "") {
		return Identity{}, refusal(UnboundToken, "the service account token of %.80s/%.80s is bound to no pod", namespace, account).
			WithHint("present the token that Kubernetes projects into the pod, or set dpServer.authn.serviceAccountToken.allowUnbound: true")
	}
	return id, nil
}

func (r *Reviewer) wrongAudience() *federation.Error {
	return refusal(WrongAudience, "the service account token is not made out to the audience %.80q", r.cfg.Audience).
		WithHint("set audience: %.80s in the pod's projected serviceAccountToken volume", r.cfg.Audience)
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}
