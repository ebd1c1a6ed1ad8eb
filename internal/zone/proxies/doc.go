// Package proxies knows the proxies of a zone: what each said of itself, and the
// connections that it has open.
//
// A proxy is its type, its mesh where it has one, and its name. [Registry.Register]
// keeps the resource that a proxy brought to /bootstrap, so that its Envoy need not
// repeat it; [Registry.Attach] opens a connection's session, registered first and
// judged then, so that no revocation slips in between.
//
// A name belongs to who is connected under it. A newcomer under a name that is in
// use is taken for the same proxy, and let in, if it
//
//   - presents the very token, or the service account, of one of the connections, or
//   - comes from the address of one of them, as after a restart or with a new
//     token, or
//   - presents a token that names this proxy, or that is bound to its pod.
//
// Any other is refused with the reason "name_taken", which changes nothing for who
// is connected. A proxy that moved to another machine while its old connection was
// cut off without a word waits until that one is found dead, for half a minute at
// most. At most [MaxPerName] streams of a proxy are open: one more is refused, unless the
// oldest is silent and gives way to it, so that nobody is locked out by their own dead
// predecessors and live streams do not displace each other. Who opens streams in a loop
// is slowed.
package proxies
