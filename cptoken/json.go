package cptoken

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Bounds on the JSON of a header or a claim set, checked before a signature is.
// The largest token that Meridian issues stays well inside.
const (
	maxDepth   = 8    // of objects and arrays in each other
	maxMembers = 32   // of one object
	maxKeys    = 128  // of all objects: searching for duplicates costs maxMembers × maxKeys/2 at most
	maxValues  = 2048 // of any kind
	maxNumber  = 64   // bytes of one number
)

// maxDate bounds a NumericDate: the last second of the year 9999, beyond which
// RFC 3339 cannot write it.
const maxDate = 253402300799

// reader reads one JSON text (RFC 8259) front to back. encoding/json is not used
// because it takes the last of duplicate keys, matches them without regard to
// case and mends broken strings, each of which lets two programs read one token
// differently; and because it is several times slower.
//
// The first error sticks: after it every method returns a zero value at once.
// Strings without escapes share memory with the input.
type reader struct {
	s      string
	pos    int
	depth  int
	keys   int // read so far, of all objects
	values int // read so far

	open []string // keys of the objects that are open, outermost first
	err  string   // what is wrong, "" for nothing
	in   string   // the known member of the outermost object that err is in, "" for none
	want string   // how that member must be written
}

// fail records what is wrong, the first time.
func (r *reader) fail(what string) {
	if r.err == "" {
		r.err = what + ", byte " + strconv.Itoa(r.pos)
	}
}

// member notes that what is wrong, if anything just became so, is wrong with a known
// member of the outermost object.
func (r *reader) member(name string) {
	if r.err != "" && r.in == "" {
		r.in, r.want = name, writtenAs[name]
	}
}

// next skips white space and returns the byte that follows without consuming it,
// 0 at the end or after an error.
func (r *reader) next() byte {
	if r.err != "" {
		return 0
	}
	for ; r.pos < len(r.s); r.pos++ {
		switch c := r.s[r.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// take consumes c if it comes next.
func (r *reader) take(c byte) bool {
	if r.next() != c {
		return false
	}
	r.pos++
	return true
}

// value counts one value against its bound.
func (r *reader) value() {
	if r.values++; r.values > maxValues {
		r.fail("too many values")
	}
}

// enter begins an object or array.
func (r *reader) enter(c byte, what string) bool {
	r.value()
	if !r.take(c) {
		r.fail("want " + what)
		return false
	}
	if r.depth++; r.depth > maxDepth {
		r.fail("nested too deeply")
		return false
	}
	return true
}

// members yields the keys of an object. The body of the loop must read the value
// of each and must not leave the loop.
func (r *reader) members(yield func(key string) bool) {
	if !r.enter('{', "an object") {
		return
	}
	base := len(r.open)
	for !r.take('}') {
		if len(r.open) > base && !r.take(',') {
			r.fail("want , or }")
		}
		if r.next() != '"' {
			r.fail("want a key")
		}
		key := r.text()
		r.key(key, base)
		if !r.take(':') {
			r.fail("want :")
		}
		if r.err != "" || !yield(key) || r.err != "" {
			return
		}
	}
	r.open = r.open[:base]
	r.depth--
}

// key refuses a key that the innermost object, whose keys begin at base, has
// already.
func (r *reader) key(key string, base int) {
	if r.err != "" {
		return
	}
	r.keys++
	if len(r.open)-base >= maxMembers || r.keys > maxKeys {
		r.fail("too many keys")
		return
	}
	for _, k := range r.open[base:] {
		if k == key {
			r.fail("a key stands twice")
			return
		}
	}
	r.open = append(r.open, key)
}

// elements yields once for each element of an array. The body of the loop must
// read it and must not leave the loop.
func (r *reader) elements(yield func() bool) {
	if !r.enter('[', "an array") {
		return
	}
	for first := true; !r.take(']'); first = false {
		if !first && !r.take(',') {
			r.fail("want , or ]")
		}
		if r.err != "" || !yield() || r.err != "" {
			return
		}
	}
	r.depth--
}

// null consumes a null if one comes next.
func (r *reader) null() bool {
	if r.next() != 'n' {
		return false
	}
	r.literal("null")
	return true
}

func (r *reader) literal(word string) {
	r.value()
	if r.err == "" && !strings.HasPrefix(r.s[r.pos:], word) {
		r.fail("want a value")
		return
	}
	r.pos += len(word)
}

// skip reads a value of any type.
func (r *reader) skip() {
	switch c := r.next(); c {
	case '{':
		for range r.members {
			r.skip()
		}
	case '[':
		for range r.elements {
			r.skip()
		}
	case '"':
		r.text()
	case 't':
		r.literal("true")
	case 'f':
		r.literal("false")
	case 'n':
		r.literal("null")
	default:
		r.number()
	}
}

// number reads a number and returns it as it is written.
func (r *reader) number() string {
	r.value()
	r.next()
	start := r.pos
	if r.at("-") {
		r.pos++
	}
	switch {
	case r.at("0"):
		r.pos++
	case r.digits() == 0:
		r.fail("want a value")
	}
	if r.at(".") {
		r.pos++
		if r.digits() == 0 {
			r.fail("a number without digits after its point")
		}
	}
	if r.at("eE") {
		r.pos++
		if r.at("+-") {
			r.pos++
		}
		if r.digits() == 0 {
			r.fail("a number without digits in its exponent")
		}
	}
	if r.pos-start > maxNumber {
		r.fail("a number with too many digits")
	}
	if r.err != "" {
		return ""
	}
	return r.s[start:r.pos]
}

// at reports whether the current byte is one of set.
func (r *reader) at(set string) bool {
	return r.pos < len(r.s) && strings.IndexByte(set, r.s[r.pos]) >= 0
}

func (r *reader) digits() (n int) {
	for ; r.at("0123456789"); r.pos++ {
		n++
	}
	return n
}

// serial reads a whole number that fits 64 bits, without fraction or exponent.
func (r *reader) serial() uint64 {
	n, err := strconv.ParseUint(r.number(), 10, 64)
	if err != nil {
		r.fail("want a whole number")
	}
	return n
}

// date reads a NumericDate (RFC 7519, section 2): seconds since 1970, which may
// have a fraction; round says to which side it falls.
func (r *reader) date(round func(float64) float64) time.Time {
	s := r.number()
	if n, err := strconv.ParseUint(s, 10, 64); err == nil && n <= maxDate {
		return time.Unix(int64(n), 0).UTC()
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > maxDate {
		r.fail("want a date in seconds since 1970")
		return time.Time{}
	}
	return time.Unix(int64(round(f)), 0).UTC()
}

// texts reads an array of strings; null is an empty one, as Go writes it.
func (r *reader) texts() []string {
	if r.null() {
		return nil
	}
	var list []string
	for range r.elements {
		list = append(list, r.text())
	}
	return list
}
