package keysync

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

const stageSuffix = ".stage"

// stage is a file of parts that wait for the last one of their set. It is not
// made durable and means nothing to another process: who dies in the middle of a
// set is sent all of it again.
type stage struct {
	file  *os.File
	size  int64
	parts []stagedPart
}

type stagedPart struct {
	size int
	crc  uint32
}

func newStage(path string) (*stage, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &stage{file: f}, nil
}

func (s *stage) add(blob []byte) error {
	if s.size+int64(len(blob)) > maxStaged {
		return federation.Errorf(federation.TooLarge, "the set has more than %d bytes", maxStaged)
	}
	if _, err := s.file.WriteAt(blob, s.size); err != nil {
		return err
	}
	s.size += int64(len(blob))
	s.parts = append(s.parts, stagedPart{len(blob), crc32.ChecksumIEEE(blob)})
	return nil
}

// each yields the changes of all parts in order. A nil stage has none.
func (s *stage) each(fn func(cptoken.Change) error) error {
	if s == nil {
		return nil
	}
	var at int64
	var buf []byte
	for i, p := range s.parts {
		buf = append(buf[:0], make([]byte, p.size)...)
		if _, err := s.file.ReadAt(buf, at); err != nil {
			return fmt.Errorf("reading part %d back: %w", i, err)
		}
		if crc32.ChecksumIEEE(buf) != p.crc {
			return federation.Errorf(federation.Internal, "part %d is not what was put aside", i).WithReason(ReasonBrokenSet)
		}
		if err := eachChange(buf, fn); err != nil {
			return err
		}
		at += int64(p.size)
	}
	return nil
}

// remove forgets the parts. A file that cannot be removed is emptied by the next
// set.
func (s *stage) remove() {
	if s != nil {
		_ = s.file.Close()
		_ = os.Remove(s.file.Name())
	}
}

// appendChanges writes changes one after the other, for the stage.
func appendChanges(b []byte, changes []cptoken.Change) []byte {
	for _, c := range changes {
		switch {
		case c.Key != nil:
			b = binary.AppendUvarint(append(b, opKey), c.Index)
			b = appendKeyRef(b, c.Key.ID.Kind, c.Key.ID.Mesh, c.Key.ID.KID)
			b = appendKey(b, c.Key)
		case c.RemovedKey != nil:
			b = binary.AppendUvarint(append(b, opRemovedKey), c.Index)
			b = appendKeyRef(b, c.RemovedKey.Kind, c.RemovedKey.Mesh, c.RemovedKey.KID)
		case c.Revoked != nil:
			b = appendRun(binary.AppendUvarint(append(b, opRevoked), c.Index), c.Revoked)
		case c.Withdrawn != nil:
			b = appendRun(binary.AppendUvarint(append(b, opWithdrawn), c.Index), c.Withdrawn)
		case c.CutOff != nil:
			b = binary.AppendUvarint(append(b, opCutOff), c.Index)
			b = appendKeyRef(b, c.CutOff.Kind, c.CutOff.Mesh, c.CutOff.KID)
			b = binary.AppendVarint(b, c.CutOff.Before.Unix())
		case c.Skipped != nil:
			b = appendString(binary.AppendUvarint(append(b, opSkipped), c.Index), c.Skipped.Name)
			if id := c.Skipped.Key; id != nil {
				b = appendKeyRef(append(b, 1), id.Kind, id.Mesh, id.KID)
			} else {
				b = append(b, 0)
			}
		case c.CutOffWithdrawn != nil:
			b = binary.AppendUvarint(append(b, opCutOffWithdrawn), c.Index)
			b = appendKeyRef(b, c.CutOffWithdrawn.Kind, c.CutOffWithdrawn.Mesh, c.CutOffWithdrawn.KID)
		}
	}
	return b
}

func appendRun(b []byte, run *cptoken.RevokedRun) []byte {
	b = appendString(appendString(b, string(run.Kind)), run.Mesh)
	b = binary.AppendUvarint(b, uint64(len(run.IDs)))
	for _, id := range run.IDs {
		b = appendID(b, id.ID, id.Expires)
	}
	return b
}

// eachChange reads what appendChanges wrote.
func eachChange(blob []byte, fn func(cptoken.Change) error) error {
	r := reader{b: blob}
	for len(r.b) > 0 {
		c, err := r.change()
		if err != nil {
			return err
		}
		if r.bad {
			break
		}
		if err := fn(c); err != nil {
			return err
		}
	}
	return r.done("a staged part")
}

func (r *reader) change() (c cptoken.Change, err error) {
	op := r.byte()
	c.Index = r.uvarint()
	if op == opRevoked || op == opWithdrawn {
		run := r.run()
		if op == opRevoked {
			c.Revoked = run
		} else {
			c.Withdrawn = run
		}
		return c, nil
	}
	if op == opSkipped {
		c.Skipped = r.skipped()
		return c, nil
	}
	var id cptoken.KeyID
	id.Kind, id.Mesh, id.KID = r.keyRef()
	cutOffID := cptoken.CutOffID(id)
	switch op {
	case opKey:
		c.Key, err = r.key(id)
	case opRemovedKey:
		c.RemovedKey = &id
	case opCutOff:
		c.CutOff = &cptoken.CutOff{CutOffID: cutOffID, Before: time.Unix(r.varint(), 0)}
	case opCutOffWithdrawn:
		c.CutOffWithdrawn = &cutOffID
	default:
		r.fail()
	}
	return c, err
}

func (r *reader) skipped() *cptoken.Skipped {
	s := &cptoken.Skipped{Name: r.string()}
	if r.byte() != 0 {
		var id cptoken.KeyID
		id.Kind, id.Mesh, id.KID = r.keyRef()
		s.Key = &id
	}
	return s
}

func (r *reader) run() *cptoken.RevokedRun {
	run := &cptoken.RevokedRun{Kind: r.kind(), Mesh: r.string()}
	var scratch [36]byte
	for range r.count(cptoken.MaxRun) {
		id, expires := r.id(&scratch)
		run.IDs = append(run.IDs, cptoken.RevokedID{ID: string(id), Expires: expires})
	}
	return run
}
