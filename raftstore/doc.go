// Package raftstore holds what the global replicates: signing keys (their private
// parts sealed), registered public keys, revocations and cut-offs, zones and
// meshes.
//
// [State] is the pure core. Its Apply takes a command and a Raft index and
// returns a result; it reads no clock, does no I/O and unseals nothing, so that
// every node that applies the same log comes to the same state. [Store] is the
// thin shell around it: hashicorp/raft with a bbolt log and file snapshots, one
// method for each command, and reads of the newest applied state that never wait
// for Raft.
//
// Commands, snapshots and the node's own file are specified in storepb/store.proto
// and codec.go. DESIGN.md says why things are as they are.
package raftstore
