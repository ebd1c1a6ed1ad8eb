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
// before anything changes. No member is removed because a node joins at its address: the
// member may be at another one. An operator who emptied a directory removes what was there
// with "global cluster remove", or the steward does when it has been silent for long.
//
// A joiner that crashes again and again would be one more voter that the cluster then lacks.
// So it must keep up in one run of its process, for longer after each restart, must have
// reported a moment ago, and must answer the leader when it is promoted.
//
// An address says nothing about who is there, and a member that moves keeps its place. Each
// node notes where it found the others: who answers at an address of --join, who says hello,
// and who compares what it has applied, which each member does with all others every second.
// It keeps that on its disk, see raftstore.Store.AddressOf. So all may move at once, and two
// may swap their addresses.
//
// A node that was removed ends with an error that says so; it comes back with an empty
// folder only, as a new node.
//
// # Read replicas
//
// A node that is started with --non-voter follows without a vote for good: it founds
// nothing, and whoever founds does not count it. What the flag says is the member's role;
// it is said in each hello, join and report, and kept nowhere. So the steward promotes only
// members whose report of this leadership asks for it, and a restart without the flag is
// all that a promotion takes. A voter that is started with it is demoted where at least
// --bootstrap-expect others vote and every voter is live: the alternative, at once, lets a
// restart leave a cluster of three with two voters, which bear no loss. Until then it may be
// elected, because Raft knows no voter that votes only for others; it leads for as long
// as its reports take to find another, and hands over. Where nobody wants to vote, somebody
// leads: a cluster that takes no writes would be worse than a flag that is not followed.
//
// A leader of an earlier version promotes a replica, since it does not read the flag; the
// first one that does takes the vote back. Nothing else depends on the flag, so that it
// needs no feature level.
//
// # The steward
//
// The leader promotes, demotes, and cleans up, one step at a time; see plan.go. It is not
// hashicorp/raft-autopilot: that wants to fetch statistics from every server on its own,
// while members report to the leader each second anyway, and what is left is the page of
// rules in plan.go.
package membership
