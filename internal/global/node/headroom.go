package node

import "runtime"

// headroom is how much the collector is told that the process holds and does not.
const headroom = 16 << 20

// Headroom lets the heap of a process that is one global grow by 16 MB more than it
// would before garbage is collected, until release is called. A global holds a few
// megabytes. When a thousand zones come at once it makes as much in a moment, and a
// collector that starts at twice a few megabytes walks all their stacks again and again:
// a sixth of the global's processor time. The room is an allocation that nobody touches:
// it takes address space and no memory. A greater GOGC would do the same to a global
// that holds a gigabyte.
func Headroom() (release func()) {
	room := make([]byte, headroom)
	return func() { runtime.KeepAlive(room) }
}
