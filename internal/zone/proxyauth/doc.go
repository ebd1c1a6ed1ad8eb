// Package proxyauth is how proxies prove to a zone who they are.
//
// The settings say how ([keyring.Settings]): for zone proxies and for data plane
// proxies apart, the [keyring.Method]. An [Authenticator] decides over a proxy and what
// it presents, and returns an [Admission] with the grant for which whoever serves the
// proxy opens a session.
//
// Everything that serves proxies asks the one Authenticator of its zone: ADS and
// bootstrap, ext_authz and the JSON check alike. It also refuses where the zone
// has not been current with the global for longer than it may (MaxStale), so that nobody
// can forget to ask.
package proxyauth
