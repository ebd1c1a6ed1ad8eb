package xdsdir

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/yamldoc"
	"github.com/meridiankds/meridian/internal/zone/envoyres"
)

// MaxFile bounds a file, in bytes.
const MaxFile = 4 << 20

// resource is one of a file.
type resource struct {
	*envoyres.Resource
	line      int
	unchecked []unchecked // types inside of it that are not linked
}

// parse reads the resources of a file. Errors are Invalid and name the line.
func parse(data []byte) ([]resource, error) {
	root, err := yamldoc.Parse(data, MaxFile)
	if err != nil {
		return nil, err
	}
	if root.Kind != yamldoc.Map {
		return nil, yamldoc.At(root.Line, "", "a file of resources is a map with resources, is %s", root.Kind)
	}
	var list *yamldoc.Node
	for _, m := range root.Members {
		switch m.Name {
		case "resources":
			list = m.Value
		case "version_info", "versionInfo": // Envoy's own files have it: ours are told apart by content
		default:
			return nil, yamldoc.At(m.Line, m.Name, "is not known here, which has: resources")
		}
	}
	if list == nil || list.Kind != yamldoc.List {
		return nil, yamldoc.At(root.Line, "resources", "must be a list of resources, each with its @type")
	}
	var out []resource
	for i, n := range list.Items {
		r, err := parseOne(n, fmt.Sprintf("resources[%d]", i))
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

func parseOne(n *yamldoc.Node, field string) (resource, error) {
	t := n.Get("@type")
	if t == nil || t.Kind != yamldoc.Text {
		return resource{}, yamldoc.At(n.Line, field, "has no @type, such as %scluster.v3.Cluster", typePrefix+"envoy.config.")
	}
	if envoyres.KindOf(t.Text) == types.UnknownType {
		return resource{}, yamldoc.At(t.Line, field, "%.100q is no type of resource that proxies ask for: use %s", t.Text, strings.Join(kinds(), ", "))
	}
	kind, err := protoregistry.GlobalTypes.FindMessageByURL(t.Text)
	if err != nil {
		return resource{}, complaint(err, n.Line, field)
	}
	var w wrapper
	if err := w.message(n, kind.Descriptor(), field, ""); err != nil {
		return resource{}, err
	}
	var holder anypb.Any
	if err := protojson.Unmarshal(n.JSON(), &holder); err != nil {
		return resource{}, complaint(err, n.Line, field)
	}
	message, err := holder.UnmarshalNew()
	if err != nil {
		return resource{}, complaint(err, n.Line, field)
	}
	if err := validate(message, n, field); err != nil {
		return resource{}, err
	}
	r, err := envoyres.New(message)
	if err != nil {
		return resource{}, yamldoc.At(n.Line, field, "%s", federation.AsError(err).Detail)
	}
	return resource{r, n.Line, w.unchecked}, nil
}

const typePrefix = "type.googleapis.com/"

// kinds are the types that a file may hold, without what all begin with.
func kinds() (list []string) {
	for _, kind := range envoyres.Kinds() {
		list = append(list, strings.TrimPrefix(envoyres.URL(kind), typePrefix))
	}
	return list
}

// protoError is how the protobuf library begins its messages: with a space of
// either kind, which it varies on purpose.
var protoError = regexp.MustCompile("^proto:[ \u00a0]*(?:(?:syntax error )?\\(line (\\d+):\\d+\\):[ \u00a0]*)?")

// complaint turns an error of the protobuf library into one about a line. The
// JSON that it read has everything on the line of the file.
func complaint(err error, line int, field string) error {
	text := err.Error()
	if m := protoError.FindStringSubmatch(text); m != nil {
		if n, convErr := strconv.Atoi(m[1]); convErr == nil {
			line = n
		}
		text = text[len(m[0]):]
	}
	return yamldoc.At(line, field, "%s", withoutValues(text))
}

// withoutValues cuts off what a message repeats of a value, which may be secret.
func withoutValues(text string) string {
	text = strings.ReplaceAll(text, "\u00a0", " ")
	if cut, _, ok := strings.Cut(text, " field "); ok && strings.HasPrefix(text, "invalid value for") {
		rest := text[len(cut)+len(" field "):]
		name, _, _ := strings.Cut(rest, ":")
		return cut + " field " + name
	}
	const most = 300
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// inFile puts the file's name before an error about its content.
func inFile(file string, err error) error {
	e := *federation.AsError(err)
	e.Detail = file + ": " + e.Error()
	return &e
}
