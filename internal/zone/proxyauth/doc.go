// Package proxyauth is how proxies prove to a zone who they are.
//
// [Settings] say it, under the keys that users of Kuma know (dpServer.authn…): for
// zone proxies and for data plane proxies apart, the [Method], and for tokens the
// keys that verify them. A [Keyring] joins those keys, the global's and the zone's
// own, into the one [cptoken.View] that everything at the zone is held against. An
// [Authenticator] decides over a proxy and what it presents, and returns an
// [Admission] with the grant for which whoever serves the proxy opens a session.
//
// Everything that serves proxies asks the one Authenticator of its zone: ADS and
// bootstrap, ext_authz and the JSON check alike. It also refuses where the zone
// has not heard from the global for longer than it may (MaxStale), so that nobody
// can forget to ask.
package proxyauth
