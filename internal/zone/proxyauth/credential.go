package proxyauth

import (
	"strings"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/keyring"
)

// FromHeader returns what a proxy presents in the values of its authorization
// header or metadata: the token alone, as kuma-dp sends it, or behind "Bearer "
// (RFC 6750, section 2.1). None presents nothing, which is no error here; two are
// one too many to say which counts.
func FromHeader(values []string) (string, error) {
	switch len(values) {
	case 0:
		return "", nil
	case 1:
	default:
		return "", cptoken.Refuse(cptoken.Malformed, "there are %d authorization headers, want one", len(values)).
			WithHint("send the token once")
	}
	value := strings.TrimSpace(values[0])
	if scheme, token, ok := strings.Cut(value, " "); ok && strings.EqualFold(scheme, "Bearer") {
		value = strings.TrimSpace(token)
	}
	return value, nil
}

// oneToken strips what surrounds a token in a file, and refuses what is none.
func oneToken(credential string, method keyring.Method) (string, error) {
	token := strings.TrimSpace(credential)
	if token == "" {
		return "", federation.Errorf(federation.Unauthenticated, "the proxy presents no token").
			WithReason("missing_token").WithHint("%s", howToPresent(method))
	}
	if strings.ContainsAny(token, " \t\r\n") {
		return "", cptoken.Refuse(cptoken.Malformed, "what the proxy presents is not one token").
			WithHint("check that the file holds one whole token and nothing else")
	}
	return token, nil
}

// howToPresent says how a proxy comes by what it must present.
func howToPresent(method keyring.Method) string {
	switch method {
	case keyring.ZoneToken:
		return "issue one with: global generate zone-token, and start the proxy with --dataplane-token-file"
	case keyring.DataplaneToken:
		return "issue one with: global generate dataplane-token, and start the proxy with --dataplane-token-file"
	}
	return "start the proxy with the file of its service account's token"
}
