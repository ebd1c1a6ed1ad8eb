package xdsdir

import (
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// envoyAPI returns the descriptions of all files of Envoy's API, also of those that are not
// linked: they stand as text in the generated code of the module.
var envoyAPI = sync.OnceValues(func() (all []*descriptorpb.FileDescriptorProto, err error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/envoyproxy/go-control-plane/envoy").Output()
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(strings.TrimSpace(string(root)), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".pb.go") {
			return err
		}
		code, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		_, text, ok := strings.Cut(string(code), "_rawDesc = \"\" +\n")
		if !ok {
			return nil
		}
		var raw strings.Builder
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			literal := strings.TrimSuffix(line, " +")
			part, err := strconv.Unquote(literal)
			if err != nil {
				return err
			}
			raw.WriteString(part)
			if literal == line {
				break
			}
		}
		file := &descriptorpb.FileDescriptorProto{}
		all = append(all, file)
		return proto.Unmarshal([]byte(raw.String()), file)
	})
	return all, err
})

func filesOfEnvoy(t *testing.T) []*descriptorpb.FileDescriptorProto {
	t.Helper()
	all, err := envoyAPI()
	if err != nil {
		t.Skipf("skipped: Envoy's API cannot be read from the module's source: %v", err)
	}
	if len(all) < 500 {
		t.Fatalf("%d files were found: the test would prove little", len(all))
	}
	return all
}

var updateTypes = flag.Bool("update-types", false, "write types.txt anew")

// TestEveryTypeIsKnown holds the list of names against Envoy's API: the messages that a
// typed_config may hold and that are not linked.
func TestEveryTypeIsKnown(t *testing.T) {
	var list []string
	for _, file := range filesOfEnvoy(t) {
		pkg := file.GetPackage()
		today := strings.HasPrefix(pkg[strings.LastIndexByte(pkg, '.')+1:], "v3")
		if !today || !strings.HasPrefix(pkg, "envoy.extensions.") && !strings.HasPrefix(pkg, "envoy.config.") {
			continue
		}
		for _, m := range file.GetMessageType() {
			name := file.GetPackage() + "." + m.GetName()
			if _, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name)); err != nil {
				list = append(list, name)
			}
		}
	}
	slices.Sort(list)
	got := strings.Join(list, "\n") + "\n"
	if *updateTypes {
		if err := os.WriteFile("types.txt", []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != typesText {
		t.Errorf("run this test with -update-types:\n%s", diff(typesText, got))
	}
}
