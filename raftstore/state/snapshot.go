package state

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// A snapshot is the magic "MRDNSNAP", the format (4 bytes, big endian), and
// frames. A frame is the length of its payload (4 bytes), the CRC-32C of the
// payload (4 bytes) and the payload, a storepb.Record. The header comes first;
// the last frame is an End, which counts the frames before it and holds the
// SHA-256 of their payloads, so that a snapshot that was cut off is no snapshot.
const (
	snapshotMagic  = "MRDNSNAP"
	snapshotFormat = 1 // what a level adds are fields and records, not another format
	// maxRecord bounds a frame: the largest holds one part of a stage.
	maxRecord = 2 * MaxCommand
)

// snapshotWriter writes records as frames and remembers the first error.
type snapshotWriter struct {
	w       *bufio.Writer
	sum     hash.Hash // of the payloads
	frames  hash.Hash // of the payloads, each behind its length
	records uint64
	buf     []byte // a record
	ids     []byte // the ids of a run
	err     error
}

// WriteSnapshot streams the state, which must be a capture.
func (s *State) WriteSnapshot(out io.Writer) error { return s.write(out, nil) }

// write streams the state. mac makes the MAC of a backup from the digest of its frames.
func (s *State) write(out io.Writer, mac func(frames []byte) []byte) error {
	w := &snapshotWriter{w: bufio.NewWriterSize(out, 64<<10), sum: sha256.New(), frames: sha256.New()}
	head := binary.BigEndian.AppendUint32([]byte(snapshotMagic), snapshotFormat)
	_, w.err = w.w.Write(head)
	w.put(&storepb.Record{What: &storepb.Record_Header{Header: s.header()}})
	if s.sealCheck != nil {
		w.put(&storepb.Record{What: &storepb.Record_SealCheck{SealCheck: s.sealCheck}})
	}
	for _, c := range s.secrets {
		w.put(&storepb.Record{What: &storepb.Record_Secret{Secret: c}})
	}
	s.writeLines(w)
	for _, l := range s.losses {
		w.put(&storepb.Record{What: &storepb.Record_Loss{Loss: l}})
	}
	s.writeExpelled(w)
	s.writeKeys(w)
	s.writeFleet(w)
	s.writeLog(w)
	for _, stage := range s.stages.All() {
		for i := range stage.Parts {
			w.put(&storepb.Record{What: &storepb.Record_Stage{Stage: &storepb.Stage{
				Id: stage.Id, By: stage.By, BegunMs: stage.BegunMs, Parts: stage.Parts[i : i+1],
			}}})
		}
	}
	for _, part := range s.staged.parts.All() {
		w.put(&storepb.Record{What: &storepb.Record_StagedRestore{StagedRestore: &storepb.StagedRestore{
			Id: s.staged.id, BegunMs: s.staged.begun, Data: part,
		}}})
	}
	for age := range s.ages.All() {
		request, _ := s.requests.Get(age.id)
		w.put(&storepb.Record{What: &storepb.Record_Request{Request: request}})
	}
	end := &storepb.End{Records: w.records, Sha256: w.sum.Sum(nil)}
	if mac != nil {
		end.Mac = mac(w.frames.Sum(nil))
	}
	w.put(&storepb.Record{What: &storepb.Record_End{End: end}})
	if w.err != nil {
		return w.err
	}
	return w.w.Flush()
}

// WriteBackup streams the state without a restore that is under way, and ends it with
// what mac makes from the digest of all frames. The digest tells where each record
// ends: records that are run together would be read as other ones. Of the cluster secret
// a backup has the newest generation alone: a restore begins a history, and positions of
// those before prove nothing.
func (s *State) WriteBackup(out io.Writer, mac func(frames []byte) []byte) error {
	backup := s.Capture()
	backup.staged = stagedRestore{parts: s.staged.none()}
	backup.secrets = s.secrets[max(0, len(s.secrets)-1):]
	return backup.write(out, mac)
}

func (w *snapshotWriter) put(r *storepb.Record) {
	if w.err != nil {
		return
	}
	w.buf, w.err = proto.MarshalOptions{Deterministic: true}.MarshalAppend(w.buf[:0], r)
	if w.err != nil {
		return
	}
	w.frame()
}

