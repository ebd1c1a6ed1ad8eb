package envoyres

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cache "github.com/envoyproxy/go-control-plane/pkg/cache/v3"

	"github.com/meridiankds/meridian/federation"
)

// Kind is a type of resource that proxies ask for.
type Kind = types.ResponseType

// Key names a resource among those of a proxy.
type Key struct {
	Kind Kind
	Name string
}

// String returns the short name of the type and the name, such as "Cluster backend".
func (k Key) String() string {
	url := URL(k.Kind)
	return url[strings.LastIndexByte(url, '.')+1:] + " " + k.Name
}

// Resource is one resource. It is never changed.
type Resource struct {
	Key
	Message types.Resource
	// Packed is the message as it is sent.
	Packed *anypb.Any
	// Version names the content: it is the same at every zone control plane, and after a
	// restart.
	Version string
	// References are what the resource relies on.
	References []Reference
}

// Set is the resources of a proxy.
type Set map[Key]*Resource

// New packs a message and finds what it refers to. The error is Invalid where proxies ask
// for no such type, or where it has no name.
func New(message types.Resource) (*Resource, error) {
	url := "type.googleapis.com/" + string(proto.MessageName(message))
	kind := KindOf(url)
	if kind == types.UnknownType {
		return nil, federation.Errorf(federation.Invalid, "%.100q is no type of resource that proxies ask for", url)
	}
	name := cache.GetResourceName(message)
	if name == "" {
		return nil, federation.Errorf(federation.Invalid, "has no name")
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "packing the resource %.80q: %w", name, err)
	}
	sum := sha256.Sum256(data)
	return &Resource{
		Key: Key{kind, name}, Message: message, Packed: &anypb.Any{TypeUrl: url, Value: data},
		Version: hex.EncodeToString(sum[:8]), References: referencesOf(message),
	}, nil
}

// SetOf returns the set of some resources.
func SetOf(list ...*Resource) Set {
	set := make(Set, len(list))
	for _, r := range list {
		set[r.Key] = r
	}
	return set
}

// URL returns the URL of a kind's type.
func URL(kind Kind) string {
	url, err := cache.GetResponseTypeURL(kind)
	if err != nil {
		return ""
	}
	return url
}

// KindOf returns the kind of a type's URL, [types.UnknownType] where proxies ask for none
// such.
func KindOf(url string) Kind {
	for _, kind := range Kinds() {
		if URL(kind) == url {
			return kind
		}
	}
	return types.UnknownType
}

// Kinds are the types of resources that proxies ask for.
func Kinds() []Kind {
	return []Kind{types.Endpoint, types.Cluster, types.Route, types.ScopedRoute, types.VirtualHost, types.Listener,
		types.Secret, types.Runtime, types.ExtensionConfig}
}
