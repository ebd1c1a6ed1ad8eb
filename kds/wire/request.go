package wire

import (
	"encoding/base64"
	"encoding/json"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
)

// Request is what the server reads of a DeltaDiscoveryRequest. It is parsed by
// hand because a first request of Kuma's carries the zone's whole configuration
// as a Struct, once for each type: here that is stepped over without a copy, and
// the bounds on names hold while they are counted, not after they were kept.
type Request struct {
	limits *kds.Limits
	first  bool
	Err    error // why the rest is not to be used

	TypeURL  string // type_url
	NodeID   string // node.id, "" where the request has no node
	Instance string // node.metadata "control-plane-id"
	Version  string // node.metadata "version"."kumaCp"."version"
	// Store is "store"."type" of node.metadata "config", which is JSON: where a zone of
	// Kuma's keeps its state. Read of a first request only.
	Store string

	Subscribe      int // how many names, not which
	Unsubscribe    int
	UnsubscribeAll bool   // "*" is among them
	Resume         string // initial_resource_versions["changes"]
	Vocabulary     string // initial_resource_versions["vocabulary"]
	Position       []byte // initial_resource_versions["position"]
	LiveKeys       string // initial_resource_versions["live-keys"], in the same form as KeySets
	KeySets        string // initial_resource_versions["key-sets"], in the form of kds.FormatKeySets
	// NotHeld are the names that a zone of Meridian's unsubscribes from: what it was
	// sent and does not understand.
	NotHeld []string

	Nonce   string // response_nonce
	Refused bool   // has error_detail
	Refusal string // its message, printable
	// Unwritten says that the refusal's code is Unavailable: the zone refuses what the
	// set refuses, and could not make it durable.
	Unwritten bool
}

// NewRequest returns one that is read within the limits. first says that it is the first
// of its stream.
func NewRequest(limits *kds.Limits, first bool) *Request {
	return &Request{limits: limits, first: first}
}

// Field numbers of envoy.service.discovery.v3.DeltaDiscoveryRequest and of what
// is inside it.
const (
	fieldNode        = 1
	fieldTypeURL     = 2
	fieldSubscribe   = 3
	fieldUnsubscribe = 4
	fieldVersions    = 5
	fieldNonce       = 6
	fieldError       = 7

	fieldNodeID       = 1
	fieldNodeMetadata = 3
	fieldStructFields = 1
	fieldMapKey       = 1
	fieldMapValue     = 2
	fieldValueString  = 3
	fieldValueStruct  = 5
	fieldStatusCode   = 1
	fieldStatusText   = 2
)

const (
	maxNonceLen   = 128
	maxRefusalLen = 1024
	maxResumeLen  = 256
)

// decode reads b. Strings are copied out of it.
func (r *Request) decode(b []byte) error {
	return eachField(b, func(num protowire.Number, v []byte) (err error) {
		switch num {
		case fieldNode:
			return r.decodeNode(v)
		case fieldTypeURL:
			r.TypeURL, err = text("type_url", v, r.limits.TypeLen)
		case fieldSubscribe:
			r.Subscribe++
			return r.checkName("resource_names_subscribe", v, r.Subscribe)
		case fieldUnsubscribe:
			r.Unsubscribe++
			r.UnsubscribeAll = r.UnsubscribeAll || string(v) == "*"
			if err := r.checkName("resource_names_unsubscribe", v, r.Unsubscribe); err != nil {
				return err
			}
			if len(r.NotHeld) <= cptoken.MaxSkipped && string(v) != "*" {
				r.NotHeld = append(r.NotHeld, Printable(string(v)))
			}
			return nil
		case fieldVersions:
			return r.decodeVersion(v)
		case fieldNonce:
			r.Nonce, err = text("response_nonce", v, maxNonceLen)
		case fieldError:
			r.Refused = true
			return r.decodeRefusal(v)
		}
		return err
	})
}

func (r *Request) checkName(field string, v []byte, count int) error {
	if count > r.limits.Names {
		return federation.Errorf(federation.TooLarge, "%s: more than %d names", field, r.limits.Names)
	}
	if len(v) > r.limits.NameLen {
		return federation.Errorf(federation.TooLarge, "%s: a name of %d bytes, want at most %d", field, len(v), r.limits.NameLen)
	}
	return nil
}

func (r *Request) decodeNode(b []byte) error {
	return eachField(b, func(num protowire.Number, v []byte) (err error) {
		switch num {
		case fieldNodeID:
			r.NodeID, err = text("node.id", v, federation.MaxNameLen)
		case fieldNodeMetadata:
			return r.decodeMetadata(v)
		}
		return err
	})
}

// decodeMetadata takes the control plane's id, version and kind of store out of the
// Struct and steps over the rest.
func (r *Request) decodeMetadata(b []byte) error {
	return eachMember(b, func(key string, value []byte) (err error) {
		switch key {
		case "control-plane-id":
			r.Instance, err = stringValue("node.metadata.control-plane-id", value, kds.MaxInstanceLen)
		case "config":
			if r.first {
				return r.decodeConfig(value)
			}
		case "version":
			return eachMemberOf(value, func(key string, value []byte) error {
				if key != "kumaCp" {
					return nil
				}
				return eachMemberOf(value, func(key string, value []byte) (err error) {
					if key == "version" {
						r.Version, err = stringValue("node.metadata.version", value, kds.MaxVersionLen)
					}
					return err
				})
			})
		}
		return err
	})
}

// maxStoreLen is longer than any word for a kind of store.
const maxStoreLen = 32

