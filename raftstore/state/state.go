package state

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/setsum"
	"github.com/meridiankds/meridian/raftstore/ptree"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

const (
	// tombstoneLife is how long zones are told what is gone. A zone that has been
	// away longer gets full state.
	tombstoneLife = 30 * 24 * time.Hour
	// requestLife is how long the result of a request id is remembered, and
	// maxRequests how many.
	requestLife = 10 * time.Minute
	maxRequests = 100_000

	maxBy        = 256
	maxClusterID = 64
	maxRequestID = 200
)

// State is everything that is replicated. Apply changes it; every other method
// reads. A capture (see capture) is immutable and may be read by any goroutine.
type State struct {
	edit *ptree.Edit // the change that is being made
	seq  uint32

	level     uint32
	cluster   string
	history   federation.History
	began     uint64 // where the history began; 0: before levelOutcomes
	applied   uint64 // like all indexes here: Raft's and the offset
	offset    uint64 // see commitRestore
	revision  uint64
	floor     uint64
	time      int64
	watermark int64
	sum       setsum.Sum // of all records; see lineage.go
	lineage   [sha256.Size]byte
	lines     lineTable
	losses    []*storepb.Loss // that nobody has confirmed; replaced as a whole
	proved    int64           // when a history was last begun by a proof
	sealCheck *storepb.SealCheck
	secrets   []*storepb.ClusterSecret // in order; replaced as a whole
	expelled  ptree.Tree[string, *storepb.Expelled]

	serials ptree.Tree[listID, uint64]
	keys    ptree.Tree[cptoken.KeyID, *KeyRecord]
	removed ptree.Tree[cptoken.KeyID, logKey]
	lists   ptree.Tree[listID, idList]
	cutOffs ptree.Tree[cptoken.CutOffID, *cutOffRecord]
	zones   ptree.Tree[string, *federation.Zone]
	meshes  ptree.Tree[string, *Mesh]
	log     ptree.Tree[logKey, logEntry]
	stages  ptree.Tree[string, *storepb.Stage]
	staged  stagedRestore

	requests ptree.Tree[string, *storepb.Request]
	ages     ptree.Tree[requestAge, struct{}]
}

// requestAge orders request ids by when they are forgotten.
type requestAge struct {
	at int64
	id string
}

// NewState returns the state of a cluster that is not founded yet.
func NewState() *State {
	return &State{
		level:    Level,
		serials:  ptree.NewRecords(compareList, recordSerial),
		keys:     ptree.NewRecords(compareKeys, recordKey),
		removed:  ptree.NewRecords(compareKeys, recordRemoved),
		lists:    ptree.New[listID, idList](compareList),
		cutOffs:  ptree.NewRecords(compareCutOffs, recordCutOff),
		zones:    ptree.NewRecords(strings.Compare, recordZone),
		meshes:   ptree.NewRecords(strings.Compare, recordMesh),
		log:      ptree.New[logKey, logEntry](compareLog),
		expelled: ptree.NewRecords(strings.Compare, recordExpelled),
		stages:   ptree.NewRecords(strings.Compare, recordStage),
		staged:   stagedRestore{parts: ptree.New[uint32, []byte](cmp.Compare[uint32])},
		requests: ptree.NewRecords(strings.Compare, recordRequest),
		ages:     ptree.New[requestAge, struct{}](compareAges),
		lines:    lineTable{at: ptree.New[uint64, line](cmp.Compare[uint64])},
	}
}

// Capture returns an immutable copy: nodes are shared, and the next Apply copies
// what it changes.
func (s *State) Capture() *State {
	c := *s
	return &c
}

// share makes every node that there is now unchangeable: a tree may then be
// walked, or gone back to, while its successor is made.
func (s *State) share() { s.edit = ptree.NewEdit(&s.sum) }

// Founded reports whether the cluster has an id, keys and a history.
func (s *State) Founded() bool { return s.cluster != "" }

// moves reports whether a command that changed something moves the revision: zones get
// a set, if need be an empty one, and with it a position that proves the change. What is
// acknowledged to nobody does not: parts that wait for their commit, pruning, and that a
// zone was seen, which it says again when it comes back.
func moves(cmd *storepb.Command) bool {
	switch cmd.Op.(type) {
	case *storepb.Command_Prune, *storepb.Command_SeeZone, *storepb.Command_StagePart, *storepb.Command_DropStage,
		*storepb.Command_RestorePart, *storepb.Command_DropRestore:
		return false
	}
	return true
}

