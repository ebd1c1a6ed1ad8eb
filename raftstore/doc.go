// Package raftstore replicates the global's state: [Store] is a member of the
// cluster, with hashicorp/raft, a bbolt log and file snapshots, one method for each
// change, and reads of the newest applied state that never wait for Raft.
//
// What is replicated, and what each change does to it, is the pure core in package
// raftstore/state. Files and their checks are in raftstore/disk, connections between
// members in raftstore/raftnet, the formats of commands and records in
// raftstore/storepb. DESIGN.md says why things are as they are.
package raftstore
