package apitypes

import "time"

// Cluster is the answer of GET /v1/cluster.
type Cluster struct {
	ClusterID string `json:"clusterId"`
	Leader    string `json:"leader,omitempty"` // empty: none is known
	// AnsweredBy is the member that this picture is of. It asked the others who of them is live.
	AnsweredBy string `json:"answeredBy"`
	// FeatureLevel rises by itself once every member's program knows the next one.
	FeatureLevel uint32   `json:"featureLevel"`
	Voters       int      `json:"voters"`
	Members      []Member `json:"members"`
	Warning      string   `json:"warning,omitempty"`
	// Advice is what would serve the cluster better, where nothing is wrong.
	Advice string `json:"advice,omitempty"`
	// Losses are the losses of acknowledged changes that no operator has confirmed.
	Losses []Loss `json:"losses,omitempty"`
	// NewerHistories are shown by zones, and nobody here knows them: the ids.
	NewerHistories []string `json:"newerHistories,omitempty"`
	// Doubts are revisions that somebody holds, or says so, and that this cluster does not
	// have, beside the losses and the newer histories.
	Doubts []Doubt `json:"doubts,omitempty"`
}

// Doubt is a revision that this cluster does not have.
type Doubt struct {
	ShownBy string `json:"shownBy"` // "zone west", "member <id>"
	Shown   string `json:"shown"`
	// Why is "waits" (it proves a loss within an hour of another one), "more" (more was lost
	// than a loss was proved with) or "unproved" (nothing proves it).
	Why string `json:"why"`
}

// Loss is a loss of acknowledged changes that somebody proved: a disk went back.
type Loss struct {
	At time.Time `json:"at"`
	// ShownBy is who held more than the cluster: "zone west", "member <id>".
	ShownBy string `json:"shownBy"`
	// Shown is the revision that it held, Had where the cluster stood, and Began where the
	// history begins that was begun for it.
	Shown string `json:"shown"`
	Had   string `json:"had"`
	Began string `json:"began"`
	// KumaZones are zones that run Kuma's control plane. They show no position, and may have
	// gone back with the cluster.
	KumaZones []string `json:"kumaZones,omitempty"`
}

// ConfirmLossRequest is the body of POST /v1/cluster/confirm-loss. Adopt begins a history
// above every one that was shown.
type ConfirmLossRequest struct {
	Adopt bool `json:"adopt,omitempty"`
}

// ConfirmedLoss is its answer: how many losses nobody had confirmed, and where the
// cluster stands.
type ConfirmedLoss struct {
	Losses   int    `json:"losses"`
	Revision string `json:"revision"`
}

// Member is one node of the cluster.
type Member struct {
	ID      string `json:"id"`
	Address string `json:"address"`
	// Name is what operators call it: the first part of its address that tells it from the
	// other members.
	Name  string `json:"name"`
	Voter bool   `json:"voter"` // else it follows, until it is promoted
	// NonVoter: it was started with --non-voter. It is never promoted and never leads;
	// where it still has a vote, it gives it back once enough others have one.
	NonVoter bool   `json:"nonVoter"`
	Leader   bool   `json:"leader"`
	Live     bool   `json:"live"`    // it answered the member that answers
	Applied  uint64 `json:"applied"` // Raft index
	// Version is that of its program; absent where it does not answer.
	Version string `json:"version,omitempty"`
	// Diverged: it applied something else than others did. Gates stay shut.
	Diverged bool `json:"diverged,omitempty"`
	// Clock is absent where it is not known: the member has not been asked, or is silent.
	Clock *MemberClock `json:"clock,omitempty"`
}

// MemberClock is a member's clock compared with what a majority of the voters agrees on
// within 30 s, or with the clock of the member that answers where none does.
type MemberClock struct {
	AheadSeconds  float64 `json:"aheadSeconds"` // negative: it is behind
	WithinSeconds float64 `json:"withinSeconds"`
	// Off: it is more than 30 s away from the majority. The member issues no tokens.
	Off bool `json:"off"`
}

// TransferLeaderRequest is the body of POST /v1/cluster/transfer-leader. An empty
// To means the member that is furthest.
type TransferLeaderRequest struct {
	To string `json:"to,omitempty"` // a name, an address or an id
}

// RemoveMemberRequest is the body of POST /v1/cluster/remove. Force removes a
// member also where the voters that are left are no live majority.
type RemoveMemberRequest struct {
	ID    string `json:"id"` // a name or an address does as well
	Force bool   `json:"force,omitempty"`
	// Expel refuses the node, and the certificate that it shows, on every port. The node
	// need not be a member any more.
	Expel  bool   `json:"expel,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// RemovedMember is the answer of POST /v1/cluster/remove: who was expelled, the node and
// its certificate's key where that is known.
type RemovedMember struct {
	Expelled []string `json:"expelled"`
	Warnings []string `json:"warnings,omitempty"` // those of ExpelResult
}

// ExpelRequest is the body of POST /v1/expelled: a certificate's key, as "sha256:" and the
// SHA-256 of its public part in hexadecimal, or a node's id.
type ExpelRequest struct {
	ID      string `json:"id"`
	Subject string `json:"subject,omitempty"` // whose it is, for operators
	Reason  string `json:"reason,omitempty"`
	// Force expels also the certificate that the member which answers shows itself: every
	// zone leaves that member, and refuses it until it shows one of another key.
	Force bool `json:"force,omitempty"`
}

// ExpelResult is the answer to it. Warnings name the zones at which the certificate of a
// member opens what it did before.
type ExpelResult struct {
	Warnings []string `json:"warnings,omitempty"`
}

// Expelled is one item of GET /v1/expelled.
type Expelled struct {
	ID      string    `json:"id"`
	Subject string    `json:"subject,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	By      string    `json:"by"`
	At      time.Time `json:"at"`
}

// ExpelledList is the answer of GET /v1/expelled.
type ExpelledList struct {
	Total int        `json:"total"`
	Items []Expelled `json:"items"`
}

// Trust is the answer of GET /v1/trust: which CAs the members and the zones trust, as far as
// they have said.
type Trust struct {
	Total int       `json:"total"`
	Items []Truster `json:"items"`
}

// Truster is one end that takes certificates of members: a member, or a control plane of a
// zone.
type Truster struct {
	Role     string `json:"role"` // "member" or "zone"
	Name     string `json:"name"` // a node's id, or a zone
	Address  string `json:"address,omitempty"`
	Instance string `json:"instance,omitempty"`
	// State is "reported"; "silent" where it is not connected, "unable" where it cannot say.
	State string `json:"state"`
	// Trusts are the CAs that it trusts, by fingerprint ("sha256:…"); "system" for those of
	// its system, "plain" where it speaks no TLS.
	Trusts []string `json:"trusts"`
	// Shows is the CA that vouches for its own certificate; "" where it shows none.
	Shows string `json:"shows,omitempty"`
}
