package adminapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/clocks"
	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/raftstore"
	"github.com/meridiankds/meridian/raftstore/state"
)

// Cluster is what the API needs of the other members.
type Cluster interface {
	// Forward has the leader answer a request as that caller's. It has written
	// nothing where it returns an error: Unavailable where nothing was changed,
	// UnknownOutcome where that cannot be known.
	Forward(w http.ResponseWriter, r *http.Request, caller access.Caller, requestID string) error
	// LeaderContact is how long ago this member last heard the leader.
	LeaderContact() time.Duration
	// Refresh has this member catch up with what was acknowledged anywhere before
	// the call. It reports whether it did, which it does not where it was asked a
	// moment ago.
	Refresh(ctx context.Context) bool
	// Diverged are the members that applied something else than others did.
	Diverged() []string
	// Clocks is what is known of the members' clocks.
	Clocks() clocks.Picture
	// Issue has the member named issue a token as that caller's: body is posted to path.
	// newer names a key that waits to sign, if there is one.
	Issue(ctx context.Context, member, path string, body []byte, caller access.Caller, requestID string) (token, newer string, err error)

	// Members asks all members and returns them as this one sees them.
	Members(ctx context.Context) []Member
	// TransferLead hands the leadership to a voter, any where id is empty. It refuses
	// one that was started to follow without a vote.
	TransferLead(id string) error
	Remove(ctx context.Context, id string, force bool) error
	// CertificateKeys are the names of the keys of the certificates that the node shows to
	// this member on its open connections, and of the one that it showed last; its own are
	// never among them.
	CertificateKeys(node string) []string
	// OwnCertificateKey is the name of the key of the certificate that this member shows.
	OwnCertificateKey() string
}

// Member is a member of the cluster. Live: it answered the member that was asked.
type Member struct {
	ID, Address string
	Voter, Live bool
	NonVoter    bool // it was started to follow without a vote
	Applied     uint64
	Version     string // empty: it does not answer
}

// The limits of a member that does not hear the leader: what it signs could be
// with a key that was removed since, by people who count on nobody signing with it.
const (
	// staleAfter is when reads are marked.
	staleAfter = 3 * time.Second
	// shortAfter is when it signs nothing that is valid for more than shortLife.
	shortAfter = time.Minute
	shortLife  = 24 * time.Hour
	// silentAfter is when it signs nothing any more.
	silentAfter = 10 * time.Minute
)

// StaleHeader marks an answer of a member that does not hear the leader: for how
// many seconds.
const StaleHeader = "Meridian-Stale"

// leadersView are the reads that only the leader can answer in full: it alone
// hears from every member which zones are online.
var leadersView = map[string]bool{
	"GET /v1/zones":                     true,
	"GET /v1/zones/{zone}":              true,
	"GET /zones/_overview":              true,
	"GET /v1/keys/{kind}/{kid}/holding": true,
	"GET /v1/cluster":                   true,
}

// leadersWord reports whether a read is one of which another member's answer could be
// wrong.
func leadersWord(a *act, r *http.Request) bool {
	switch a.route {
	case "GET /v1/requests/{id}", "GET /v1/trust":
		return true
	case "GET /v1/snapshot":
		stale, err := queryBool(r, "stale")
		return err == nil && !stale
	}
	return false
}

// elsewhere has the leader answer what is the leader's: changes, and the reads
// above. Every member signs tokens and reads its own state.
func (api *API) elsewhere(a *act, w http.ResponseWriter, r *http.Request) (done bool, err error) {
	if api.cfg.Cluster == nil || api.cfg.Leads() {
		return false, nil
	}
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	word := read && leadersWord(a, r)
	switch {
	case read && !leadersView[a.route] && !word:
		api.markStale(w)
		return false, nil
	case strings.HasPrefix(a.route, "POST /tokens/"), ownAffairs[a.route]:
		return false, nil
	}
	err = api.cfg.Cluster.Forward(w, r, a.caller, a.requestID)
	switch {
	case word && federation.CodeOf(err) == federation.UnknownOutcome:
		err = federation.Errorf(federation.Unavailable, "the leader was lost while it answered: %w", err).WithHint("try again in a moment")
	case read && !word && err != nil && federation.CodeOf(err) != federation.Invalid:
		// What this member knows itself is better than nothing.
		w.Header().Set(StaleHeader, api.staleness())
		return false, nil
	}
	a.forwarded = true
	a.note(slog.Bool("forwarded", err == nil))
	return true, err
}

// oneHop refuses what was forwarded to a member that does not lead, but for tokens, which
// every member issues.
func (api *API) oneHop(a *act, _ http.ResponseWriter, _ *http.Request) (bool, error) {
	a.hopped = true
	if strings.HasPrefix(a.route, "POST /tokens/") {
		return false, nil
	}
	return false, api.notLeader()
}

