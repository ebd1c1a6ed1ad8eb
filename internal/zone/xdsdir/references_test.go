package xdsdir

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/meridiankds/meridian/internal/zone/envoyres"
)

var updateReferences = flag.Bool("update-references", false, "write testdata/references.txt anew")

// TestEveryReferenceIsKnown lists every field of the linked messages that may make one
// resource rely on another: strings that have to do with clusters, and sources of
// configuration, behind which stands a subscription. What each is taken for is in
// testdata/references.txt. A field that a newer version of Envoy's definitions brings fails
// this test until somebody has looked at it.
func TestEveryReferenceIsKnown(t *testing.T) {
	var list []string
	protoregistry.GlobalTypes.RangeMessages(func(m protoreflect.MessageType) bool {
		d := m.Descriptor()
		if !strings.HasPrefix(string(d.FullName()), "envoy.") || strings.HasPrefix(string(d.FullName()), "envoy.service.") {
			return true
		}
		for i := range d.Fields().Len() {
			field := d.Fields().Get(i)
			full := string(field.FullName())
			inner := field.Message()
			source := inner != nil && (inner.FullName() == "envoy.config.core.v3.ConfigSource" || inner.FullName() == "envoy.config.core.v3.ExtensionConfigSource")
			words := field.Kind() == protoreflect.StringKind && (strings.Contains(string(field.Name()), "cluster") ||
				field.Name() == "name" && strings.Contains(full, "Cluster"))
			verdict := envoyres.Verdict(field)
			switch {
			case verdict == "" && (source || words):
				t.Errorf("%s may refer to another resource: say in internal/zone/envoyres/references.go what it is", full)
			case verdict != "":
				list = append(list, full+": "+verdict)
			}
		}
		return true
	})
	slices.Sort(list)
	got := strings.Join(list, "\n") + "\n"
	if *updateReferences {
		if err := os.WriteFile("testdata/references.txt", []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/references.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 40 {
		t.Fatalf("%d fields were found: the test would prove little", len(list))
	}
	if got != string(want) {
		t.Errorf("look at what is new, say in internal/zone/envoyres/references.go what it refers to, and run this test with -update-references:\n%s", diff(string(want), got))
	}
}

// diff is the lines that only one of two texts has.
func diff(want, got string) string {
	var out []string
	for line := range strings.Lines(want) {
		if !strings.Contains(got, line) {
			out = append(out, "- "+line)
		}
	}
	for line := range strings.Lines(got) {
		if !strings.Contains(want, line) {
			out = append(out, "+ "+line)
		}
	}
	return strings.Join(out, "")
}
