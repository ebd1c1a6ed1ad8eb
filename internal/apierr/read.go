package apierr

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/meridiankds/meridian/federation"
)

// maxDepth bounds how deep a body may nest: ours need four levels.
const maxDepth = 32

// MaxItems bounds the elements of an array or object whose field says nothing else: a
// list of ids that fits into a body has fewer.
const MaxItems = 50_000

// How much of a body that is too long is taken before it is refused: so many times
// its limit, and no more than maxDropped.
const (
	dropped    = 64
	maxDropped = 64 << 20
)

// ReadJSON reads the body of r, one JSON value of at most limit bytes, into the
// struct that into points to. It is stricter than encoding/json: members that
// the struct does not have, members spelled in another case, members given twice
// and anything after the value are Invalid errors that name the field; so is a
// body that calls itself something other than JSON. A body that is too long is
// TooLarge.
func ReadJSON(w http.ResponseWriter, r *http.Request, limit int64, into any) error {
	data, err := ReadJSONBytes(w, r, limit)
	if err != nil {
		return err
	}
	return UnmarshalStrict(data, into)
}

// ReadJSONBytes reads the body of r, of at most limit bytes, for [UnmarshalStrict]: so
// that who decodes it can wait for their turn with all of it there.
func ReadJSONBytes(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if ct := r.Header.Get("Content-Type"); ct != "" {
		// A form of another site's page cannot set this type without the browser
		// asking first, which is why it is looked at where it is given.
		media, _, err := mime.ParseMediaType(ct)
		if err != nil || (media != "application/json" && !strings.HasSuffix(media, "+json")) {
			return nil, federation.InvalidField("Content-Type", "%.80q is not application/json", ct)
		}
	}
	return readBounded(w, r, limit)
}

// ReadBytes reads the body of r, of at most limit bytes, whatever it calls itself.
// A body that is too long is TooLarge.
func ReadBytes(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	return readBounded(w, r, limit)
}

// readBounded reads a body of at most limit bytes.
func readBounded(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	tooLong := federation.Errorf(federation.TooLarge, "the body has more than %d bytes", limit).
		WithReason("too_large").WithHint("send less at once")
	if r.ContentLength > limit && r.Header.Get("Expect") != "" {
		return nil, tooLong // the caller waits to be told before it sends
	}
	data, err := collect(io.LimitReader(r.Body, limit+1))
	var known *federation.Error
	switch {
	case errors.As(err, &known):
		return nil, known // who stands before the body has said why
	case err != nil:
		return nil, federation.Errorf(federation.Invalid, "the body could not be read to its end: %w", err)
	case int64(len(data)) > limit:
		// Were the connection closed while the caller still sends, its system would
		// throw the answer away. So a good part of the rest is taken and dropped.
		// On HTTP/2 the stream alone ends, and what others ask beside it goes on.
		if r.ProtoMajor < 2 {
			w.Header().Set("Connection", "close")
		}
		_, _ = io.CopyN(io.Discard, r.Body, min(maxDropped, dropped*limit))
		return nil, tooLong
	}
	return data, nil
}

// collect reads in to its end. It occupies about what has come: room for a length that is
// only declared would cost the caller nothing, and room that grows by copying is twice
// that. So pieces are joined once all of them are there.
func collect(in io.Reader) ([]byte, error) {
	const least, most = 1 << 10, 64 << 10
	var pieces [][]byte
	piece := make([]byte, 0, least)
	for {
		n, err := in.Read(piece[len(piece):cap(piece)])
		piece = piece[:len(piece)+n]
		switch {
		case errors.Is(err, io.EOF) && pieces == nil:
			return piece, nil
		case errors.Is(err, io.EOF):
			return bytes.Join(append(pieces, piece), nil), nil
		case err != nil:
			return nil, err
		case len(piece) == cap(piece):
			pieces = append(pieces, piece)
			piece = make([]byte, 0, min(2*cap(piece), most))
		}
	}
}

// UnmarshalStrict is [ReadJSON] for bytes.
func UnmarshalStrict(data []byte, into any) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return federation.Errorf(federation.Invalid, "the body is empty").WithHint("send a JSON object")
	}
	c := checker{dec: json.NewDecoder(bytes.NewReader(data))}
	c.dec.UseNumber()
	if err := c.value(reflect.TypeOf(into), "", 0, MaxItems); err != nil {
		return err
	}
	if _, err := c.dec.Token(); !errors.Is(err, io.EOF) {
		return federation.Errorf(federation.Invalid, "the body goes on after its JSON value, at byte %d", c.dec.InputOffset())
	}
	err := json.Unmarshal(data, into)
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong) && wrong.Field != "":
		return federation.InvalidField(wrong.Field, "must be %s, is a JSON %.20s", jsonName(wrong.Type), wrong.Value)
	case errors.As(err, &wrong):
		return federation.Errorf(federation.Invalid, "the body must be a JSON object, is a JSON %.20s", wrong.Value)
	case err != nil:
		return federation.Errorf(federation.Invalid, "the body is not what is expected here: %w", err)
	}
	return nil
}

