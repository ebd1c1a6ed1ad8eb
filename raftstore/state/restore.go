package state

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/setsum"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// ReadSnapshot reads a whole snapshot into a new state. It fails for what is
// damaged, cut off, or not known to this program in full.
func ReadSnapshot(in io.Reader) (*State, error) {
	rs := newRestorer()
	if _, _, err := scanSnapshot(in, rs.add); err != nil {
		return nil, err
	}
	return rs.finish()
}

// PlaceInSnapshot tells where a position stands towards the state of a snapshot, of which
// it keeps no more than the table of lineages.
func PlaceInSnapshot(in io.Reader, history federation.History, index uint64, lineage []byte) (Place, error) {
	rs := newRestorer()
	_, _, err := scanSnapshot(in, func(record *storepb.Record, _ bool) error {
		switch r := record.What.(type) {
		case *storepb.Record_Header:
			return rs.header(r.Header)
		case *storepb.Record_Lines:
			return rs.state.lines.read(rs.state.edit, r.Lines)
		}
		return nil
	})
	return rs.state.PlaceOf(history, index, lineage), err
}

// errHeader ends the reading of a snapshot behind its header.
var errHeader = errors.New("the header is read")

// ClusterInSnapshot returns the id of the cluster that a snapshot is of, and reads no
// further than it must.
func ClusterInSnapshot(in io.Reader) (cluster string, err error) {
	_, _, err = scanSnapshot(in, func(record *storepb.Record, _ bool) error {
		cluster = record.GetHeader().GetClusterId()
		return errHeader
	})
	if errors.Is(err, errHeader) {
		err = nil
	}
	return cluster, err
}

// scanSnapshot reads a whole snapshot and gives each record to add, all but the
// End, which it returns with the digest of all frames before it. It keeps nothing.
func scanSnapshot(in io.Reader, add func(record *storepb.Record, first bool) error) (*storepb.End, []byte, error) {
	r := bufio.NewReaderSize(in, 64<<10)
	head := make([]byte, len(snapshotMagic)+4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, nil, fmt.Errorf("snapshot header: %w", noEOF(err))
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return nil, nil, errors.New("not a snapshot")
	}
	if f := binary.BigEndian.Uint32(head[len(snapshotMagic):]); f != snapshotFormat {
		return nil, nil, fmt.Errorf("snapshot format %d: %w", f, ErrNewer)
	}
	sum, frames, records := sha256.New(), sha256.New(), uint64(0)
	var level uint32
	for {
		payload, err := readFrame(r)
		if err != nil {
			return nil, nil, fmt.Errorf("snapshot record %d: %w", records, err)
		}
		record := new(storepb.Record)
		if err := proto.Unmarshal(payload, record); err != nil {
			return nil, nil, fmt.Errorf("snapshot record %d: %w", records, err)
		}
		if records == 0 {
			level = record.GetHeader().GetLevel()
		}
		if err := checkVocabulary(record, level); err != nil {
			return nil, nil, fmt.Errorf("snapshot record %d: %w", records, err)
		}
		if end := record.GetEnd(); end != nil {
			if end.Records != records || !bytes.Equal(end.Sha256, sum.Sum(nil)) {
				return nil, nil, errors.New("snapshot records are missing or changed")
			}
			if _, err := r.ReadByte(); err != io.EOF {
				return nil, nil, errors.New("snapshot has data behind its end")
			}
			return end, frames.Sum(nil), nil
		}
		sum.Write(payload)
		frames.Write(binary.BigEndian.AppendUint32(nil, uint32(len(payload))))
		frames.Write(payload)
		if err := add(record, records == 0); err != nil {
			return nil, nil, fmt.Errorf("snapshot record %d: %w", records, err)
		}
		records++
	}
}

// checkVocabulary refuses a record that has what this program does not know, or what the
// feature level of its snapshot does not have.
func checkVocabulary(record *storepb.Record, level uint32) error {
	needed, err := needs(record.ProtoReflect())
	switch {
	case err != nil:
		return err
	case record.What == nil:
		return ErrNewer
	case needed > max(FirstLevel, level):
		return fmt.Errorf("it has what feature level %d brought, in a snapshot of level %d", needed, level)
	}
	return nil
}

func readFrame(r io.Reader) ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("frame: %w", noEOF(err))
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxRecord {
		return nil, fmt.Errorf("frame of %d bytes is too large", n)
	}
	// Grown as it arrives: a damaged length must not reserve memory.
	var payload bytes.Buffer
	if _, err := io.CopyN(&payload, r, int64(n)); err != nil {
		return nil, fmt.Errorf("frame: %w", noEOF(err))
	}
	if Checksum(payload.Bytes()) != binary.BigEndian.Uint32(head[4:]) {
		return nil, errors.New("frame checksum does not match")
	}
	return payload.Bytes(), nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// restorer adds records to a state. Runs are gathered from several records and
