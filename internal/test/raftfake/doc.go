// Package raftfake has networks for tests of the cluster: [Network] connects members
// within one process and cuts them off, [Wrap] loses, doubles and delays single
// requests of Raft.
package raftfake
