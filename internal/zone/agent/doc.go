// Package agent is what runs beside a proxy: it shows the zone control plane
// the proxy's resource and token, and has the proxy configured.
//
// An [Agent] works in one of two ways. [Agent.RunEnvoy] asks for a bootstrap
// (POST /bootstrap), starts Envoy with it and ends with Envoy. [Agent.RunADS]
// does what Envoy would do with the bootstrap: it speaks ADS
// (envoy.service.discovery.v3, state of the world) and prints what it is given,
// tokens blotted out. It acknowledges all of that and configures nothing.
//
// The token is read anew for each connection. RunADS also looks at it every
// second: a new one opens a new stream, and only when the zone has answered on
// that is the old one closed. A new token that is refused leaves the old stream
// as it is.
//
// The zone's certificate must be of the CA file, which is followed too. What goes
// wrong on the way, and what the zone says may pass (a proxy that it does not know
// yet, a name that another holds, a defect), is tried again with every address in
// turn, at growing intervals. What the zone refuses by its word, with a reason, is
// final once every address has said so of the token that is in the file.
package agent
