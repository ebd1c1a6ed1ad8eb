package agent

import (
	"crypto/x509"
	"errors"
	"strings"
)

// reachHint says what to do about a connection that did not come about. gRPC
// hands on the text of an error only.
func reachHint(err error) string {
	var unknownCA x509.UnknownAuthorityError
	var host x509.HostnameError
	text := err.Error()
	switch {
	case errors.As(err, &unknownCA) || strings.Contains(text, "certificate signed by unknown authority"):
		return "name the CA of the zone's certificate with --ca-cert-file; a zone keeps its own as tls/ca.crt in its data folder"
	case errors.As(err, &host) || strings.Contains(text, "x509: certificate is valid for"):
		return "use a name in --cp-address that the zone's certificate is made out for"
	case strings.Contains(text, "x509: certificate has expired"):
		return "the zone's certificate must be renewed, or a clock is wrong"
	}
	return "is the zone running, and is this its port for proxies?"
}
