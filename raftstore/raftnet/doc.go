// Package raftnet connects the members of a cluster: Raft's transport over a layer
// that somebody else secures, each connection naming the node that it is meant for,
// and Raft's log as slog.
package raftnet
