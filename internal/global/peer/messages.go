package peer

import (
	"time"

	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/raftstore/disk"
)

// The paths of requests.
const (
	pathHello     = "/v1/peer/hello"
	pathPromise   = "/v1/peer/promise"
	pathJoin      = "/v1/peer/join"
	pathReport    = "/v1/peer/report"
	pathReadIndex = "/v1/peer/read-index"
	pathClock     = "/v1/peer/clock"
	pathPicture   = "/v1/peer/picture"
	pathStanding  = "/v1/peer/standing"
	pathSeeZone   = "/v1/peer/see-zone"
	pathAudit     = "/v1/peer/audit"
	pathAPI       = "/v1/peer/api"
)

// Headers between members.
const (
	headerCluster = "Meridian-Cluster"
	headerApplied = "Meridian-Applied"
	headerPlain   = "Meridian-Plain" // the caller came without TLS
)

// The bounds of bodies.
const (
	maxBody   = 1 << 20
	maxReport = 32 << 20
	maxAnswer = 64 << 20 // of a list that the API answers with
)

// Hello is what a node says of itself.
type Hello struct {
	NodeID string `json:"nodeId"`
	// Boot is random for each start of the process: it tells the node from a second
	// one that runs on a copy of its folder.
	Boot    string `json:"boot"`
	Cluster string `json:"cluster,omitempty"` // empty: it knows none yet
	Address string `json:"address"`           // where others reach it
	Version string `json:"version,omitempty"`
	// Level is the newest feature level that the node knows; absent: the first.
	Level uint32 `json:"level,omitempty"`
	// Starting: the node cannot tell yet; only NodeID and Boot are set.
	Starting bool `json:"starting,omitempty"`
	// HoldsState: it is or was part of a cluster.
	HoldsState bool `json:"holdsState"`
	// NonVoter: it was started to follow without a vote, and founds nothing.
	NonVoter      bool   `json:"nonVoter,omitempty"`
	Applied       uint64 `json:"applied,omitempty"` // how far the node has applied the log
	Leader        string `json:"leader,omitempty"`
	LeaderAddress string `json:"leaderAddress,omitempty"`
	// You is where the cluster has the node that asks; empty: it is no member.
	You string `json:"you,omitempty"`
	// Expect and Sees belong to the founding: how many nodes are to found the
	// cluster, and the ids of those that this node sees, itself included, in order;
	// empty while an address of its --join does not answer.
	Expect int      `json:"expect,omitempty"`
	Sees   []string `json:"sees,omitempty"`
}

// Promise asks to let a node found the cluster.
type Promise struct {
	Founder string   `json:"founder"`
	Sees    []string `json:"sees"`
}

// JoinRequest asks the leader to take a node in, or to note where it is now.
type JoinRequest struct {
	NodeID     string `json:"nodeId"`
	Boot       string `json:"boot"`
	Address    string `json:"address"`
	HoldsState bool   `json:"holdsState"`
	Level      uint32 `json:"level,omitempty"`
	NonVoter   bool   `json:"nonVoter,omitempty"` // as in Hello
}

// Report is what a member tells the leader.
type Report struct {
	Member string `json:"member"`
	// Boot is that of Hello: it tells a member from what it was before a crash.
	Boot    string `json:"boot"`
	Applied uint64 `json:"applied"`
	Version string `json:"version,omitempty"`
	Level   uint32 `json:"level,omitempty"`
	// NonVoter: the member was started to follow without a vote. A leader of an older
	// version does not read it and gives it one, which the next leader takes away.
	NonVoter bool `json:"nonVoter,omitempty"`
	// Trusts and Shows are those of fleet.Report.
	Trusts string `json:"trusts,omitempty"`
	Shows  string `json:"shows,omitempty"`
	// Digest names the sessions; Sessions are absent where the leader has them.
	Digest string `json:"digest"`
	// Shown are positions that zones and members showed to the member, and that are not in
	// its past.
	Shown    []fleet.Shown   `json:"shown,omitempty"`
	Full     bool            `json:"full"`
	Sessions []fleet.Session `json:"sessions,omitempty"`
}

// ReportAnswer answers a report. Full: send the sessions too.
type ReportAnswer struct {
	Full bool `json:"full"`
}

// ReadIndex is an index of the Raft log, and who the members are, in the leader's view.
type ReadIndex struct {
	Index   uint64   `json:"index"`
	Members []string `json:"members"`
}

// Clock is what time it is at the member that answers.
type Clock struct {
	Now time.Time `json:"now"`
}

// Standing is how far a member has applied the log, by its own word.
type Standing struct {
	disk.Standing
	// Boot and Address are those of Hello.
	Boot    string `json:"boot,omitempty"`
	Address string `json:"address,omitempty"`
	// Proof: the member stops, because its log and the leader's differ, and hands over its
	// position.
	Proof bool `json:"proof,omitempty"`
}

// Standings answer one: how far the member that answers is, the furthest that it ever saw
// the one that asks, and whether the two have diverged: what it applied at the index that
// the other names is something else.
type Standings struct {
	Own      disk.Standing `json:"own"`
	Seen     disk.Standing `json:"seen"`
	Diverged bool          `json:"diverged,omitempty"`
}

// SeeZone names a zone that joined.
type SeeZone struct {
	Zone string `json:"zone"`
}

// Picture is what the leader knows of the zones at every member.
type Picture struct {
	Members []MemberPicture `json:"members"`
}

// MemberPicture is what one member reported last.
type MemberPicture struct {
	Member   string          `json:"member"`
	Applied  uint64          `json:"applied"`
	Sessions []fleet.Session `json:"sessions,omitempty"`
}
