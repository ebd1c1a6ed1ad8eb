package xdsdir

import (
	"path"
	"slices"
	"strings"

	"github.com/meridiankds/meridian/federation"
)

// Proxy is who wants resources.
type Proxy struct {
	// Type is "dataplane", "ingress" or "egress".
	Type string
	// Mesh and Services are of a data plane proxy.
	Mesh, Name string
	Services   []string
	// Listening is as which types of zone proxies a data plane proxy listens:
	// "ingress", "egress".
	Listening []string
}

// places returns the folders that are about p, the general ones first. Services
// come in the order of their names.
func (p Proxy) places() []string {
	list := []string{"all", p.Type}
	base := p.Type
	if p.Type == "dataplane" {
		base = path.Join(p.Type, "meshes", p.Mesh)
		list = append(list, base)
		for _, service := range slices.Sorted(slices.Values(p.Services)) {
			if safe(service) {
				list = append(list, path.Join(base, "services", service))
			}
		}
		for _, kind := range slices.Sorted(slices.Values(p.Listening)) {
			list = append(list, path.Join(base, listenersStep, kind))
		}
	}
	if safe(p.Name) {
		list = append(list, path.Join(base, "proxies", p.Name))
	}
	return list
}

// listenersStep is the folder of a mesh's data plane proxies that listen as zone proxies.
const listenersStep = "listeners"

// safe reports whether a name that a proxy gives itself can be that of a folder:
// it must not lead anywhere else.
func safe(name string) bool {
	return name != "" && !strings.HasPrefix(name, ".") && !strings.ContainsAny(name, "/\\\x00")
}

// check refuses a folder that is about nobody: a name that was misspelt.
func check(place string) error {
	steps := strings.Split(place, "/")
	wrong := func(at int, want string) error {
		return federation.Errorf(federation.Invalid, "%s: the folder %s is about no proxy", path.Join(steps[:at+1]...), steps[at]).
			WithHint("here may be: %s", want)
	}
	switch kind := steps[0]; {
	case kind == "all" && len(steps) > 1:
		return wrong(1, "files only")
	case kind == "all" || len(steps) == 1 && (kind == "dataplane" || kind == "ingress" || kind == "egress"):
		return nil
	case kind == "ingress" || kind == "egress":
		if steps[1] != "proxies" {
			return wrong(1, "proxies/NAME")
		}
		if len(steps) > 3 {
			return wrong(3, "files only")
		}
		return nil
	case kind != "dataplane":
		return wrong(0, "all, dataplane, ingress, egress")
	case steps[1] != "meshes":
		return wrong(1, "meshes/MESH")
	case len(steps) > 3 && steps[3] != "services" && steps[3] != "proxies" && steps[3] != listenersStep:
		return wrong(3, "services/NAME, listeners/ingress, listeners/egress, proxies/NAME")
	case len(steps) > 4 && steps[3] == listenersStep && steps[4] != "ingress" && steps[4] != "egress":
		return wrong(4, "ingress, egress")
	case len(steps) > 5:
		return wrong(5, "files only")
	}
	return nil
}

// holds reports whether files may stand in the folder: not in one that only has
// folders, such as meshes.
func holds(place string) bool {
	switch steps := strings.Split(place, "/"); len(steps) {
	case 1:
		return place != ""
	case 3:
		return true
	case 5:
		return true
	}
	return false
}
