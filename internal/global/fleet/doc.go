// Package fleet knows which zone control planes are connected to which member of
// the global, and what they hold. From that it decides the gates of a key's life:
// nothing is signed with a key that a member or an online zone lacks.
//
// Every member sends a [Report] of its own sessions about once a second and on
// every change; a [Fleet] keeps the latest of each. Reports live outside Raft:
// they are observations, worth nothing after a restart, and a thousand zones'
// heartbeats have no place in a replicated log. A report is trusted until its
// lease ends. A member that has gone silent holds gates closed until then,
// because its zones may well be alive and without the key; afterwards its zones
// count as offline and are named, so that a dead member cannot stop a rotation
// for good.
//
// # Online
//
// A session is (zone, instance); a zone may run several control planes. A session
// is online when it is open, on a member whose lease is live, and has once caught
// up with its node's revision (Synced). Catching up makes a session online, and
// only the end of the session or of the lease undoes it: were a session offline
// again at each change until it acknowledges that change, every gate would find
// nobody to wait for. A zone is online when one of its sessions is.
//
// # Gates
//
// A gate is stricter than "online": it waits for every open session on a live
// member, also one that is still catching up, since that zone serves from its
// disk all the while. A zone holds a change when all of those sessions
// acknowledged it, two sessions of one instance included: which of the two is the
// dead one cannot be told by clocks of different members, and the dead one ends
// soon.
//
// An unauthenticated session neither opens nor closes a gate, unless
// Options.TrustUnauthenticated says otherwise: a stranger who gives a zone's name
// must be able to do neither.
package fleet
