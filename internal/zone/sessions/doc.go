// Package sessions ends at a zone what a token opened, once the token holds no
// longer: it expired, was revoked or cut off, or the key that signed it was
// removed.
//
// Whoever serves something long-lived to a proxy first verifies its token, then
// opens a [Session] for it in the zone's [Registry], and serves under the
// session's context. Open judges the grant once more after it is registered, so
// that a revocation that arrives in between is not missed. Run judges every open
// session again whenever the zone's copy of keys and revocations changes, which
// is before the zone acknowledges the change to the global, or right after: it
// costs a lookup each, no signature. The reason is the cause of the context.
package sessions
