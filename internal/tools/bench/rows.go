package main

import "context"

// row is one thing to measure. It may report several lines, NAME/what.
type row struct {
	name, about string
	byName      bool // only where it is asked for
	quick       bool // or with --quick
	run         func(ctx context.Context, s *scope) error
}

// rows are in the order in which they run.
func rows() []row {
	return []row{
		{name: "verify-cold", about: "a token is verified for the first time", run: verifyCold},
		{name: "verify-warm", about: "a token is verified again", run: verifyWarm},
		{name: "verify-revoked-1m", about: "a token is verified where 1,000,000 ids are revoked", run: verifyRevoked},
		{name: "revocation-memory", about: "what a revoked id occupies at a zone", run: revocationMemory},
		{name: "issue-http", about: "a token over HTTP: the global's processor time", run: issueHTTP},
		{name: "issue-go", about: "a token in the issuing process", run: issueGo},
		{name: "propagate-1", about: "a revocation reaches one zone, from the write on", run: propagate1},
		{name: "propagate-1000", about: "a revocation reaches 1,000 zones, from the commit on", run: propagateMany("propagate-1000", 1000, 50, 30, propagateFactor)},
		{name: "propagate-durable", about: "the same to zones whose copies are on this machine's disk", run: propagateDurable},
		{name: "propagate-bytes", about: "what one more revocation takes on a zone's connection", run: propagateBytes},
		{name: "session-cut", about: "a zone's token, or a proxy's at its zone, is revoked: until its session has ended", run: sessionCut},
		{name: "xds-50x50", about: "50 proxies at a zone with 50 clusters each, which all change: until every proxy has them", run: xdsChange},
		{name: "connect-1000", about: "1,000 zones connect at once and have full state", run: connect1000},
		{name: "connect-1000-tls", about: "the same with TLS, against the handshakes alone", run: connect1000TLS},
		{name: "zones-8000", about: "8,000 zones on one node", run: zones8000},
		{name: "zones-8000-tls", about: "8,000 zones come with TLS at once, and again: nobody is cut off", run: zones8000TLS},
		{name: "zone-memory", about: "what a connected zone occupies at the global", run: zoneMemory},
		{name: "zone-idle-cpu", about: "what 1,000 idle zones cost the global", run: zoneIdleCPU},
		{name: "replicas", about: "400 zones at 3 voters and 2 read replicas, against the same zones at the voters alone", run: replicas},
		{name: "failover", about: "the leader of three is killed: until the next write is accepted", run: failover},
		{name: "raft-write", about: "a write at a lone global", run: raftWrite},
		{name: "snapshot-1m", about: "a backup of 1,000,000 revoked ids", run: snapshot1m},
		{name: "zone-start-1m", about: "a zone starts with 1,000,000 revoked ids, until it verifies", run: zoneStart1m},
		{name: "global-memory", about: "what an empty global occupies", run: globalMemory},
		{name: "start", about: "an empty global, until it is ready", run: start},
		{name: "growth", about: "how the main figures grow with zones and revoked ids", byName: true, run: growth},
		{name: "soak", about: "ten minutes of everything at once, with --quick one: does anything grow", byName: true, run: soak},
		{name: "flood", about: "every port attacked at once, two minutes a case: memory and valid callers", byName: true, quick: true, run: flood},
		{name: "size", about: "the programs on disk", run: size},
	}
}
