package node

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/endpoints"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/tokenfile"
	kdsserver "github.com/meridiankds/meridian/kds/server"
	"github.com/meridiankds/meridian/raftstore"
)

// adminTokenLife bounds what a stray copy of admin.token is good for. A start issues it
// anew where half of that is over, and the command line uses the admin socket.
const adminTokenLife = 30 * 24 * time.Hour

// latest is what this member has to report now.
func (n *Node) latest() fleet.Report {
	r, _ := n.report()
	return r
}

// report is what this member has to report now, and the sessions it was made of.
func (n *Node) report() (fleet.Report, []kdsserver.Session) {
	sessions := n.kds.Sessions()
	r := n.renewed(make([]fleet.Session, 0, len(sessions)))
	for _, s := range sessions {
		r.Sessions = append(r.Sessions, fleet.Session{
			Zone: s.Zone, Instance: s.Instance, Version: s.Version, Store: s.Store, Member: s.Member, Remote: s.Remote, Connection: s.Connection,
			Connected: s.Connected, Disconnected: s.Disconnected, LastHeard: s.LastHeard,
			Acked: s.Acked, NotHeld: strings.Join(s.NotHeld, "\n"), KeySets: s.KeySets, Synced: s.Full, Nack: s.Nack, Meridian: s.Meridian,
			Sent: s.Sent, Accepted: s.Accepted, Rejected: s.Rejected,
			Authenticated: s.Admission.Authenticated, Method: s.Admission.Method,
			TokenSerial: s.Admission.TokenSerial, TokenID: s.Admission.TokenID, TokenExpires: s.Admission.Expires,
			Verdict: s.Admission.Verdict, Trusts: s.Trusts, Shows: s.Shows,
		})
	}
	return r, sessions
}

// renewed is a report of now with these sessions.
func (n *Node) renewed(sessions []fleet.Session) fleet.Report {
	return fleet.Report{
		Member: n.store.NodeID(), Applied: n.store.Usable(), LeaseUntil: n.cfg.Now().Add(lease), Sessions: sessions,
		Trusts: n.cfg.TLS.Current().Trusts(), Shows: n.cfg.TLS.Current().Shows(),
	}
}

// prune has the leader forget, now and then, what has expired long ago. The time
// is stamped here and replicated, so that every node and zone forgets the same.
func (n *Node) prune(ctx context.Context) error {
	ticker := time.NewTicker(pruneEvery)
	defer ticker.Stop()
	for {
		if n.store.IsLeader() {
			if _, err := n.store.Prune(ctx, raftstore.Origin{By: "meridian"}, n.peers.stampNow()); err != nil && ctx.Err() == nil {
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

// warnUnproven says at start and hourly that the KDS port is open to anyone, or that whoever
// is in between can read the tokens of zones.
func (n *Node) warnUnproven(ctx context.Context) error {
	var warnings []string
	if n.cfg.KDSAuth == federation.AuthNone {
		warnings = append(warnings, "zones are admitted without proving who they are: --kds-auth is none; "+
			"`global inspect zones` shows whose token would be accepted")
	}
	if n.cfg.KDSPlain {
		warnings = append(warnings, "zones are served without TLS: --kds-tls is false; whoever is between them and this port reads "+
			"their tokens and can answer for the global, unless a balancer beside it brings TLS")
	}
	if len(warnings) == 0 {
		return nil
	}
	ticker := time.NewTicker(warnEvery)
	defer ticker.Stop()
	for {
		for _, warning := range warnings {
			n.cfg.Logger.Warn(warning)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// adminTokenHolds reports whether the token of an earlier start is good for a while longer.
func (n *Node) adminTokenHolds() bool {
	raw, err := tokenfile.Read(n.adminTokenFile(), func(string) {})
	if err != nil {
		return false
	}
	c, err := n.verifier.Verify(n.store.View(), cptoken.User, raw)
	return err == nil && clock.Left(c.ExpiresAt, n.cfg.Now()) > adminTokenLife/2
}

// writeAdminToken leaves an administrator's token in the data folder.
func (n *Node) writeAdminToken(ctx context.Context) error {
	if n.adminTokenHolds() {
		return nil
	}
	signer, err := n.store.Signer(cptoken.User, "")
	if err != nil {
		return err
	}
	claims := cptoken.Claims{Kind: cptoken.User, Name: "admin", Groups: []string{"admin"}}
	now, err := n.api.IssuingTime(ctx, cptoken.User, "", cptoken.SerialKID(signer.Ref().Serial))
	if federation.CodeOf(err) == federation.Unavailable && ctx.Err() == nil { // its clock; the admin socket works all the same
		n.cfg.Logger.Warn("no administrator's token was written", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	token, issued, err := signer.Issue(claims, adminTokenLife, now)
	if err != nil {
		return err
	}
	if err := n.noteAdminToken(issued, signer.Ref().Serial); err != nil {
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

// silentReady is how long a member may miss the leader and still be called ready:
// then it no longer signs every token.
const silentReady = time.Minute

// diagnostics answers whether the process lives and whether it can do its work: it
// has caught up and heard the leader within the last minute. A member
// that is not ready still carries its zones and answers reads.
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
