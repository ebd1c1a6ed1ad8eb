package redact

import "regexp"

var (
	// Token matches the compact form of a JWT (RFC 7519): a JSON object in base64url begins with
	// "eyJ". The signature may be missing. Only base64url and dots are matched, so that the text
	// around it stays.
	Token = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?`)
	// PrivateKey matches a PEM block of a private key (RFC 7468), or what is there of one.
	PrivateKey = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)`)
)