// decodeConfig reads the kind of store. A configuration that cannot be read says nothing.
func (r *Request) decodeConfig(value []byte) error {
	return eachField(value, func(num protowire.Number, v []byte) error {
		var config struct{ Store struct{ Type string } }
		if num == fieldValueString && json.Unmarshal(v, &config) == nil && len(config.Store.Type) <= maxStoreLen {
			r.Store = Printable(config.Store.Type)
		}
		return nil
	})
}

// eachMember calls f with each field of a Struct.
func eachMember(b []byte, f func(key string, value []byte) error) error {
	return eachField(b, func(num protowire.Number, entry []byte) error {
		if num != fieldStructFields {
			return nil
		}
		key, value, err := mapEntry(entry)
		if err != nil || len(key) > maxKeyLen {
			return err
		}
		return f(string(key), value)
	})
}

// maxKeyLen is longer than the keys that are looked for.
const maxKeyLen = 64

// eachMemberOf calls f with each field of a Value that is a Struct.
func eachMemberOf(value []byte, f func(key string, value []byte) error) error {
	return eachField(value, func(num protowire.Number, v []byte) error {
		if num != fieldValueStruct {
			return nil
		}
		return eachMember(v, f)
	})
}

// stringValue returns a Value that is a string, "" where it is something else.
func stringValue(field string, value []byte, limit int) (s string, err error) {
	err = eachField(value, func(num protowire.Number, v []byte) (err error) {
		if num == fieldValueString {
			s, err = text(field, v, limit)
		}
		return err
	})
	return s, err
}

func (r *Request) decodeVersion(entry []byte) error {
	key, value, err := mapEntry(entry)
	if err != nil {
		return err
	}
	switch string(key) {
	case kds.ResourceName:
		r.Resume, err = text("initial_resource_versions", value, maxResumeLen)
	case kds.VersionPosition:
		r.Position, err = position(value)
	case kds.VersionVocabulary:
		r.Vocabulary, err = text("initial_resource_versions", value, kds.MaxVocabularyLen)
	case kds.VersionLiveKeys:
		if r.LiveKeys, err = text("initial_resource_versions", value, kds.MaxKeySetsLen); err == nil {
			_, err = kds.ParseKeySets(r.LiveKeys)
		}
	case kds.VersionKeySets:
		if r.KeySets, err = text("initial_resource_versions", value, kds.MaxKeySetsLen); err == nil {
			_, err = kds.ParseKeySets(r.KeySets)
		}
	}
	return err
}

func position(text []byte) ([]byte, error) {
	if len(text) > base64.StdEncoding.EncodedLen(cptoken.MaxPosition) {
		return nil, federation.Errorf(federation.TooLarge, "initial_resource_versions: a position of %d bytes", len(text))
	}
	p, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "initial_resource_versions: the position is not base64")
	}
	return p, nil
}

func (r *Request) decodeRefusal(b []byte) error {
	r.Unwritten = codeOf(b) == codes.Unavailable
	return eachField(b, func(num protowire.Number, v []byte) error {
		if num == fieldStatusText {
			r.Refusal = Printable(string(v[:min(len(v), maxRefusalLen)]))
		}
		return nil
	})
}

// codeOf returns the code of a google.rpc.Status, which is its only number.
func codeOf(b []byte) codes.Code {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return codes.Unknown
		}
		if num == fieldStatusCode && typ == protowire.VarintType {
			code, n := protowire.ConsumeVarint(b[n:])
			if n < 0 || code > uint64(codes.Unauthenticated) {
				return codes.Unknown
			}
			return codes.Code(code)
		}
		skip := protowire.ConsumeFieldValue(num, typ, b[n:])
		if skip < 0 {
			return codes.Unknown
		}
		b = b[n+skip:]
	}
	return codes.Unknown
}

// mapEntry returns key and value of an entry of a protobuf map.
func mapEntry(b []byte) (key, value []byte, err error) {
	err = eachField(b, func(num protowire.Number, v []byte) error {
		switch num {
		case fieldMapKey:
			key = v
		case fieldMapValue:
			value = v
		}
		return nil
	})
	return key, value, err
}

// eachField calls f with every length-delimited field of a message and steps
// over the others. Groups, which no message of this protocol has, are refused:
// they are the only fields whose skipping recurses.
func eachField(b []byte, f func(num protowire.Number, v []byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return malformed(n)
		}
		b = b[n:]
		switch typ {
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return malformed(n)
			}
			if err := f(num, v); err != nil {
				return err
			}
			b = b[n:]
		case protowire.VarintType, protowire.Fixed32Type, protowire.Fixed64Type:
			n := protowire.ConsumeFieldValue(num, typ, b)
			if n < 0 {
				return malformed(n)
			}
			b = b[n:]
		default:
			return federation.Errorf(federation.Invalid, "malformed request: field %d is a group", num)
		}
	}
	return nil
}

func malformed(n int) error {
	return federation.Errorf(federation.Invalid, "malformed request: %w", protowire.ParseError(n))
}

// text returns v as a string if it is one and short enough.
func text(field string, v []byte, limit int) (string, error) {
	if len(v) > limit {
		return "", federation.Errorf(federation.TooLarge, "%s: %d bytes, want at most %d", field, len(v), limit)
	}
	if !utf8.Valid(v) {
		return "", federation.Errorf(federation.Invalid, "%s: not UTF-8", field)
	}
	return string(v), nil
}

// Printable returns s with what could disturb a terminal or a log replaced.
func Printable(s string) string {
	out := []rune(s)
	for i, c := range out {
		if c < ' ' || c == 0x7f || c == utf8.RuneError || (c >= 0x80 && c < 0xa0) || c == 0x2028 || c == 0x2029 || (c >= 0x202a && c <= 0x202e) {
			out[i] = '?'
		}
	}
	return string(out)
}