// joined when the next one begins.
type restorer struct {
	state *State
	sum   []byte // of all records, as the header says; empty before LevelLineage
	run   *run
	list  idList
	// withdrawn are the cut-offs that have a tombstone.
	withdrawn map[cptoken.CutOffID]bool
}

func newRestorer() *restorer {
	rs := &restorer{state: NewState(), withdrawn: map[cptoken.CutOffID]bool{}}
	rs.state.share()
	return rs
}

func (rs *restorer) add(record *storepb.Record, first bool) error {
	if _, ok := record.What.(*storepb.Record_Header); ok != first {
		return errors.New("the header must come first, and once")
	}
	if err := rs.checkRecord(record); err != nil {
		return err
	}
	s := rs.state
	switch r := record.What.(type) {
	case *storepb.Record_Header:
		return rs.header(r.Header)
	case *storepb.Record_SealCheck:
		s.sealCheck = r.SealCheck
	case *storepb.Record_Secret:
		return rs.secret(r.Secret)
	case *storepb.Record_Serial:
		s.serials.Set(s.edit, listID{cptoken.Kind(r.Serial.Kind), r.Serial.Mesh}, r.Serial.Highest)
	case *storepb.Record_Key:
		return rs.key(r.Key)
	case *storepb.Record_Expelled:
		s.expelled.Set(s.edit, r.Expelled.Id, r.Expelled)
	case *storepb.Record_Zone:
		rs.zone(r.Zone)
	case *storepb.Record_Mesh:
		s.meshes.Set(s.edit, r.Mesh.Name, &Mesh{
			Name: r.Mesh.Name, Created: millis(r.Mesh.CreatedMs), Modified: millis(r.Mesh.ModifiedMs),
		})
	case *storepb.Record_CutOff:
		rs.cutOff(r.CutOff)
	case *storepb.Record_Revocations:
		return rs.revocations(r.Revocations)
	case *storepb.Record_Tombstone:
		return rs.tombstone(r.Tombstone)
	case *storepb.Record_Stage:
		if begun, ok := s.stages.Get(r.Stage.Id); ok {
			r.Stage.Parts = append(begun.Parts, r.Stage.Parts...)
		}
		s.stages.Set(s.edit, r.Stage.Id, r.Stage)
	case *storepb.Record_Request:
		s.requests.Set(s.edit, r.Request.Id, r.Request)
		s.ages.Set(s.edit, requestAge{r.Request.AtMs, r.Request.Id}, struct{}{})
	case *storepb.Record_Lines:
		return s.lines.read(s.edit, r.Lines)
	case *storepb.Record_Loss:
		s.losses = append(s.losses, r.Loss)
	case *storepb.Record_StagedRestore:
		s.staged.add(s.edit, r.StagedRestore)
	default:
		return fmt.Errorf("record %T is not handled", r)
	}
	return nil
}

func (rs *restorer) header(h *storepb.Header) error {
	if h.Level > Level {
		return fmt.Errorf("feature level %d, this program knows %d: %w", h.Level, Level, ErrNewer)
	}
	s := rs.state
	s.level, s.cluster = h.Level, h.ClusterId
	s.history = federation.History{ID: h.GetHistory().GetId(), Created: h.GetHistory().GetCreatedMs()}
	s.applied, s.revision, s.floor = h.Applied, h.Revision, h.Floor
	s.time, s.watermark, s.offset, s.began = h.TimeMs, h.WatermarkMs, h.Offset, h.HistoryIndex
	s.proved, s.lines.floor = h.ProvedMs, h.LinesFloor
	if len(h.Lineage) > 0 || h.Level >= LevelLineage {
		if len(h.Lineage) != len(s.lineage) || len(h.RecordsSum) != setsum.Size {
			return errors.New("its lineage is none")
		}
		s.lineage, rs.sum = [sha256.Size]byte(h.Lineage), h.RecordsSum
	}
	for _, m := range h.LineMarks {
		s.lines.marks = append(s.lines.marks, lineMark{m.AtMs, m.Index})
	}
	return s.checkHeader()
}

func (rs *restorer) key(r *storepb.KeyRecord) error {
	id := keyID(r.Id)
	k := &KeyRecord{sealed: r.Sealed, Key: Key{
		ID: id, Serial: r.Serial, Alg: r.Alg, State: cptoken.KeyState(r.State), Imported: r.Imported, By: r.By,
		Created: millis(r.CreatedMs), Prepared: millis(r.PreparedMs), Active: millis(r.ActiveMs),
		Retiring: millis(r.RetiringMs), Index: r.Index, PreparedIndex: r.PreparedIndex, RetiringIndex: r.RetiringIndex,
		Blocked: r.Blocked,
	}}
	if keyStates[r.State] == 0 {
		return fmt.Errorf("key %s: unknown state %.20q", id, r.State)
	}
	var registered *cptoken.Constraints
	if r.Registered != nil {
		c, err := rs.state.constraintsFrom(r.Registered)
		if err != nil {
			return fmt.Errorf("key %s: %w", id, err)
		}
		registered = c
	}
	if err := k.setPublic(r.PublicDer, r.Fingerprint, registered); err != nil {
		return err
	}
	k.at = rs.log(r.Index, logEntry{what: keyChanged, id: id})
	rs.state.keys.Set(rs.state.edit, id, k)
	return nil
}

