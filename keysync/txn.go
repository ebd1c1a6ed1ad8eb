package keysync

import (
	"encoding/binary"
	"fmt"
	"runtime/debug"

	"go.etcd.io/bbolt"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/setsum"
)

// txn is a transaction that keeps the sums of the head beside what it writes.
// Everything that the checksum covers is written through it.
type txn struct {
	tx *bbolt.Tx // nil: nothing is written
	h  *head
}

func (t txn) bucket(b byte) (*bbolt.Bucket, error) {
	return t.tx.CreateBucketIfNotExists(bucketName(b))
}

// put writes a record. bbolt keeps value until the transaction ends.
func (t txn) put(bucket byte, key, value []byte) error {
	if t.tx == nil {
		return nil
	}
	b, err := t.bucket(bucket)
	if err != nil {
		return err
	}
	if old := b.Get(key); old != nil {
		t.h.sums[bucket].Sub(recordHash(bucket, key, old))
	}
	t.h.sums[bucket].Add(recordHash(bucket, key, value))
	return b.Put(key, value)
}

func (t txn) delete(bucket byte, key []byte) error {
	if t.tx == nil {
		return nil
	}
	b, err := t.bucket(bucket)
	if err != nil {
		return err
	}
	old := b.Get(key)
	if old == nil {
		return nil
	}
	t.h.sums[bucket].Sub(recordHash(bucket, key, old))
	return b.Delete(key)
}

// clear empties a bucket.
func (t txn) clear(bucket byte) error {
	t.h.sums[bucket] = setsum.Sum{}
	if t.tx == nil || t.tx.Bucket(bucketName(bucket)) == nil {
		return nil
	}
	return t.tx.DeleteBucket(bucketName(bucket))
}

// appendLog writes records to the end of the log and tallies their entries,
// which the caller has counted into the live ones.
func (t txn) appendLog(records [][]byte) error {
	b, err := t.bucket(bucketLog)
	if err != nil {
		return err
	}
	b.FillPercent = 0.95 // keys only ever grow: a page that is full stays full
	for _, record := range records {
		var key [8]byte
		binary.BigEndian.PutUint64(key[:], t.h.nextSeq)
		t.h.nextSeq++
		t.h.sums[bucketLog].Add(recordHash(bucketLog, key[:], record))
		if err := b.Put(key[:], record); err != nil {
			return err
		}
	}
	return nil
}

// replaceLog makes these records the whole log. The caller counts their entries.
func (t txn) replaceLog(records [][]byte) error {
	if err := t.clear(bucketLog); err != nil {
		return err
	}
	return t.appendLog(records)
}

// writeHead comes last in every transaction.
func (t txn) writeHead() error {
	b, err := t.bucket(bucketHead)
	if err != nil {
		return err
	}
	return b.Put([]byte(headKey), t.h.encode())
}

// guard runs fn, which reads a memory-mapped file, and turns what a file that is
// damaged or truncated meanwhile does to bbolt, a panic or a bus error, into an
// error.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = &panicked{federation.Errorf(federation.Internal, "the file could not be read: %w", asError(r))}
		}
	}()
	return fn()
}

// panicked is the error for a transaction that ended in a panic: bbolt may still
// hold its locks.
type panicked struct{ err error }

func (p *panicked) Error() string { return p.err.Error() }
func (p *panicked) Unwrap() error { return p.err }

func asError(r any) error {
	if err, ok := r.(error); ok {
		return err
	}
	return fmt.Errorf("%v", r)
}