// frame writes the record that is encoded in buf.
func (w *snapshotWriter) frame() {
	if w.err != nil {
		return
	}
	var head [8]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(w.buf)))
	binary.BigEndian.PutUint32(head[4:], Checksum(w.buf))
	if _, w.err = w.w.Write(head[:]); w.err == nil {
		_, w.err = w.w.Write(w.buf)
	}
	w.sum.Write(w.buf)
	w.frames.Write(head[:4])
	w.frames.Write(w.buf)
	w.records++
}

func (s *State) header() *storepb.Header {
	h := s.scalars()
	if s.level >= LevelLineage {
		h.Lineage, h.RecordsSum, h.LinesFloor = s.lineage[:], s.sum.Append(nil), s.lines.floor
		for _, m := range s.lines.marks {
			h.LineMarks = append(h.LineMarks, &storepb.LineMark{AtMs: m.at, Index: m.index})
		}
	}
	return h
}

// scalars is the header without what stands for everything else.
func (s *State) scalars() *storepb.Header {
	return &storepb.Header{
		Level: s.level, ClusterId: s.cluster,
		History: &storepb.History{Id: s.history.ID, CreatedMs: s.history.Created},
		Applied: s.applied, Revision: s.revision, Floor: s.floor,
		TimeMs: s.time, WatermarkMs: s.watermark, Offset: s.offset,
		HistoryIndex: s.began, ProvedMs: s.proved,
	}
}

func (s *State) writeKeys(w *snapshotWriter) {
	for id, highest := range s.serials.All() {
		w.put(&storepb.Record{What: &storepb.Record_Serial{Serial: &storepb.Serial{
			Kind: string(id.kind), Mesh: id.mesh, Highest: highest,
		}}})
	}
	for _, k := range s.keys.All() {
		w.put(&storepb.Record{What: &storepb.Record_Key{Key: k.record()}})
	}
}

func (k *KeyRecord) record() *storepb.KeyRecord {
	r := &storepb.KeyRecord{
		Id: KeyRef(k.ID), Serial: k.Serial, Alg: k.Alg, State: string(k.State),
		Sealed: k.sealed, Imported: k.Imported, Registered: ConstraintsTo(k.Registered),
		Index: k.Index, By: k.By, PreparedIndex: k.PreparedIndex, RetiringIndex: k.RetiringIndex,
		CreatedMs: toMillis(k.Created), PreparedMs: toMillis(k.Prepared),
		ActiveMs: toMillis(k.Active), RetiringMs: toMillis(k.Retiring), Blocked: k.Blocked,
	}
	if k.Public != nil {
		r.PublicDer = k.Public.DER()
	} else {
		r.Fingerprint = k.Fingerprint
	}
	return r
}

// KeyRef is a key or cut-off as commands name it.
func KeyRef(id cptoken.KeyID) *storepb.KeyRef {
	return &storepb.KeyRef{Kind: string(id.Kind), Mesh: id.Mesh, Kid: id.KID}
}

func (s *State) writeFleet(w *snapshotWriter) {
	for _, z := range s.zones.All() {
		w.put(&storepb.Record{What: &storepb.Record_Zone{Zone: zoneTo(z)}})
	}
	for _, m := range s.meshes.All() {
		w.put(&storepb.Record{What: &storepb.Record_Mesh{Mesh: meshTo(m)}})
	}
}

func zoneTo(z *federation.Zone) *storepb.ZoneRecord {
	return &storepb.ZoneRecord{
		Name: z.Name, Enabled: z.Enabled, Auth: string(z.Auth), RelayMeshes: z.Relay.Meshes,
		RelayMaxValidityS: int64(z.Relay.MaxValidity / time.Second), FirstSeenMs: toMillis(z.FirstSeen),
		CreatedMs: toMillis(z.Created), ModifiedMs: toMillis(z.Modified), Deleted: z.Deleted,
	}
}

func meshTo(m *Mesh) *storepb.MeshRecord {
	return &storepb.MeshRecord{Name: m.Name, CreatedMs: toMillis(m.Created), ModifiedMs: toMillis(m.Modified)}
}