// Revision is the revision of the last acknowledged change.
func (s *State) Revision() federation.Revision {
	if !s.Founded() {
		return federation.Revision{}
	}
	return federation.Revision{History: s.history, Index: s.revision}
}

// Apply decodes a log payload and makes the change that it asks for, at the Raft
// index. A command that is refused changes nothing but the applied index, the time and
// the lineage. An error means that the node must stop: see DecodeCommand.
func (s *State) Apply(index uint64, data []byte) (*storepb.Result, error) {
	cmd, err := DecodeCommand(data)
	if err != nil {
		return nil, err
	}
	before := s.lineage
	result := s.execute(index, cmd)
	s.extend(before, sha256.Sum256(data), result)
	return result, nil
}

// execute is Apply without the lineage, which is over the bytes of the log.
func (s *State) execute(index uint64, cmd *storepb.Command) *storepb.Result {
	s.seq = 0
	s.share()
	index += s.offset
	s.applied = index
	s.time = max(s.time, min(cmd.TimeMs, latest))
	s.forgetRequests()

	what := s.identify(cmd)
	old, repeated := s.requested(cmd)
	if repeated && string(old.What) != string(what) {
		return reject(index, federation.Errorf(federation.Conflict, "this request id was used for another request").
			WithReason("request_id_reused").WithHint("use a new request id for each request"))
	}
	if made := s.Made(cmd); made != nil {
		return made
	}
	before := *s
	s.share()
	changed, err := s.dispatch(index, cmd)
	if err != nil {
		*s = before
	}
	switch {
	case repeated && stillHolds(cmd, changed, err):
		return old.Result
	case err != nil:
		result := reject(index, err)
		if s.level >= LevelOutcomes && !repeated {
			s.remember(cmd.RequestId, what, result)
		}
		return result
	}
	result := &storepb.Result{Index: s.applied, Changed: changed} // a restore moves it
	if before.cluster != s.cluster {
		result.Detail = before.cluster
	}
	if s.level >= LevelLineage && changed > 0 && moves(cmd) {
		s.revision = s.applied
	}
	s.remember(cmd.RequestId, what, result)
	return result
}

// dispatch makes the change. It need not tidy up where it returns an error.
func (s *State) dispatch(index uint64, cmd *storepb.Command) (uint64, error) {
	if err := s.admit(cmd); err != nil {
		return 0, err
	}
	switch op := cmd.Op.(type) {
	case *storepb.Command_Found:
		s.level = max(FirstLevel, cmd.Level)
		return s.found(index, cmd.By, op.Found)
	case *storepb.Command_BeginHistory:
		return s.beginHistory(index, op.BeginHistory)
	case *storepb.Command_SetLevel:
		return s.setLevel(index, op.SetLevel)
	case *storepb.Command_PrepareKey:
		return s.prepareKey(index, cmd.By, op.PrepareKey)
	case *storepb.Command_ActivateKey:
		return s.activateKey(index, op.ActivateKey)
	case *storepb.Command_RetireKey:
		return s.retireKey(index, op.RetireKey)
	case *storepb.Command_RemoveKey:
		return s.removeKey(index, op.RemoveKey)
	case *storepb.Command_RegisterKey:
		return s.registerKey(index, cmd.By, op.RegisterKey)
	case *storepb.Command_Revoke:
		return s.revoke(index, cmd.By, op.Revoke.Reason, []*storepb.Revoke{op.Revoke})
	case *storepb.Command_Withdraw:
		return s.withdraw(index, []*storepb.Withdraw{op.Withdraw})
	case *storepb.Command_SetCutOff:
		return s.setCutOff(index, cmd.By, op.SetCutOff)
	case *storepb.Command_WithdrawCutOff:
		return s.withdrawCutOff(index, op.WithdrawCutOff)
	case *storepb.Command_ApplyZone:
		return s.applyZone(op.ApplyZone)
	case *storepb.Command_DeleteZone:
		return s.deleteZone(op.DeleteZone)
	case *storepb.Command_SeeZone:
		return s.seeZone(op.SeeZone)
	case *storepb.Command_ApplyMesh:
		return s.applyMesh(index, cmd.By, op.ApplyMesh)
	case *storepb.Command_DeleteMesh:
		return s.deleteMesh(index, op.DeleteMesh)
	case *storepb.Command_Prune:
		return s.prune(op.Prune)
	case *storepb.Command_StagePart:
		return s.stagePart(cmd.By, op.StagePart)
	case *storepb.Command_CommitStage:
		return s.commitStage(index, op.CommitStage)
	case *storepb.Command_DropStage:
		return s.dropStage(op.DropStage)
	case *storepb.Command_Reseal:
		return s.reseal(op.Reseal)
	case *storepb.Command_RestorePart:
		return s.restorePart(op.RestorePart)
	case *storepb.Command_CommitRestore:
		return s.commitRestore(index, op.CommitRestore)
	case *storepb.Command_AddSecret:
		return s.addSecret(op.AddSecret)
	case *storepb.Command_DropRestore:
		return s.dropRestore(op.DropRestore)
	case *storepb.Command_Expel:
		return s.expel(index, cmd.By, op.Expel)
	case *storepb.Command_Readmit:
		return s.readmit(index, op.Readmit)
	case *storepb.Command_ProveLoss:
		return s.proveLoss(index, op.ProveLoss)
	case *storepb.Command_ConfirmLoss:
		return s.confirmLoss(index, op.ConfirmLoss)
	case *storepb.Command_BlockKey:
		return s.blockKey(index, op.BlockKey)
	}
	return 0, federation.Errorf(federation.Internal, "operation %T is not handled", cmd.Op)
}

