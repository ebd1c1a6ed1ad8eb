package globalnode

import (
	"context"
	"net/http"
	"path/filepath"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/fleet"
	"github.com/meridiankds/meridian/internal/tlsutil"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/raftstore"
)

const (
	// reportEvery is how often a member renews the lease on its sessions.
	reportEvery = time.Second
	// lease is how long a member's report counts without being renewed.
	lease = 10 * time.Second
)

// reportSessions tells the fleet which zones this member carries and what they
// hold: on every change of either, and once a second to renew the lease.
func (n *Node) reportSessions(ctx context.Context) error {
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	for {
		sessions, state := n.kds.SessionsChanged(), n.store.Watch()
		_, head := n.store.Head()
		n.propagation.head(head, n.cfg.Now())
		report, open := n.report()
		n.fleet.Update(report)
		n.propagation.sessions(open, n.cfg.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-sessions:
		case <-state:
		case <-ticker.C:
		}
	}
}

// followLeadership has the fleet begin anew whenever this member becomes the
// leader: what members reported to another leader opens no gate here.
func (n *Node) followLeadership(ctx context.Context) error {
	for {
		leading, err := n.store.LeaderContext(ctx)
		if err != nil || ctx.Err() != nil {
			return nil // ctx has ended, or the store has, which says why itself
		}
		n.fleet.Lead()
		report, _ := n.report()
		n.fleet.Update(report)
		<-leading.Done()
	}
}

func (n *Node) report() (fleet.Report, []kds.Session) {
	sessions := n.kds.Sessions()
	r := fleet.Report{
		Member: n.store.NodeID(), Applied: n.store.Usable(), LeaseUntil: n.cfg.Now().Add(lease),
		Sessions: make([]fleet.Session, 0, len(sessions)),
	}
	for _, s := range sessions {
		r.Sessions = append(r.Sessions, fleet.Session{
			Zone: s.Zone, Instance: s.Instance, Version: s.Version, Member: s.Member, Remote: s.Remote,
			Connected: s.Connected, Disconnected: s.Disconnected, LastHeard: s.LastHeard,
			Acked: s.Acked, Synced: s.Full, Nack: s.Nack, Meridian: s.Meridian,
			Authenticated: s.Admission.Authenticated, Method: s.Admission.Method,
			TokenSerial: s.Admission.TokenSerial, TokenID: s.Admission.TokenID, TokenExpires: s.Admission.Expires,
			Verdict: s.Admission.Verdict,
		})
	}
	return r, sessions
}

// prune has the leader forget, now and then, what has expired long ago. The time
// is stamped here and replicated, so that every node and zone forgets the same.
func (n *Node) prune(ctx context.Context) error {
	ticker := time.NewTicker(pruneEvery)
	defer ticker.Stop()
	for {
		if n.store.IsLeader() {
			if _, err := n.store.Prune(ctx, raftstore.Origin{By: "meridian"}, n.cfg.Now()); err != nil && ctx.Err() == nil {
				n.cfg.Logger.Warn("pruning will be tried again", "in", pruneEvery, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// warnUnproven says at start and hourly that the KDS port is open to anyone.
func (n *Node) warnUnproven(ctx context.Context) error {
	if n.cfg.KDSAuth != federation.AuthNone {
		return nil
	}
	ticker := time.NewTicker(warnEvery)
	defer ticker.Stop()
	for {
		n.cfg.Logger.Warn("zones are admitted without proving who they are: --kds-auth is none; " +
			"`global inspect zones` shows whose token would be accepted")
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// writeAdminToken leaves a fresh administrator's token in the data folder.
func (n *Node) writeAdminToken() error {
	signer, err := n.store.Signer(cptoken.User, "")
	if err != nil {
		return err
	}
	claims := cptoken.Claims{Kind: cptoken.User, Name: "admin", Groups: []string{"admin"}}
	token, issued, err := signer.Issue(claims, 0, n.cfg.Now())
	if err != nil {
		return err
	}
	n.cfg.Logger.Info("issued an administrator's token", "jti", issued.ID, "expires", issued.ExpiresAt, "file", n.adminTokenFile())
	return tlsutil.WriteFile(filepath.Join(n.cfg.DataDir, "admin.token"), []byte(token+"\n"), 0o600)
}

func (n *Node) removeEndpoints() {
	if err := endpoints.Remove(n.cfg.DataDir); err != nil {
		n.cfg.Logger.Warn("the file of endpoints stays behind", "error", err)
	}
}

// diagnostics answers whether the process lives and whether it can do its work.
func (n *Node) diagnostics() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthy", func(w http.ResponseWriter, _ *http.Request) { answer(w, true) })
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, n.isReady())
	})
	return n.metrics.Handler(mux, n.cfg.Profiles)
}

func answer(w http.ResponseWriter, ok bool) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte("not ready\n"))
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}
