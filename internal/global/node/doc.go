// Package node is a whole global control plane as a value: `global server`
// and `global dev` run one, and tests run several in one process.
//
// [New] validates, opens the data folder and binds every port; it starts nothing.
// [Node.Run] starts the parts and ends them in the reverse order:
//
//	store    the replicated state; last to end, everybody else reads it
//	fleet    reports this member's zone sessions
//	kds      zone control planes, port 5685
//	api      operators, ports 5681 and 5682 and the admin socket
//	diag     health, port 5680
package node
