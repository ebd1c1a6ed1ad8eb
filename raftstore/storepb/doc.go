// Package storepb is generated from store.proto by scripts/generate: the
// commands in the Raft log and the records of a snapshot. Only raftstore uses it.
package storepb
