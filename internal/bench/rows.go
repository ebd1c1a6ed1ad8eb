package main

import "context"

// row is one thing to measure. It may report several lines, NAME/what.
type row struct {
	name, about string
	byName      bool // only where it is asked for
	run         func(ctx context.Context, s *scope) error
}

// rows are in the order in which they run.
func rows() []row {
	return []row{
		{name: "failover", about: "the leader of three is killed: until the next write is accepted", run: failover},
		{name: "global-memory", about: "what an empty global occupies", run: globalMemory},
		{name: "start", about: "an empty global, until it is ready", run: start},
		{name: "size", about: "the programs on disk", run: size},
	}
}