// admit checks what every command has in common.
func (s *State) admit(cmd *storepb.Command) error {
	_, founding := cmd.Op.(*storepb.Command_Found)
	switch {
	case len(cmd.By) > maxBy:
		return federation.Errorf(federation.Invalid, "the author's name is longer than %d bytes", maxBy)
	case len(cmd.RequestId) > maxRequestID:
		return federation.InvalidField("requestId", "must have at most %d bytes", maxRequestID)
	case !founding && !s.Founded():
		return federation.Errorf(federation.Unavailable, "the cluster is not founded yet").WithReason("not_founded")
	}
	return s.atLevel(cmd)
}

func (s *State) atLevel(cmd *storepb.Command) error {
	if cmd.Level <= s.level {
		return nil
	}
	return federation.Errorf(federation.Conflict,
		"the change needs feature level %d and the cluster is at %d", cmd.Level, s.level).
		WithReason("level").WithHint("upgrade every member first")
}

// MayPropose has a command say which feature level it needs, and refuses one that the
// cluster must not get into its log: a member that does not know all of it would stop.
func (s *State) MayPropose(cmd *storepb.Command) error {
	level, err := needs(cmd.ProtoReflect())
	var unknown *unknownWord
	switch {
	case errors.As(err, &unknown):
		return federation.InvalidField(string(unknown.field.Name()), "%.40q is not known here", unknown.word)
	case err != nil:
		return federation.Errorf(federation.Invalid, "the change cannot be written: %w", err)
	}
	cmd.Level = max(level, cmd.Level)
	return s.atLevel(cmd)
}

func compareList(a, b listID) int {
	if a.kind != b.kind {
		_, at := kindOf(a.kind)
		_, bt := kindOf(b.kind)
		return cmp.Compare(at, bt)
	}
	return strings.Compare(a.mesh, b.mesh)
}

// compareKeys orders keys as they are shown: by kind, mesh and serial.
func compareKeys(a, b cptoken.KeyID) int {
	if c := compareList(listID{a.Kind, a.Mesh}, listID{b.Kind, b.Mesh}); c != 0 {
		return c
	}
	if na, nb := numeric(a.KID), numeric(b.KID); na != nb {
		if na {
			return -1
		}
		return 1
	} else if na && len(a.KID) != len(b.KID) {
		return cmp.Compare(len(a.KID), len(b.KID))
	}
	return strings.Compare(a.KID, b.KID)
}

func numeric(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func compareCutOffs(a, b cptoken.CutOffID) int {
	return compareKeys(cptoken.KeyID(a), cptoken.KeyID(b))
}

func compareAges(a, b requestAge) int {
	if c := cmp.Compare(a.at, b.at); c != 0 {
		return c
	}
	return strings.Compare(a.id, b.id)
}
