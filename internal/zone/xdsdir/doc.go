// Package xdsdir is an operator's folder of Envoy resources: what a zone gives to
// its proxies.
//
// A proxy gets what stands in the folders that are about it, from the general to
// the special:
//
//	all/                                   every proxy
//	dataplane/                             every data plane proxy
//	dataplane/meshes/MESH/                 … of a mesh
//	dataplane/meshes/MESH/services/NAME/   … that serves this kuma.io/service
//	dataplane/meshes/MESH/listeners/TYPE/  … that listens as ingress or egress
//	dataplane/meshes/MESH/proxies/NAME/    … of this name
//	ingress/, egress/                      every zone proxy of that kind
//	ingress/proxies/NAME/                  … of this name
//
// A resource replaces the one of its type and name in a more general folder. A
// file is YAML or JSON, with the resources under "resources" as Envoy's own files
// have them, each with its @type. Names that begin with a dot are passed over, so
// that a mounted ConfigMap works.
//
// The folder is looked at every second. A folder with a bad file keeps what it
// held before, as a whole; where there was nothing before, who it is about is
// given nothing at all until it is mended, rather than a part. A folder whose last file is
// gone counts as a bad one, also when a program starts that remembers that there were any:
// nothing vanishes unasked, and a file with no resources says that it is meant. Resources may hold
// secrets: no message repeats a value.
package xdsdir
