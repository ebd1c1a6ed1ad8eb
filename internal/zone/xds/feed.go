package xds

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/zone/envoyres"
	"github.com/meridiankds/meridian/internal/zone/resource"
	"github.com/meridiankds/meridian/internal/zone/rollout"
	"github.com/meridiankds/meridian/internal/zone/xdsdir"
)

// feed gives the proxy of a stream what it is to have, in the order that package rollout
// decides.
type feed struct {
	stream *stream
	key    string // under which is remembered what the proxy holds
	send   func(*rollout.Response) error

	mu      sync.Mutex // the stream's goroutine tells rollout, others look at it
	rollout *rollout.Stream
	known   bool // what the proxy is to have
}

// newFeed returns a feed that goes on where the proxy's last stream ended.
func newFeed(st *stream, delta bool, send func(*rollout.Response) error) *feed {
	s := st.server
	f := &feed{stream: st, send: send, key: st.conn.Protocol + " " + st.conn.ID.Type + " " + st.conn.ID.NodeID()}
	f.rollout = rollout.NewStream(rollout.Options{Delta: delta, Drain: s.cfg.Limits.Drain, Linger: s.cfg.Limits.Settle,
		Resume: s.memory.Of(f.key, s.cfg.Now())})
	st.conn.Observe(f)
	return f
}

// Status implements [proxies.Watched].
func (f *feed) Status() []rollout.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rollout.Status()
}

// Holdings implements [proxies.Watched].
func (f *feed) Holdings() []rollout.Holding {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rollout.Holdings()
}

// end remembers what the proxy holds.
func (f *feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stream.server.memory.Keep(f.key, f.rollout.Leave(), f.stream.server.cfg.Now())
}

// serve answers a stream until it ends, and returns why it did. read turns a message into
// what package rollout understands; nil is to be passed over.
func serve[M message](f *feed, in *inbox[M], first M, read func(M) (*rollout.Request, error)) error {
	defer f.end()
	take := func(m M) error {
		request, err := read(m)
		if err == nil && request != nil {
			err = f.take(request)
		}
		if err != nil {
			f.stream.conn.End(err)
		}
		return err
	}
	changed := f.want()
	if err := take(first); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		again, err := f.pump()
		if err != nil {
			return err
		}
		timer.Stop()
		if !again.IsZero() {
			timer.Reset(clock.Left(again, f.stream.server.cfg.Now()))
		}
		select {
		case m := <-in.messages:
			if err := take(m); err != nil {
				return err
			}
		case <-changed:
			changed = f.want()
		case <-timer.C:
		case <-in.ended:
			return in.err
		case <-f.stream.ctx.Done():
			return context.Cause(f.stream.ctx)
		}
	}
}

// want tells rollout what the proxy is to have now. Where that cannot be said the proxy
// keeps what it has. The channel is closed when it may have changed.
func (f *feed) want() (changed <-chan struct{}) {
	s := f.stream.server
	if s.cfg.Dir != nil {
		changed = s.cfg.Dir.Changed()
	}
	set, err := s.resourcesOf(f.stream.conn.Resource)
	if federation.CodeOf(err) == federation.Invalid {
		f.stream.conn.End(err) // it is the proxy that must say something else
	}
	if err != nil {
		s.lines.Log(f.stream.ctx, s.cfg.Logger, slog.LevelWarn, "a proxy keeps what it has",
			slog.String("proxy", f.stream.conn.Admission.Subject()), slog.String("detail", err.Error()))
		return changed
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rollout.Want(set)
	f.known = true
	return changed
}

// take takes what the proxy says. The error is of a proxy that asks for too much.
func (f *feed) take(m *rollout.Request) error {
	f.mu.Lock()
	answer := f.rollout.Take(m, f.stream.server.cfg.Now())
	names, bytes := f.rollout.Asked()
	f.mu.Unlock()
	if names > maxAllNames || bytes > maxAllBytes {
		return federation.Errorf(federation.TooLarge, "the proxy asks for %d resources by name, with %d bytes; at most %d and %d are kept for a stream",
			names, bytes, maxAllNames, maxAllBytes)
	}
	if answer.Version == "" {
		return nil
	}
	st, url := f.stream, envoyres.URL(m.Kind)
	detail := ""
	if answer.Refused {
		detail = cmp.Or(clipTo(m.Detail, maxDetail), "no reason given")
	}
	st.conn.Answered(url, m.Nonce, detail)
	if answer.Refused {
		if count := st.server.cfg.Refused; count != nil {
			count(url[strings.LastIndexByte(url, '.')+1:])
		}
		st.server.lines.Log(st.ctx, st.server.cfg.Logger, slog.LevelWarn, "a proxy refused what it was sent",
			slog.String("proxy", st.conn.Admission.Subject()), slog.String("type", url), slog.String("version", answer.Version),
			slog.String("resources", clipTo(strings.Join(answer.Names, ", "), maxDetail)), slog.String("detail", detail))
	}
	return nil
}

// pump sends everything that is due. again is when to look again; zero where that depends on
// what comes.
func (f *feed) pump() (again time.Time, err error) {
	for f.known {
		f.mu.Lock()
		response, again := f.rollout.Next(f.stream.server.cfg.Now())
		f.stream.conn.Refuses(f.rollout.Refusing())
		f.mu.Unlock()
		if response == nil {
			return again, nil
		}
		if err := f.stream.maySend(envoyres.URL(response.Kind), response.Version, response.Nonce); err != nil {
			return again, err
		}
		if err := f.send(response); err != nil {
			return again, err
		}
	}
	return again, nil
}

// ProxyOf is who a proxy is to the operator's folder.
func ProxyOf(r *resource.Resource) xdsdir.Proxy {
	return xdsdir.Proxy{Type: r.Kind.ProxyType(), Mesh: r.Mesh, Name: r.Name, Services: r.Services(), Listening: r.Listening()}
}

// resourcesOf returns what a proxy is to get: what the operator's folder has for it, and, as
// long as that has no listener, its inbound listeners with what these need.
func (s *Server) resourcesOf(r *resource.Resource) (envoyres.Set, error) {
	set := envoyres.Set{}
	if s.cfg.Dir != nil {
		var err error
		set, err = s.cfg.Dir.For(ProxyOf(r))
		if err != nil {
			return nil, err
		}
	}
	for key := range set {
		if key.Kind == types.Listener {
			return set, nil
		}
	}
	own, err := inbounds(r)
	if err != nil {
		return nil, err
	}
	maps.Copy(own, set) // what the operator wrote stands above it
	return own, nil
}