func keyID(r *storepb.KeyRef) cptoken.KeyID {
	return cptoken.KeyID{Kind: cptoken.Kind(r.GetKind()), Mesh: r.GetMesh(), KID: r.GetKid()}
}

// log adds a change at its old index.
func (rs *restorer) log(index uint64, e logEntry) logKey {
	s := rs.state
	at := logKey{index, s.seq}
	s.seq++
	s.log.Set(s.edit, at, e)
	return at
}

func (rs *restorer) zone(r *storepb.ZoneRecord) {
	rs.state.zones.Set(rs.state.edit, r.Name, &federation.Zone{
		Name: r.Name, Enabled: r.Enabled, Auth: federation.AuthMode(r.Auth),
		Relay:     federation.RelayPolicy{Meshes: r.RelayMeshes, MaxValidity: time.Duration(r.RelayMaxValidityS) * time.Second},
		FirstSeen: millis(r.FirstSeenMs), Created: millis(r.CreatedMs), Modified: millis(r.ModifiedMs), Deleted: r.Deleted,
	})
}

func (rs *restorer) cutOff(r *storepb.CutOffRecord) {
	id := cptoken.CutOffID(keyID(r.Id))
	c := &cutOffRecord{CutOff: CutOff{
		CutOff: cptoken.CutOff{CutOffID: id, Before: time.Unix(r.BeforeS, 0).UTC()},
		Reason: r.Reason, By: r.By, At: millis(r.AtMs), Index: r.Index,
	}}
	c.logged = rs.log(r.Index, logEntry{what: cutOffSet, id: cptoken.KeyID(id)})
	rs.state.cutOffs.Set(rs.state.edit, id, c)
}

func (rs *restorer) revocations(r *storepb.Revocations) error {
	err := rs.begin(run{
		listID: listID{cptoken.Kind(r.Kind), r.Mesh}, index: r.Index, reason: r.Reason, by: r.By, at: r.AtMs,
	})
	for _, id := range r.Ids {
		rs.list.live++
		err = firstOf(err, rs.entry(id.Id, idEntry{mark: r.Index, expires: id.ExpiresS}))
	}
	return err
}

// entry adds an id to the run, which is the newest word on it: no other has it.
func (rs *restorer) entry(id string, e idEntry) error {
	before := rs.list.len()
	rs.run.add(id)
	rs.list.set(rs.state.edit, id, e)
	return once(rs.list.len() == before, "the id", id)
}

func (rs *restorer) tombstone(r *storepb.Tombstone) error {
	s := rs.state
	switch {
	case r.RemovedKey != nil:
		id := keyID(r.RemovedKey)
		s.removed.Set(s.edit, id, rs.log(r.Index, logEntry{what: keyRemoved, id: id, at: r.AtMs}))
	case r.CutOff != nil:
		id := keyID(r.CutOff)
		rs.log(r.Index, logEntry{what: cutOffWithdrawn, id: id, at: r.AtMs})
		rs.withdrawn[cptoken.CutOffID(id)] = true
	default:
		err := rs.begin(run{listID: listID{cptoken.Kind(r.Kind), r.Mesh}, index: r.Index, withdrawn: true, at: r.AtMs})
		return firstOf(err, rs.entry(r.Id, idEntry{mark: r.Index | withdrawnMark, expires: r.ExpiresS}))
	}
	return nil
}

// begin makes next the run that ids are added to, unless it is the present one.
func (rs *restorer) begin(next run) error {
	if err := rs.checkJoins(next); err != nil {
		return err
	}
	if r := rs.run; r != nil && r.same(next) {
		return nil
	}
	rs.end()
	rs.run, rs.list = &next, rs.state.list(next.listID)
	return nil
}

// end publishes the run that was gathered.
func (rs *restorer) end() {
	if rs.run == nil {
		return
	}
	what := idsRevoked
	if rs.run.withdrawn {
		what = idsWithdrawn
	}
	rs.log(rs.run.index, logEntry{what: what, run: rs.run, at: rs.run.at})
	rs.state.lists.Set(rs.state.edit, rs.run.listID, rs.list)
	rs.run = nil
}

func (rs *restorer) finish() (*State, error) {
	rs.end()
	if err := rs.state.checkWhole(); err != nil {
		return nil, err
	}
	if len(rs.sum) > 0 && !bytes.Equal(rs.sum, rs.state.sum.Append(nil)) {
		return nil, errLineage
	}
	return rs.state, nil
}
