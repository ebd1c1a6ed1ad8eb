package node

import (
	"context"
	"path"
	"strconv"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/global/audit"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/internal/global/peer"
	kdsserver "github.com/meridiankds/meridian/kds/server"
	"github.com/meridiankds/meridian/raftstore"
)

// auditDir is the folder of the audit log in the data folder.
const auditDir = "audit"

// Audit answers another member: peer.Node.
func (p *peers) Audit(q audit.Query) (audit.Page, error) { return p.audit.Read(q) }

// auditOf asks another member for its part of the audit log.
func (p *peers) auditOf(ctx context.Context, member string, q audit.Query) (audit.Page, error) {
	addr := p.store.AddressOf(member)
	if addr == "" {
		return audit.Page{}, federation.Errorf(federation.NotFound, "node %.64q is no member", member)
	}
	return p.client.Audit(ctx, peer.Target{Node: member, Addr: addr}, q)
}

// refusedZone notes that a zone was refused, and has an address that fails often wait.
// What is refused for another reason than its credential is not held up.
func (n *Node) refusedZone(ctx context.Context, r kdsserver.Refusal) error {
	n.refusedShows(r.Zone, r.Position)
	e := federation.AsError(r.Err)
	if e.Code != federation.Unauthenticated && e.Code != federation.Forbidden {
		return nil
	}
	about := map[string]string{"method": path.Base(r.Method)}
	if federation.ValidateName("zone", r.Zone) == nil { // else a stranger could have written anything there
		about["zone"] = r.Zone
	}
	n.audit.Refuse(audit.Record{Via: "kds", Remote: r.Remote, Action: "zone server", Reason: e.Reason, Detail: e.Error(), About: about})
	return n.slow.Answer(ctx, r.Remote, r.Err)
}

// refusedShows notes a position that proves a loss although its zone is refused: the key of the
// zone's token, or its record, may be among what was lost.
func (n *Node) refusedShows(zone string, position []byte) {
	if shown := n.store.Place(position); shown.Lost || shown.NewerHistory || shown.More {
		n.peers.losses.Note(fleet.Shown{By: "zone " + zone, Position: position})
	}
}

// provedLoss writes that acknowledged changes were lost, and who knew.
func (n *Node) provedLoss(l raftstore.Loss) {
	err := n.audit.Write(audit.Record{
		Class: audit.Change, User: "meridian", Via: "cluster", Action: "begin history after loss", Outcome: audit.Done, Revision: l.Began.String(),
		About: map[string]string{"shownBy": l.ShownBy, "shown": l.Shown.String(), "had": l.Had.String()},
	})
	if err != nil { // the replicated record says so too
		n.cfg.Logger.Error("a loss of changes could not be written to the audit log", "error", err)
	}
}

// noteAdminToken writes that this node made itself an administrator's token.
func (n *Node) noteAdminToken(c *cptoken.Claims, serial uint64) error {
	return n.audit.Write(audit.Record{
		Class: audit.Issue, User: "meridian", Via: "start", Action: "renew admin.token", Outcome: audit.Done,
		About: map[string]string{"kind": string(cptoken.User), "jti": c.ID, "name": c.Name, "groups": "admin", "serial": strconv.FormatUint(serial, 10), "expires": c.ExpiresAt.UTC().Format("2006-01-02T15:04:05Z07:00")},
	})
}