// askLeader has the leader answer a request whose body was read already, where
// this member is not it.
func (api *API) askLeader(a *act, w http.ResponseWriter, r *http.Request, body any) (done bool, err error) {
	if api.cfg.Cluster == nil || api.cfg.Leads() {
		return false, nil
	}
	if a.hopped {
		return true, api.notLeader()
	}
	data, err := json.Marshal(body)
	if err != nil {
		return true, federation.Errorf(federation.Internal, "encoding a request for the leader: %w", err)
	}
	a.forwarded = true
	again := r.Clone(r.Context())
	again.Body = io.NopCloser(bytes.NewReader(data))
	again.Header.Set("Content-Type", "application/json")
	return true, api.cfg.Cluster.Forward(w, again, a.caller, a.requestID)
}

// markStale says in the answer that this member does not hear the leader.
func (api *API) markStale(w http.ResponseWriter) {
	if id, _ := api.store.Leader(); id == "" || api.cfg.Cluster.LeaderContact() > staleAfter {
		w.Header().Set(StaleHeader, api.staleness())
	}
}

func (api *API) staleness() string {
	return strconv.Itoa(int(api.cfg.Cluster.LeaderContact() / time.Second))
}

// mayIssue refuses a token that a member without a leader must not sign.
func (api *API) mayIssue(lifetime time.Duration) error {
	if api.cfg.Cluster == nil {
		return nil
	}
	silence := api.cfg.Cluster.LeaderContact()
	if silence < shortAfter || silence < silentAfter && lifetime > 0 && lifetime <= shortLife {
		return nil
	}
	e := federation.Errorf(federation.Unavailable, "this member has not heard the leader for %s", silence.Round(time.Second)).WithReason("no_leader")
	e.RetryAfter = time.Second
	if silence < silentAfter {
		return e.WithHint("ask for a token of at most %s (validFor), or ask another member", shortLife)
	}
	return e.WithHint("ask another member; with a majority of the members gone no token is issued")
}

func (api *API) getCluster(_ *act, w http.ResponseWriter, r *http.Request) error {
	status := apitypes.Cluster{ClusterID: api.store.ClusterID(), AnsweredBy: api.store.NodeID(), FeatureLevel: api.store.FeatureLevel(), Members: []apitypes.Member{}}
	status.Leader, _ = api.store.Leader()
	names := api.store.MemberNames()
	warnings := append(api.losses(&status), api.brokenKeys()...)
	if api.cfg.Cluster == nil {
		_, addr := api.store.Leader()
		status.Voters = 1
		status.Members = append(status.Members, apitypes.Member{
			ID: api.store.NodeID(), Name: names[api.store.NodeID()], Address: addr, Voter: true, Leader: true, Live: true,
			Applied: api.store.Applied(), Version: api.cfg.Version,
		})
		status.Warning = strings.Join(warnings, "; ")
		return reply(w, http.StatusOK, status)
	}
	diverged := api.cfg.Cluster.Diverged()
	if len(diverged) > 0 {
		warnings = append(warnings, "members have diverged, and gates stay shut: "+strings.Join(diverged, ", ")+
			"; find out which has lost its disk (docs/backup.md), empty its directory, and let it join as a new one")
	}
	times := api.clocks()
	warnings = append(warnings, clockWarnings(times)...)
	for _, m := range api.cfg.Cluster.Members(r.Context()) {
		if m.Voter {
			status.Voters++
		}
		if m.Voter && m.NonVoter {
			warnings = append(warnings, "member "+m.ID+" was started with --non-voter and keeps its vote until enough others vote")
		}
		status.Members = append(status.Members, apitypes.Member{
			ID: m.ID, Name: names[m.ID], Address: m.Address, Voter: m.Voter, NonVoter: m.NonVoter, Leader: m.ID == status.Leader, Live: m.Live,
			Applied: m.Applied, Version: m.Version, Diverged: slices.Contains(diverged, m.ID), Clock: clockJSON(times, m.ID),
		})
	}
	if status.Voters%2 == 0 && status.Voters > 0 {
		status.Advice = strconv.Itoa(status.Voters) + " voters tolerate the loss of no more members than " + strconv.Itoa(status.Voters-1) + " would: add one, or remove one"
	}
	status.Warning = strings.Join(warnings, "; ")
	return reply(w, http.StatusOK, status)
}

// brokenKeys warns of each key that signs and verifies nothing.
func (api *API) brokenKeys() (warnings []string) {
	for _, id := range api.store.Broken() {
		warnings = append(warnings, "key "+state.KeyName(id)+" is broken: it signs and verifies nothing; find out who changed it, rotate it and remove it")
	}
	return warnings
}

