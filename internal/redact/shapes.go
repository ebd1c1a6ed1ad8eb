package redact

import "regexp"

var (
	// Token matches the compact form of a JWT (RFC 7519): a JSON object in base64url begins with
	// "eyJ". The signature may be missing. Only base64url and dots are matched, so that the text
	// around it stays.
	Token = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?`)
	// PrivateKey matches a PEM block of a private key (RFC 7468), or what is there of one.
	PrivateKey = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)`)
	// userInfo is what stands before the host of an address (RFC 3986, section 3.2.1), where it has a
	// password.
	userInfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s:@"']*:[^/?#\s@"']+@`)
	// encoded is what may be base64 of something as long as a secret.
	encoded = regexp.MustCompile(`[A-Za-z0-9+/_-]{24,}={0,2}`)
	// jwk is a part of a key in JSON that only its owner has.
	jwk = regexp.MustCompile(`("(?:k|d|p|q|dp|dq|qi)"\s*:\s*)"[A-Za-z0-9_-]{16,}"`)
	// scheme is the value of an authorization header.
	scheme = regexp.MustCompile(`(?i)\b(basic|bearer)\s+[A-Za-z0-9+/._~-]{8,}=*`)
	// assigned is what a program gives a name that says secret, or a header of such a name.
	assigned = regexp.MustCompile(`(?i)((?:[a-z0-9_-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|authorization)[a-z0-9_-]*)["']?\]?\s*(?:=|:|,)\s*["'])[^"'\n]+(["'])`)
)
