// Package cluster runs globals and zones for tests: whole nodes in one
// process on ports of their own choosing, or the real binaries, with a relay
// between a zone and its global that can be stalled and cut.
//
// Everything listens on loopback, lives in the test's temporary folder and ends
// with the test.
package cluster
