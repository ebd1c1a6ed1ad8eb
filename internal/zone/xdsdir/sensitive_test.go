package xdsdir

import (
	"reflect"
	"testing"

	"github.com/cncf/xds/go/udpa/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
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

// TestSensitiveFieldsAreRedacted: whatever Envoy's API calls sensitive, in all that a folder
// may hold, is taken out of what is shown.
func TestSensitiveFieldsAreRedacted(t *testing.T) {
	found := 0
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		fieldsOf(file.Messages(), func(f protoreflect.FieldDescriptor) {
			options, ok := f.Options().(*descriptorpb.FieldOptions)
			if !ok || !proto.GetExtension(options, annotations.E_Sensitive).(bool) {
				return
			}
			found++
			for _, name := range []string{f.JSONName(), string(f.Name())} {
				var in, want any = map[string]any{name: map[string]any{"inlineString": "a"}}, map[string]any{name: map[string]any{"inlineString": "[secret]"}}
				if parent := within[f.FullName()]; parent != "" {
					in, want = map[string]any{parent: in}, map[string]any{parent: want}
				}
				if got := redact.JSON(in); !reflect.DeepEqual(got, want) {
					t.Errorf("%s is shown: %v", f.FullName(), got)
				}
			}
		})
		return true
	})
	if found < 5 {
		t.Errorf("%d sensitive fields were found: the test would prove little", found)
	}
}

func fieldsOf(messages protoreflect.MessageDescriptors, each func(protoreflect.FieldDescriptor)) {
	for i := range messages.Len() {
		m := messages.Get(i)
		for k := range m.Fields().Len() {
			each(m.Fields().Get(k))
		}
		fieldsOf(m.Messages(), each)
	}
}
