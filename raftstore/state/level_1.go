//go:build meridian_level_1

package state

// Level makes of this program an older one, from which tests upgrade a cluster.
const Level = 1
