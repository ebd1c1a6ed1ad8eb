package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/kds"
	kdsclient "github.com/meridiankds/meridian/kds/client"
	kdswire "github.com/meridiankds/meridian/kds/wire"
	"github.com/meridiankds/meridian/keysync"
)

// zonesRole is many zones in one child: Meridian's own client for each, with a copy
// in memory or on disk.
type zonesRole struct {
	sessions map[string]tls.ClientSessionCache // by zone, over its connections

	seen    arrivals
	zones   []copyOf
	clients []*kdsclient.Client
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// copyOf is what a zone holds.
type copyOf interface {
	kds.Sink
	check(rev federation.Revision, id string) error
}

// zonesJoin says who joins what.
type zonesJoin struct {
	Address string     `json:"address"`
	Others  []string   `json:"others"` // instead of Address: several members
	CAFile  string     `json:"caFile"` // empty: without TLS
	Zones   []joinZone `json:"zones"`
	Dir     string     `json:"dir"` // where copies are on disk; empty: in memory
}

func (j zonesJoin) addresses() []string {
	if len(j.Others) > 0 {
		return j.Others
	}
	return []string{j.Address}
}

func (j zonesJoin) of(z joinZone) []string {
	if z.Address != "" {
		return []string{z.Address}
	}
	return j.addresses()
}

type joinZone struct {
	Name    string `json:"name"`
	Token   string `json:"token"`
	Address string `json:"address,omitempty"` // of the one member that it joins; empty: as all do
}

func newZonesRole() (methods, func()) {
	asMany()
	r := &zonesRole{}
	return methods{
		"join": method(r.join),
		"arm": method(func(context.Context, none) (none, error) {
			r.seen.arm(len(r.zones))
			return none{}, nil
		}),
		"collect":   method(r.collect),
		"hold":      method(r.hold),
		"connected": method(r.connected),
		"leave": method(func(context.Context, none) (none, error) {
			r.leave()
			return none{}, nil
		}),
	}, r.leave
}

// join starts all zones at once and waits until each has full state. It returns
// when they began and when each was there.
func (r *zonesRole) join(ctx context.Context, in zonesJoin) (joined, error) {
	secure := func(string) func(func(error)) (*tls.Config, func()) { return nil }
	if in.CAFile != "" {
		pool, err := tlsutil.LoadPool(in.CAFile)
		if err != nil {
			return joined{}, err
		}
		secure = func(zone string) func(func(error)) (*tls.Config, func()) { return r.secure(pool, zone) }
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	kdswire.LogLibrary(logger)
	for i, zone := range in.Zones {
		sink, instance, err := r.copy(i, zone.Name, in.Dir)
		if err != nil {
			return joined{}, err
		}
		r.zones = append(r.zones, sink)
		r.clients = append(r.clients, kdsclient.New(kdsclient.Config{
			Zone: zone.Name, Instance: instance, Version: agent, Addresses: in.of(zone), TLS: secure(zone.Name),
			Token: func() (string, error) { return zone.Token, nil }, Sink: sink, Logger: logger,
		}))
	}
	r.seen.arm(len(r.zones))
	run, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	begun := time.Now().UnixNano()
	for _, c := range r.clients {
		r.running.Go(func() { _ = c.Run(run) })
	}
	stamps, err := r.seen.collect(ctx)
	return joined{begun, stamps}, err
}

// secure is how a zone speaks TLS: it resumes a session with a member that it was
// connected to before, as a zone's process does.
func (r *zonesRole) secure(pool *x509.CertPool, zone string) func(func(error)) (*tls.Config, func()) {
	if r.sessions == nil {
		r.sessions = map[string]tls.ClientSessionCache{}
	}
	if r.sessions[zone] == nil {
		r.sessions[zone] = tls.NewLRUClientSessionCache(tlsutil.Sessions)
	}
	config := tlsutil.Client(pool)
	config.ClientSessionCache = r.sessions[zone]
	return func(func(error)) (*tls.Config, func()) { return config, func() {} }
}

// joined is when receivers began to connect, and when each had what it came for.
type joined struct {
	Begun  int64   `json:"begun"`
	Stamps []int64 `json:"stamps"`
}

func (j joined) took() ([]time.Duration, error) { return since(j.Begun, j.Stamps) }

func (r *zonesRole) copy(i int, zone, dir string) (copyOf, string, error) {
	if dir == "" {
		return &memoryZone{number: i, seen: &r.seen}, fmt.Sprint(zone, "-0"), nil
	}
	store, err := keysync.Open(filepath.Join(dir, zone, "zone.db"), keysync.Options{Zone: zone})
	if err != nil {
		return nil, "", err
	}
	return &diskZone{store: store, number: i, seen: &r.seen}, store.Instance(), nil
}

// expected is what every zone must have seen: up to a revision, and this id.
type expected struct {
	Revision federation.Revision `json:"revision"`
	ID       string              `json:"id"`
}

// collect returns when each zone saw what came since arm, once each holds it.
func (r *zonesRole) collect(ctx context.Context, in expected) ([]int64, error) {
	stamps, err := r.seen.collect(ctx)
	if err != nil {
		return nil, err
	}
	for _, z := range r.zones {
		if err := z.check(in.Revision, in.ID); err != nil {
			return nil, err
		}
	}
	return stamps, nil
}

// hold says which zones do not hold a revision or would accept an id.
func (r *zonesRole) hold(_ context.Context, in expected) (lacking, error) {
	var l lacking
	for i, z := range r.zones {
		if err := z.check(in.Revision, in.ID); err != nil {
			l.Zones++
			s := r.clients[i].Status()
			l.Why = fmt.Sprintf("%v (connected: %v, current: %v, %s)", err, s.Connected, s.Current, s.LastError)
		}
	}
	return l, nil
}

// lacking is how many zones lack something, and why one of them does.
type lacking struct {
	Zones int    `json:"zones"`
	Why   string `json:"why"`
}

// link is a zone's connection: whether it is there, and since when.
type link struct {
	Connected bool   `json:"connected"`
	Since     int64  `json:"since"`
	Reason    string `json:"reason"`
}

func (r *zonesRole) connected(context.Context, none) ([]link, error) {
	links := make([]link, len(r.clients))
	for i, c := range r.clients {
		s := c.Status()
		links[i] = link{s.Connected, s.Since.UnixNano(), s.LastReason}
	}
	return links, nil
}

func (r *zonesRole) leave() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.running.Wait()
	for _, z := range r.zones {
		if d, ok := z.(*diskZone); ok {
			_ = d.store.Close()
		}
	}
	r.zones, r.clients, r.cancel = nil, nil, nil
}

// zones is that role, seen from the parent.
type zones struct {
	*child
	from  *global
	names []string
	join  zonesJoin
}

// startZones prepares n zones of a global; they have not joined yet.
func (s *scope) startZones(ctx context.Context, name string, g *global, n int, caFile, dir string) (*zones, error) {
	z := &zones{from: g, join: zonesJoin{Address: g.ends.KDS, CAFile: caFile, Dir: dir}}
	for i := range n {
		z.names = append(z.names, fmt.Sprintf("%s-%d", name, i))
	}
	tokens, err := ask[[]string](ctx, g.child, "tokens", z.names)
	if err != nil {
		return nil, err
	}
	for i, name := range z.names {
		z.join.Zones = append(z.join.Zones, joinZone{Name: name, Token: tokens[i]})
	}
	z.child, err = s.role("zones", name)
	return z, err
}

// connect has all of them join, and returns how long each took to full state.
func (z *zones) connect(ctx context.Context) ([]time.Duration, error) {
	j, err := ask[joined](ctx, z.child, "join", z.join)
	if err != nil {
		return nil, err
	}
	return j.took()
}

func (z *zones) leave(ctx context.Context) error {
	_, err := ask[none](ctx, z.child, "leave", none{})
	return err
}

// settle waits until the global has every zone's acknowledgement of what it holds.
func (z *zones) settle(ctx context.Context, rev federation.Revision) error {
	return untilEvery(ctx, 20*time.Millisecond, "every zone's acknowledgement", func() (bool, error) {
		h, err := ask[held](ctx, z.from.child, "sessions", rev)
		return err == nil && h.Holding >= len(z.names), err
	})
}
