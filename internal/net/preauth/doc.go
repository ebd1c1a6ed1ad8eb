// Package preauth bounds what callers cost who have not proved who they are, on every
// port of a process together, and sees to it that they keep nobody out. What
// authenticated callers hold is counted here too.
//
// # What an unauthenticated caller costs
//
// A [Budget] is shared by all listeners of a process. A connection is charged what it
// occupies (TLS, buffers, goroutines), and every byte that is read from it, since the
// layers above keep what they cannot handle yet: half a header, the windows of HTTP/2,
// the receive buffers of gRPC. Until a request begins each byte counts forty times:
// headers occupy that much more than they are long. Those of a body count twice, as the
// collector lets as much again be in use. A request takes over the bytes of its
// body and is charged its headers and its goroutine. Streams of HTTP/2 that no handler has
// are charged too: those on their way to one, of which eight may be on a connection, those
// that are refused without one, and answers that nobody takes. Where descriptors are scarce, a connection costs as
// much more as makes their number fit: there is one currency.
//
// A caller has ten seconds from when the server begins its handshake to its first
// authenticated request. The processor is given in turn, by network, then address, to as
// many at a time as there are processors: to handshakes, whose wait does not count against
// the ten seconds, and to what comes after them until a handler has it. Addresses that have
// lately proved themselves have as many places of their own. A complete public request
// begins the ten seconds anew.
//
// While fewer than half of the bytes are floors, every IPv4 address and every IPv6 /64
// keeps one connection with its first request. Above it the address, /64 and /48 that
// holds most gives way, its least advanced connection or request first; addresses that
// have lately proved themselves come last. Handshakes that wait for the processor or
// have it are not cut for their own address: its newcomers stay in the accept queue.
//
// A balancer that is named in the configuration tells with PROXY protocol whose
// connection it passes on. Behind a balancer that does not, everybody has its address:
// its callers are bounded, but not told apart.
package preauth