func (api *API) postTransferLeader(a *act, w http.ResponseWriter, r *http.Request) error {
	var body apitypes.TransferLeaderRequest
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	if api.cfg.Cluster == nil {
		return alone()
	}
	body.To = api.store.MemberID(body.To)
	a.note(slog.String("to", clip(body.To)))
	if err := api.cfg.Cluster.TransferLead(body.To); err != nil {
		return err
	}
	return reply(w, http.StatusOK, struct{}{})
}

func (api *API) postRemoveMember(a *act, w http.ResponseWriter, r *http.Request) error {
	var body apitypes.RemoveMemberRequest
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	if body.ID == "" {
		return federation.InvalidField("id", "is missing")
	}
	if api.cfg.Cluster == nil {
		return alone()
	}
	body.ID = api.store.MemberID(body.ID)
	name := cmp.Or(api.store.MemberNames()[body.ID], body.ID)
	a.note(slog.String("member", clip(body.ID)), slog.Bool("force", body.Force))
	keys := api.cfg.Cluster.CertificateKeys(body.ID) // before its connections are gone
	err := api.cfg.Cluster.Remove(r.Context(), body.ID, body.Force)
	if err != nil && !(body.Expel && federation.CodeOf(err) == federation.NotFound) {
		return err
	}
	removed := apitypes.RemovedMember{Expelled: []string{}}
	if body.Expel {
		for _, id := range append([]string{body.ID}, keys...) {
			expelled := raftstore.Expelled{ID: id, Subject: "node " + name, Reason: body.Reason}
			if err := api.store.Expel(r.Context(), a.origin("expel", id), expelled); err != nil {
				return err
			}
			removed.Expelled = append(removed.Expelled, id)
		}
		removed.Warnings = api.fleet.ExpulsionWarnings()
	}
	return reply(w, http.StatusOK, removed)
}

func alone() error {
	return federation.Errorf(federation.Conflict, "this node is alone")
}

// Losses knows positions that were shown to members, of what is, or may be, lost.
type Losses interface{ Doubts() []fleet.Doubt }

func (api *API) doubts() []fleet.Doubt {
	if api.cfg.Losses == nil {
		return nil
	}
	return api.cfg.Losses.Doubts()
}

// losses adds to a status what was lost, as far as it is known, and returns the warnings.
func (api *API) losses(status *apitypes.Cluster) (warnings []string) {
	var kuma []string
	for _, z := range api.fleet.KumaZones() {
		kuma = append(kuma, z.Zone)
	}
	for _, l := range api.store.Losses() {
		status.Losses = append(status.Losses, apitypes.Loss{
			At: l.At.UTC(), ShownBy: l.ShownBy, Shown: l.Shown.String(), Had: l.Had.String(), Began: l.Began.String(), KumaZones: kuma,
		})
		text := "acknowledged changes were lost, found at " + l.At.UTC().Format(time.RFC3339) + ": " + l.ShownBy + " held revision " + l.Shown.String() +
			" and the cluster had " + l.Had.String() + "; repeat what was done since (docs/backup.md), then: global cluster confirm-loss"
		if len(kuma) > 0 {
			text += "; zones that run Kuma's control plane went back too, revoke there again: " + strings.Join(kuma, ", ")
		}
		warnings = append(warnings, text)
	}
	for _, d := range api.doubts() {
		if d.Why == fleet.DoubtNewer {
			status.NewerHistories = append(status.NewerHistories, d.Revision.History.ID)
		} else {
			status.Doubts = append(status.Doubts, apitypes.Doubt{ShownBy: d.By, Shown: d.Revision.String(), Why: string(d.Why)})
		}
		warnings = append(warnings, d.By+" holds "+d.What()+": "+d.Means()+"; "+d.Hint())
	}
	return warnings
}

// postConfirmLoss takes the alarms away once an operator has seen to them.
func (api *API) postConfirmLoss(a *act, w http.ResponseWriter, r *http.Request) error {
	var body apitypes.ConfirmLossRequest
	if err := readBody(w, r, &body); err != nil {
		return err
	}
	if err := api.notLeader(); err != nil {
		return err
	}
	a.note(slog.Bool("adopt", body.Adopt))
	doubts := api.doubts()
	shown := fleet.Histories(doubts, fleet.DoubtNewer)
	if len(fleet.Histories(doubts, fleet.DoubtUnproved)) > 0 { // what it claims to hold is not believed
		_, head := api.store.Head()
		shown = append(shown, head.History)
	}
	lost, change, err := api.store.ConfirmLoss(r.Context(), a.origin("confirm loss", boolText(body.Adopt)), body.Adopt, shown)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, apitypes.ConfirmedLoss{Losses: lost, Revision: change.Revision.String()})
}
