package client

import (
	"encoding/base64"
	"strconv"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/kuma"
	"github.com/meridiankds/meridian/kds/wire"
)

// join opens the stream, subscribes and waits for the global to admit the zone. A
// zone that has had a global of Meridian's subscribes at once; one that does not
// know waits a moment for the global to say that it is one, because one of Kuma's
// must not be asked for what it does not know.
func (l *link) join() error {
	defer l.deadline().Stop()
	if err := l.openStream(); err != nil {
		return err
	}
	if l.client.expected() == kds.KindMeridian {
		if err := l.subscribe(); err != nil {
			return err
		}
		err := l.welcome()
		if err != nil {
			l.client.unmet() // the next attempt looks first
		}
		return err
	}
	patience := l.client.cfg.DetectAfter
	if l.client.expected() == kds.KindKuma {
		patience = 0
	}
	said := make(chan struct{})
	go func() { // ends with the stream at the latest
		_, _ = l.stream.Header()
		close(said)
	}()
	select {
	case <-said:
	case <-time.After(patience):
		if patience > 0 {
			l.client.cfg.Logger.Info("the global does not say that it is one of Meridian's: asking as zones of Kuma's do")
		}
		if err := l.subscribeKuma(); err != nil {
			return err
		}
		<-said
		l.kuma = true
	case <-l.ctx.Done():
		<-said
	}
	return l.greet()
}

// greet goes on once the global has answered, with what it turned out to be.
func (l *link) greet() error {
	asked := l.kuma
	header, err := l.stream.Header()
	if err != nil {
		return err
	}
	l.kuma = one(header, kds.MDMember) == ""
	switch {
	case !l.kuma:
		// One of Meridian's; answers to what Kuma's would have been asked are dropped.
		if err := l.welcome(); err != nil {
			return err
		}
		if asked {
			if err := l.unsubscribeKuma(); err != nil {
				return err
			}
		}
		return l.subscribe()
	case !asked:
		return l.subscribeKuma()
	}
	return nil
}

// expected is the kind of global that the zone should meet: the one that it had, or
// that it holds the state of. "" where nothing tells.
func (c *Client) expected() string {
	c.mu.Lock()
	kind, unexpected := c.kind, c.unexpected
	c.mu.Unlock()
	if kind != "" || unexpected {
		return kind
	}
	_, rev := c.cfg.Sink.Position()
	return kuma.KindOf(rev)
}

func (l *link) openStream() (err error) {
	desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	l.stream, err = l.conn.NewStream(l.ctx, desc, kds.RPCGlobalToZone, grpc.MaxCallRecvMsgSize(kds.MaxKumaAnswer))
	return err
}

// subscribe asks for changes from where the zone stands. With this the session
// begins, and that of an earlier connection of this instance ends.
func (l *link) subscribe() error {
	proof := l.client.cfg.Sink.Proof() // before the revision, so that it proves no more
	cluster, rev := l.client.cfg.Sink.Position()
	persisted, _ := l.client.cfg.Sink.Persisted()
	l.settler.lost = persisted.Lost
	first := &discovery.DeltaDiscoveryRequest{
		Node:                   &core.Node{Id: l.client.cfg.Zone},
		TypeUrl:                kds.ChangesType,
		ResourceNamesSubscribe: []string{"*"},
	}
	if cluster != "" && !rev.IsZero() {
		vocabulary, skipped := l.client.cfg.Sink.Skipped()
		first.InitialResourceVersions = map[string]string{
			kds.ResourceName: wire.ResumeVersion(cluster, rev), kds.VersionVocabulary: strconv.Itoa(vocabulary),
		}
		if len(proof) > 0 {
			first.InitialResourceVersions[kds.VersionPosition] = base64.StdEncoding.EncodeToString(proof)
		}
		first.ResourceNamesUnsubscribe = skipped
	}
	if err := l.stream.SendMsg(first); err != nil {
		return l.ended(err)
	}
	return nil
}

// welcome waits until the member admits the zone, and sees who it is.
func (l *link) welcome() error {
	header, err := l.stream.Header()
	if err != nil {
		return err
	}
	l.member, l.cluster = one(header, kds.MDMember), one(header, kds.MDCluster)
	l.noteContact(header)
	l.said = kds.Shorter(l.client.cfg.Keepalive.Stream, saidBy(header))
	if l.member == "" {
		// A stream that failed before its header has no header either.
		if err := l.stream.RecvMsg(&wire.Discard{}); err != nil {
			return err
		}
		return federation.Errorf(federation.Invalid, "what answers there is not a Meridian global").
			WithHint("--global-address takes the KDS port of a Meridian global, 5685 unless told otherwise")
	}
	if cluster, _ := l.client.cfg.Sink.Position(); cluster != "" && l.cluster != "" && cluster != l.cluster {
		return wire.OtherCluster(cluster, l.cluster)
	}
	return nil
}

// deadline ends the connection unless the timer is stopped in time.
func (l *link) deadline() *time.Timer {
	d := l.client.cfg.AnswerTimeout
	return time.AfterFunc(d, func() { l.cancel(federation.Errorf(federation.Unavailable, "no answer within %v", d)) })
}

func one(md metadata.MD, key string) string {
	if v := md.Get(key); len(v) == 1 {
		return wire.Printable(v[0])
	}
	return ""
}
