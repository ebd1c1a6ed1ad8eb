//go:build meridian_level_1

package state

// Level makes of this program one that is a feature level older, so that tests can
// upgrade a cluster from it.
const Level = 1
