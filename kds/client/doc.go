// Package client is the zone's end of kds: it keeps a kds.Sink current from any
// member of the global that admits the zone, and passes on what its users ask for.
package client
