package bootstrap

import "github.com/meridiankds/meridian/internal/zone/resource"

// Answer is the body of the answer to POST /bootstrap.
type Answer struct {
	Bootstrap []byte  `json:"bootstrap"` // YAML, in base64
	Sidecar   Sidecar `json:"kumaSidecarConfiguration"`
}

// Sidecar is what kuma-dp does besides starting Envoy.
type Sidecar struct {
	Networking SidecarNetworking `json:"networking"`
	Metrics    SidecarMetrics    `json:"metrics"`
}

// SidecarNetworking tells about redirected traffic and DNS. An empty template is
// for the proxy's own.
type SidecarNetworking struct {
	TransparentProxy bool   `json:"isUsingTransparentProxy"`
	CorefileTemplate string `json:"corefileTemplate"`
	Address          string `json:"address"`
}

// SidecarMetrics names services whose metrics the proxy gathers: none.
type SidecarMetrics struct {
	Aggregate []struct{} `json:"aggregate"`
}

// AnswerOf returns the answer with a bootstrap.
func AnswerOf(bootstrap []byte, r *resource.Resource) Answer {
	a := Answer{Bootstrap: bootstrap, Sidecar: Sidecar{Metrics: SidecarMetrics{Aggregate: []struct{}{}}}}
	if a.Sidecar.Networking.TransparentProxy = r.TransparentProxy; r.TransparentProxy {
		a.Sidecar.Networking.Address = r.Address
	}
	return a
}
