package xds

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/zone/resource"
	"github.com/meridiankds/meridian/internal/zone/xdsdir"
)

// theProxy is the one node of a stream's own cache.
const theProxy = "proxy"

type oneNode struct{}

// ID implements the library's NodeHash.
func (oneNode) ID(*core.Node) string { return theProxy }

// feed keeps the cache of a stream at what its proxy is to get.
type feed struct {
	stream *stream
	cache  cachev3.SnapshotCache
	last   resources
}

// resources are those of a proxy, by kind and name.
type resources = map[types.ResponseType]map[string]types.Resource

// newFeed returns a feed. Its cache is not in the library's ADS mode, which does
// not answer who asks for less than there is, for example for the first of two
// secrets; the order of a change is kept by update.
func newFeed(st *stream) *feed {
	return &feed{stream: st, cache: cachev3.NewSnapshotCache(false, oneNode{}, nil)}
}

// start fills the cache, and follows the operator's folder until the function that
// is returned is called.
func (f *feed) start() (stop func()) {
	dir := f.stream.server.cfg.Dir
	ctx, cancel := context.WithCancel(f.stream.ctx)
	var changed <-chan struct{}
	if dir != nil {
		changed = dir.Changed()
	}
	f.update(ctx)
	if dir == nil {
		return cancel
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				changed = dir.Changed()
				f.update(ctx)
			}
		}
	}()
	return func() { cancel(); <-done }
}

// update brings the cache to what the proxy is to get now. Where that cannot be
// said the proxy keeps what it has.
//
// What is new comes before what uses it, and what is old goes after: clusters and
// endpoints are added first, then everything else changes, then they are removed.
func (f *feed) update(ctx context.Context) {
	next, err := f.stream.server.resourcesOf(f.stream.conn.Resource)
	if err == nil && f.last != nil {
		between := maps.Clone(f.last)
		for _, kind := range []types.ResponseType{types.Cluster, types.Endpoint, types.Secret} {
			between[kind] = maps.Clone(f.last[kind])
			if between[kind] == nil {
				between[kind] = map[string]types.Resource{}
			}
			maps.Copy(between[kind], next[kind])
		}
		if err = f.set(ctx, between); err == nil {
			between = maps.Clone(between)
			for kind := range types.UnknownType {
				if kind != types.Cluster && kind != types.Endpoint && kind != types.Secret {
					between[kind] = next[kind]
				}
			}
			err = f.set(ctx, between)
		}
	}
	if err == nil {
		err = f.set(ctx, next)
	}
	if err != nil {
		if ctx.Err() == nil {
			s := f.stream.server
			s.lines.Log(ctx, s.cfg.Logger, slog.LevelWarn, "a proxy keeps what it has",
				slog.String("proxy", f.stream.conn.Admission.Subject()), slog.String("detail", err.Error()))
		}
		return
	}
	f.last = next
}

// set puts a state into the cache. Kinds whose content stays are not sent again.
func (f *feed) set(ctx context.Context, all resources) error {
	snapshot := &cachev3.Snapshot{}
	for kind := range types.UnknownType {
		version, err := versionOfAll(all[kind])
		if err != nil {
			return err
		}
		items := make(map[string]types.ResourceWithTTL, len(all[kind]))
		for name, r := range all[kind] {
			items[name] = types.ResourceWithTTL{Resource: r}
		}
		snapshot.Resources[kind] = cachev3.Resources{Version: version, Items: items}
	}
	return f.cache.SetSnapshot(ctx, theProxy, snapshot)
}

// versionOfAll names a set of resources by its content, so that the version is the
// same at every control plane of the zone and after a restart.
func versionOfAll(all map[string]types.Resource) (string, error) {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(all[name])
		if err != nil {
			return "", federation.Errorf(federation.Internal, "packing the resource %.80q: %w", name, err)
		}
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(data)))
		sum.Write(size[:])
		sum.Write(data)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

// resourcesOf returns what a proxy is to get.
func (s *Server) resourcesOf(r *resource.Resource) (resources, error) {
	if s.cfg.Dir != nil {
		set, err := s.cfg.Dir.For(xdsdir.Proxy{Type: r.Kind.ProxyType(), Mesh: r.Mesh, Name: r.Name, Services: r.Services()})
		if err != nil || len(set) > 0 {
			return set, err
		}
	}
	return inbounds(r)
}
