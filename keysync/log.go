package keysync

import (
	"encoding/binary"
	"math"

	"go.etcd.io/bbolt"

	"github.com/meridiankds/meridian/cptoken"
)

// The log is how revoked ids are kept on disk: records in the order in which they
// were written, each a run of ids that were revoked, or of which the revocation
// was withdrawn. One more revocation appends one record; a B-tree with an entry
// for each id would dirty a random page for each, and would have to be sorted
// before a full state could be loaded.

// entry is one id of a record of the log.
type entry struct {
	op      byte // opRevoked or opWithdrawn
	carried bool
	kind    cptoken.Kind
	mesh    string
	id      []byte // valid until the next entry
	expires int64
}

// eachID takes a record of the log apart.
func eachID(record []byte, fn func(entry) error) error {
	r := reader{b: record}
	e := entry{op: r.byte()}
	e.carried = r.byte()&flagCarried != 0
	e.kind = r.kind()
	e.mesh = r.string()
	if (e.op != opRevoked && e.op != opWithdrawn) || len(e.mesh) > maxMeshLen {
		r.fail()
	}
	var scratch [36]byte
	for range r.count(cptoken.MaxRun) {
		e.id, e.expires = r.id(&scratch)
		if r.bad {
			break
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return r.done("a record of the log")
}

// logWriter gathers entries into records, in memory: about 20 bytes an id.
type logWriter struct {
	records [][]byte
	run     []byte // of the entries of the record that is being made
	n       int
	of      entry // its header
}

func (w *logWriter) add(e entry) {
	if w.n == cptoken.MaxRun || w.n > 0 && (e.op != w.of.op || e.carried != w.of.carried || e.kind != w.of.kind || e.mesh != w.of.mesh) {
		w.flush()
	}
	w.of = e
	w.n++
	w.run = appendID(w.run, string(e.id), e.expires)
}

func (w *logWriter) flush() {
	if w.n == 0 {
		return
	}
	b := make([]byte, 0, 8+len(w.of.kind)+len(w.of.mesh)+len(w.run))
	b = append(b, w.of.op, carriedFlag(w.of.carried))
	b = appendString(appendString(b, string(w.of.kind)), w.of.mesh)
	b = binary.AppendUvarint(b, uint64(w.n))
	w.records = append(w.records, append(b, w.run...))
	w.run, w.n = w.run[:0], 0
}

// ledger is the log boiled down: each id that is revoked, with the expiry that
// was given last and whether it is carried. It takes 34 bytes an entry while a
// log is rewritten.
type ledger struct {
	table *table
	// info is, for each slot of table, expiry<<1 and the carried bit.
	info []int64
	hash hashKey
}

// taken marks an id that each has yielded.
const taken = math.MinInt64

// readLedger reads the whole log. entries bounds what it holds.
func readLedger(tx *bbolt.Tx, k hashKey, entries uint64) (*ledger, error) {
	l := &ledger{table: newTable(int(entries)), hash: k}
	l.info = make([]int64, len(l.table.slots))
	err := eachEntry(tx, func(e entry) error {
		if l.table.used+1 >= len(l.table.slots) {
			return damagef("the log holds more than its head says")
		}
		i := l.table.set(l.hash.ofBytes(e.kind, e.mesh, e.id), e.op == opRevoked)
		l.info[i] = e.expires << 1
		if e.carried {
			l.info[i] |= 1
		}
		return nil
	})
	return l, err
}

// each yields every id that is revoked once, with its expiry and carried flag as
// the ledger has them. It can be called once.
func (l *ledger) each(tx *bbolt.Tx, fn func(entry, digest)) error {
	return eachEntry(tx, func(e entry) error {
		d := l.hash.ofBytes(e.kind, e.mesh, e.id)
		i, found := l.table.seek(d)
		if e.op != opRevoked || !found || l.table.slots[i].lo&1 == 0 || l.info[i] == taken {
			return nil
		}
		e.expires, e.carried = l.info[i]>>1, l.info[i]&1 == 1
		l.info[i] = taken
		fn(e, d)
		return nil
	})
}

// eachEntry reads the log in order.
func eachEntry(tx *bbolt.Tx, fn func(entry) error) error {
	b := tx.Bucket(bucketName(bucketLog))
	if b == nil {
		return nil
	}
	return b.ForEach(func(_, record []byte) error { return eachID(record, fn) })
}
