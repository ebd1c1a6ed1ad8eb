package peer

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/global/audit"
	"github.com/meridiankds/meridian/internal/net/preauth"
)

// Node answers the requests of other members.
type Node interface {
	ClusterID() string
	// MemberIDs are the nodes that are members, as this node sees it.
	MemberIDs() []string
	// CheckMember returns nil for a node that is a member in the leader's view, which a node that
	// does not lead asks for.
	CheckMember(ctx context.Context, node string) error
	Applied() uint64
	Hello(from Hello) Hello
	Promise(p Promise) error
	Join(ctx context.Context, r JoinRequest) error
	Report(r Report) (ReportAnswer, error)
	ReadIndex() (uint64, error)
	// Now is what time it is by this node's clock.
	Now() time.Time
	SeeZone(ctx context.Context, name string) (federation.Zone, error)
	Audit(q audit.Query) (audit.Page, error)
	// Standing compares another member's standing with this one's.
	Standing(s Standing) Standings
	// Picture is the leader's.
	Picture() (Picture, error)
}

// Handler serves the requests of this package. api serves what is forwarded; nil
// until it can. It answers nobody who has not proved the seal key, and of who has, only
// members, except where it must tell a node how to become one.
func Handler(n Node, api http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST "+pathHello, answer(maxBody, func(_ context.Context, from Hello) (Hello, error) { return n.Hello(from), nil }))
	mux.Handle("POST "+pathPromise, answer(maxBody, func(_ context.Context, p Promise) (struct{}, error) { return struct{}{}, n.Promise(p) }))
	mux.Handle("POST "+pathJoin, answer(maxBody, func(ctx context.Context, r JoinRequest) (struct{}, error) {
		if err := speaksForItself(ctx, r.NodeID); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, n.Join(ctx, r)
	}))
	mux.Handle("POST "+pathStanding, answer(maxBody, func(ctx context.Context, s Standing) (Standings, error) {
		if err := speaksForItself(ctx, s.Node); err != nil {
			return Standings{}, err
		}
		return n.Standing(s), nil
	}))
	members := http.NewServeMux()
	members.Handle("POST "+pathReport, answer(maxReport, func(ctx context.Context, r Report) (ReportAnswer, error) {
		if err := speaksForItself(ctx, r.Member); err != nil {
			return ReportAnswer{}, err
		}
		return n.Report(r)
	}))
	members.Handle("POST "+pathReadIndex, answer(maxBody, func(context.Context, struct{}) (ReadIndex, error) {
		index, err := n.ReadIndex()
		return ReadIndex{index, n.MemberIDs()}, err
	}))
	members.Handle("POST "+pathClock, answer(maxBody, func(context.Context, struct{}) (Clock, error) { return Clock{n.Now()}, nil }))
	members.Handle("POST "+pathPicture, answer(maxBody, func(context.Context, struct{}) (Picture, error) { return n.Picture() }))
	members.Handle("POST "+pathSeeZone, answer(maxBody, func(ctx context.Context, z SeeZone) (federation.Zone, error) { return n.SeeZone(ctx, z.Zone) }))
	members.Handle("POST "+pathAudit, answer(maxBody, func(_ context.Context, q audit.Query) (audit.Page, error) { return n.Audit(q) }))
	members.Handle(pathAPI+"/", http.StripPrefix(pathAPI, forwarded(n, api)))
	mux.Handle("/", membersOnly(n, members))
	return provedOnly(sameCluster(n, mux))
}

