package xdsdir

import (
	"reflect"
	"strings"
	"testing"

	"github.com/cncf/xds/go/udpa/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/meridiankds/meridian/internal/redact"
)

// within are the fields whose names are too common: they stand in another one that is taken
// out as a whole.
var within = map[protoreflect.FullName]string{
	"envoy.extensions.transport_sockets.tls.v3.GenericSecret.secret":            "genericSecret",
	"envoy.extensions.transport_sockets.tls.v3.GenericSecret.secrets":           "genericSecret",
	"envoy.extensions.transport_sockets.tls.v3.PrivateKeyProvider.typed_config": "privateKeyProvider",
	"envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys.keys":       "sessionTicketKeys",
}

// TestSensitiveFieldsAreRedacted: whatever Envoy's API calls sensitive is taken out of what is
// shown, also of messages that are not linked.
func TestSensitiveFieldsAreRedacted(t *testing.T) {
	found := 0
	for _, file := range filesOfEnvoy(t) {
		if strings.Contains(file.GetPackage(), ".v2") {
			continue // Envoy knows no resources of that version any more
		}
		fieldsOf(file.GetPackage(), file.GetMessageType(), func(full protoreflect.FullName, f *descriptorpb.FieldDescriptorProto) {
			if !proto.GetExtension(f.GetOptions(), annotations.E_Sensitive).(bool) {
				return
			}
			found++
			for _, name := range []string{f.GetJsonName(), f.GetName()} {
				var in, want any = map[string]any{name: map[string]any{"inlineString": "a"}}, map[string]any{name: map[string]any{"inlineString": "[secret]"}}
				if f.GetType() == descriptorpb.FieldDescriptorProto_TYPE_STRING {
					in, want = map[string]any{name: "a"}, map[string]any{name: "[secret]"}
				}
				if name == "credentials" { // keys, and whose they are
					in = map[string]any{name: []any{map[string]any{"key": "a", "client": "b"}}}
					want = map[string]any{name: []any{map[string]any{"key": "[secret]", "client": "b"}}}
				}
				if parent := within[full]; parent != "" {
					in, want = map[string]any{parent: in}, map[string]any{parent: want}
				}
				if got := redact.JSON(in); !reflect.DeepEqual(got, want) {
					t.Errorf("%s is shown: %v", full, got)
				}
			}
		})
	}
	if found < 15 {
		t.Errorf("%d sensitive fields were found: the test would prove little", found)
	}
}

func fieldsOf(of string, messages []*descriptorpb.DescriptorProto, each func(protoreflect.FullName, *descriptorpb.FieldDescriptorProto)) {
	for _, m := range messages {
		name := of + "." + m.GetName()
		for _, f := range m.GetField() {
			each(protoreflect.FullName(name+"."+f.GetName()), f)
		}
		fieldsOf(name, m.GetNestedType(), each)
	}
}