func cutOffTo(c *cutOffRecord) *storepb.CutOffRecord {
	return &storepb.CutOffRecord{
		Id: KeyRef(cptoken.KeyID(c.CutOffID)), BeforeS: c.Before.Unix(), Reason: c.Reason, By: c.By, AtMs: toMillis(c.At), Index: c.Index,
	}
}

// writeLog writes cut-offs, revocations and tombstones in log order.
func (s *State) writeLog(w *snapshotWriter) {
	for at, e := range s.log.All() {
		switch e.what {
		case cutOffSet:
			c, _ := s.cutOffs.Get(cptoken.CutOffID(e.id))
			w.put(&storepb.Record{What: &storepb.Record_CutOff{CutOff: cutOffTo(c)}})
		case keyRemoved:
			w.tombstone(&storepb.Tombstone{Index: at.index, AtMs: e.at, RemovedKey: KeyRef(e.id)})
		case cutOffWithdrawn:
			w.tombstone(&storepb.Tombstone{Index: at.index, AtMs: e.at, CutOff: KeyRef(e.id)})
		case idsWithdrawn:
			list := s.list(e.run.listID)
			e.run.each(&list, func(id string, was idEntry) bool {
				w.tombstone(&storepb.Tombstone{
					Index: at.index, AtMs: e.at, Kind: string(e.run.kind), Mesh: e.run.mesh, Id: id, ExpiresS: was.expires,
				})
				return w.err == nil
			})
		case idsRevoked:
			s.writeRun(w, e.run)
		}
	}
}

func (w *snapshotWriter) tombstone(t *storepb.Tombstone) {
	w.put(&storepb.Record{What: &storepb.Record_Tombstone{Tombstone: t}})
}

// writeRun writes a run in records of at most cptoken.MaxRun ids. They make up nearly
// all of a large snapshot, and so are encoded by hand into a buffer that is used again:
// a message for each would be garbage of the state's own size, and a heap that grows
// by it before it is collected. What comes out is what proto.Marshal would write.
func (s *State) writeRun(w *snapshotWriter, r *run) {
	head, err := proto.MarshalOptions{Deterministic: true}.Marshal(&storepb.Revocations{
		Kind: string(r.kind), Mesh: r.mesh, Index: r.index, Reason: r.reason, By: r.by, AtMs: r.at,
	})
	if w.err == nil {
		w.err = err
	}
	n := 0
	w.ids = append(w.ids[:0], head...)
	flush := func() {
		w.buf = protowire.AppendTag(w.buf[:0], recordRevocations, protowire.BytesType)
		w.buf = protowire.AppendBytes(w.buf, w.ids)
		w.frame()
		w.ids, n = append(w.ids[:0], head...), 0
	}
	list := s.list(r.listID)
	r.eachText(&list, func(id []byte, e idEntry) bool {
		w.ids = appendRevoked(w.ids, id, e.expires)
		if n++; n == cptoken.MaxRun {
			flush()
		}
		return w.err == nil
	})
	if n > 0 {
		flush()
	}
}

// Field numbers of storepb.
const (
	recordRevocations = 4 // Record.revocations
	revocationsIDs    = 7 // Revocations.ids
	revokedID         = 1 // RevokedID.id
	revokedExpires    = 2 // RevokedID.expires_s
)

// appendRevoked appends one storepb.RevokedID to the ids of a Revocations.
func appendRevoked(b, id []byte, expires int64) []byte {
	size := 0
	if len(id) > 0 {
		size = protowire.SizeTag(revokedID) + protowire.SizeBytes(len(id))
	}
	if expires != 0 {
		size += protowire.SizeTag(revokedExpires) + protowire.SizeVarint(uint64(expires))
	}
	b = protowire.AppendTag(b, revocationsIDs, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	if len(id) > 0 {
		b = protowire.AppendTag(b, revokedID, protowire.BytesType)
		b = protowire.AppendBytes(b, id)
	}
	if expires != 0 {
		b = protowire.AppendTag(b, revokedExpires, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(expires))
	}
	return b
}
