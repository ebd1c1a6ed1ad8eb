// Package membership decides who is a member of the global cluster. Every node runs
// it with the same line, --bootstrap-expect N --join a,b,c, at its first start, at a
// restart and when the cluster grows.
//
// # Founding
//
// A node that holds no state asks every address of --join who is there. It founds the
// cluster if all of this is so:
//
//   - every address answered, and none of the nodes holds state;
//   - there are at least N nodes, itself included, and all of them expect N and see
//     the same ones;
//   - its id is the lowest of them, and each of the others promised that it may.
//
// A node gives its promise to one founder only, for as long as it sees that founder. The
// founder founds a cluster of itself alone, which the others join; it takes no
// requests before N members vote. An address that is silent may be a member that holds
// state, so that one silent address prevents a founding: an emptied folder never begins
// a second cluster beside one that exists. Who has lost a majority recovers it on
// purpose, not by starting empty nodes.
//
// # Joining
//
// A node that holds no state, where another one does, asks the leader to take it in. It
// follows without a vote and is promoted once it keeps up. The leader dials
// back first, so that a wrong --advertise and a second process under one id are found
// before anything changes. Where the address is that of a member which is another node by
// now, its folder emptied, that member is removed first, if the others are a majority
// without it.
//
// A member that was started at another address tells the leader. Until the cluster's
// configuration says so, and also where all of them moved at once, members find each
// other through what the addresses of --join answer, see [Membership.AddressOf].
//
// A node that was removed ends with an error that says so; it comes back with an empty
// folder only, as a new node.
//
// # The steward
//
// The leader promotes, and cleans up, one step at a time; see plan.go. It is not
// hashicorp/raft-autopilot: that wants to fetch statistics from every server on its own,
// while members report to the leader each second anyway, and what is left is the page of
// rules in plan.go.
package membership