// checker walks a JSON value beside the Go type that it is meant for. It judges
// the names of members only; types are left to encoding/json.
type checker struct{ dec *json.Decoder }

func (c checker) value(t reflect.Type, path string, depth, most int) error {
	if depth > maxDepth {
		return federation.Errorf(federation.Invalid, "the body nests more than %d levels deep", maxDepth)
	}
	token, err := c.dec.Token()
	if err != nil {
		return federation.Errorf(federation.Invalid, "the body is not JSON, at byte %d: %w", c.dec.InputOffset(), err)
	}
	t = plain(t)
	switch token {
	case json.Delim('{'):
		return c.object(t, path, depth, most)
	case json.Delim('['):
		return c.array(t, path, depth, most)
	}
	return nil
}

func (c checker) object(t reflect.Type, path string, depth, most int) error {
	seen := map[string]bool{}
	for c.dec.More() {
		token, err := c.dec.Token()
		if err != nil {
			return federation.Errorf(federation.Invalid, "the body is not JSON, at byte %d: %w", c.dec.InputOffset(), err)
		}
		name, _ := token.(string) // the decoder has made sure of it
		field := strings.TrimPrefix(path+"."+clip(name), ".")
		if seen[name] {
			return federation.InvalidField(field, "is given twice")
		}
		if seen[name] = true; len(seen) > most {
			return tooMany(path, most)
		}
		member, known := memberType(t, name)
		if !known {
			return federation.InvalidField(field, "is not known here")
		}
		if err := c.value(member.Type, field, depth+1, member.most); err != nil {
			return err
		}
	}
	return c.end()
}

func (c checker) array(t reflect.Type, path string, depth, most int) error {
	var elem reflect.Type
	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
		elem = t.Elem()
	}
	for i := 0; c.dec.More(); i++ {
		if i >= most {
			return tooMany(path, most)
		}
		if err := c.value(elem, path+"["+strconv.Itoa(i)+"]", depth+1, MaxItems); err != nil {
			return err
		}
	}
	return c.end()
}

func tooMany(path string, most int) error {
	if path == "" {
		path = "the body"
	}
	return federation.InvalidField(path, "must hold at most %d elements", most)
}

// end reads the closing bracket.
func (c checker) end() error {
	if _, err := c.dec.Token(); err != nil {
		return federation.Errorf(federation.Invalid, "the body is not JSON, at byte %d: %w", c.dec.InputOffset(), err)
	}
	return nil
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// plain strips pointers, and returns nil for a type whose members cannot be
// known: one that reads itself, or an interface.
func plain(t reflect.Type) reflect.Type {
	for t != nil {
		switch {
		case t.Implements(unmarshaler) || reflect.PointerTo(t).Implements(unmarshaler) || t.Kind() == reflect.Interface:
			return nil
		case t.Kind() == reflect.Pointer:
			t = t.Elem()
		default:
			return t
		}
	}
	return nil
}

// member is what a member of an object may be.
type member struct {
	reflect.Type     // nil where it is unknown
	most         int // elements, where it holds others
}

// memberType returns the named member of t and whether t may have such a member.
func memberType(t reflect.Type, name string) (member, bool) {
	if t == nil {
		return member{nil, MaxItems}, true
	}
	switch t.Kind() {
	case reflect.Map:
		return member{t.Elem(), MaxItems}, true
	case reflect.Struct:
		m, known := membersOf(t)[name]
		return m, known
	}
	return member{nil, MaxItems}, true // a wrong type, which encoding/json will name
}

// members has the members of each struct that a request is read into, which are not
// many: finding them takes longer than reading a small request.
var members sync.Map // of reflect.Type to map[string]member

func membersOf(t reflect.Type) map[string]member {
	if known, ok := members.Load(t); ok {
		return known.(map[string]member)
	}
	all := map[string]member{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" && !f.Anonymous {
			name = f.Name
		}
		if _, earlier := all[name]; f.IsExported() && f.Tag.Get("json") != "-" && name != "" && !earlier {
			most, err := strconv.Atoi(f.Tag.Get("maxItems"))
			if err != nil {
				most = MaxItems
			}
			all[name] = member{f.Type, most}
		}
	}
	members.Store(t, all)
	return all
}

// jsonName says what JSON a Go type wants.
func jsonName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Map, reflect.Struct:
		return "an object"
	}
	return "a number"
}

// clip shortens a member's name for a message.
func clip(name string) string {
	if len(name) > 60 {
		return strings.ToValidUTF8(name[:60], "") + "…"
	}
	return name
}