// provedOnly refuses connections on which no seal key was proved: those of versions
// whose members did not.
func provedOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if proofOf(r.Context()) == nil {
			w.Header().Set("Connection", "close")
			apierr.WriteError(w, federation.Errorf(federation.Forbidden, "this member takes only nodes that prove the seal key, and the version that asks does not").
				WithReason(reasonSealKey).
				WithHint("stop all members, then start all of them with this version (docs/upgrade.md)"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// sameCluster refuses nodes of another cluster.
func sameCluster(n Node, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mine, theirs := n.ClusterID(), r.Header.Get(headerCluster)
		if mine != "" && theirs != "" && mine != theirs {
			apierr.WriteError(w, federation.Errorf(federation.Conflict, "this node is of cluster %s, the request of cluster %.64q", mine, theirs).
				WithReason("other_cluster").
				WithHint("two clusters have each other in --join, or share a CA and name: look at --join and at the data folders"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// membersOnly refuses nodes that are no members, or no longer.
func membersOnly(n Node, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := AmongMembers(n.MemberIDs(), proofOf(r.Context()).Node); err != nil {
			apierr.WriteError(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// AmongMembers refuses a node that is not one of the members. Where Raft does not run yet
// nobody is, and nobody was removed: who asked a leader that has just been started again is
// to ask the next one.
func AmongMembers(members []string, node string) error {
	switch {
	case len(members) == 0:
		e := federation.Errorf(federation.Unavailable, "this node has just been started, and does not know the members yet").WithReason("not_leader")
		e.RetryAfter = time.Second
		return e.WithHint("try again in a moment")
	case !slices.Contains(members, node):
		return NoMember(node)
	}
	return nil
}

// NoMember refuses a node that is no member, or no longer.
func NoMember(node string) error {
	return federation.Errorf(federation.Forbidden, "node %.64q is no member", node).WithReason("removed").
		WithHint("it joins again with an empty data folder")
}

// speaksForItself refuses a node that speaks in another one's name.
func speaksForItself(ctx context.Context, node string) error {
	if proved := proofOf(ctx).Node; proved != node {
		return federation.Errorf(federation.Forbidden, "node %.64q speaks for node %.64q", proved, node).WithReason("other_node")
	}
	return nil
}

// forwarded serves what another member passes on. A member that was removed may be one
// still in the eyes of a node that does not lead.
func forwarded(n Node, api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := n.CheckMember(r.Context(), proofOf(r.Context()).Node); err != nil {
			apierr.WriteError(w, err)
			return
		}
		if r.Header.Get(headerPlain) == "" { // as the caller came, for the addresses in the answer
			r.TLS = proofOf(r.Context()).state
		}
		api.ServeHTTP(&stamped{ResponseWriter: w, applied: n.Applied}, r)
	})
}

// answer serves one kind of request.
func answer[In, Out any](limit int64, f func(context.Context, In) (Out, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in In
		data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
		if err == nil {
			err = json.Unmarshal(data, &in)
		}
		if err != nil {
			apierr.WriteError(w, federation.Errorf(federation.Invalid, "the body is not what is expected here: %w", err))
			return
		}
		out, err := f(r.Context(), in)
		if err != nil {
			apierr.WriteError(w, err)
			return
		}
		apierr.WriteJSON(w, http.StatusOK, out)
	})
}

// stamped adds to an answer how far the state was when it began.
type stamped struct {
	http.ResponseWriter
	applied func() uint64
	done    bool
}

func (w *stamped) stamp() {
	if !w.done {
		w.done = true
		w.Header().Set(headerApplied, strconv.FormatUint(w.applied(), 10))
	}
}

// WriteHeader implements http.ResponseWriter.
func (w *stamped) WriteHeader(status int) {
	w.stamp()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *stamped) Write(p []byte) (int, error) {
	w.stamp()
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *stamped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// The bounds of the server.
const (
	maxHeaderBytes = 32 << 10 // a forwarded request has its own headers and ours
	maxStreams     = 250
	readTimeout    = 30 * time.Second
	writeTimeout   = 2 * time.Minute
	idleTimeout    = 2 * time.Minute
	// drainTimeout is short: when the port ends, the node is no member any more, and an
	// HTTP/2 connection that is idle would hold the end up for a second.
	drainTimeout = 200 * time.Millisecond
)

// Serve answers on the port until ctx ends, and lets requests in flight finish for
// a short while.
func (p *Port) Serve(ctx context.Context, h http.Handler) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true) // of versions that prove nothing; they are told so
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler: p.budget.Handler(h, apierr.WriteError), Protocols: protocols,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return preauth.ConnContext(withProof(ctx, c), c)
		},
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ReadHeaderTimeout: handshakeTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(p.h2); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-groupCtx.Done()
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		if server.Shutdown(drain) != nil {
			return server.Close()
		}
		return nil
	})
	return group.Wait()
}
