package resources

import (
	"bytes"
	"encoding/base64"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/spelling"
	"github.com/meridiankds/meridian/internal/yamldoc"
)

// maxResources bounds a file of resources.
const maxResources = 1 << 20

// readFiles reads all resources of all files before anything is done with one.
func readFiles(c *cli.Context, names []string) ([]resource, error) {
	var all []resource
	for _, name := range names {
		files, err := filesOf(name)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			found, err := readFile(c, file)
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
	}
	return all, nil
}

// filesOf is what a name stands for: itself, or the files of resources in a directory.
func filesOf(name string) ([]string, error) {
	info, err := os.Stat(name)
	if name == "-" || err != nil || !info.IsDir() {
		return []string{name}, nil
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, federation.Errorf(federation.Invalid, "reading resources: %w", err).WithHint("name a directory that you may read with -f")
	}
	var files []string
	for _, e := range entries {
		if slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) && !e.IsDir() {
			files = append(files, filepath.Join(name, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, federation.Errorf(federation.Invalid, "the directory %s has no file *.yaml, *.yml or *.json", name).
			WithHint("global apply --help shows a resource")
	}
	return files, nil
}

func readFile(c *cli.Context, name string) ([]resource, error) {
	in := c.App.Reader
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, federation.Errorf(federation.Invalid, "reading resources: %w", err).WithHint("name a file that you may read with -f, or - for standard input")
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxResources+1))
	switch {
	case err != nil:
		return nil, federation.Errorf(federation.Invalid, "reading resources: %w", err).WithHint("name a file that you may read with -f")
	case len(data) > maxResources:
		return nil, federation.Errorf(federation.TooLarge, "%s has more than %d bytes", name, maxResources).WithHint("split it: several files are given with several -f, or as a directory")
	}
	var resources []resource
	for _, doc := range documents(data) {
		r, err := readResource(doc)
		if err != nil {
			return nil, at(name, err)
		}
		r.place = name
		resources = append(resources, r)
	}
	if len(resources) == 0 {
		return nil, federation.Errorf(federation.Invalid, "%s holds no resource", name).WithHint("global apply --help shows one")
	}
	return resources, nil
}

// at puts the file's name before what is wrong in it.
func at(name string, err error) error {
	e := *federation.AsError(err)
	e.Detail = name + ": " + e.Detail
	if e.Hint == "" {
		e.Hint = "global apply --help shows what a resource has"
	}
	return &e
}

// documents cuts a file at its lines of three dashes. Each document begins with as many
// line ends as stand before it, so that what is wrong is found in its line of the file.
func documents(data []byte) (docs [][]byte) {
	begin, line := 0, 0
	cut := func(end, before int) {
		if doc := data[begin:end]; len(bytes.TrimSpace(doc)) > 0 {
			docs = append(docs, append(bytes.Repeat([]byte{'\n'}, before), doc...))
		}
	}
	first, offset := 0, 0
	for text := range bytes.Lines(data) {
		line++
		if bytes.HasPrefix(text, []byte("---")) {
			cut(offset, first)
			begin, first = offset+3, line-1
		}
		offset += len(text)
	}
	cut(len(data), first)
	return docs
}

// types are what can be applied.
var types = []string{apitypes.TypeZone, apitypes.TypeMesh, apitypes.TypeGlobalSecret, apitypes.TypeSecret, apitypes.TypePublicKey}

// readResource reads one document. Errors name its line.
func readResource(doc []byte) (resource, error) {
	root, err := yamldoc.Parse(doc, maxResources)
	if err != nil {
		return resource{}, err
	}
	if root.Kind != yamldoc.Map {
		return resource{}, yamldoc.At(root.Line, "", "a resource is a map with a type and a name, is %s", root.Kind)
	}
	kind := root.Get("type")
	if kind == nil {
		return resource{}, untyped(root)
	}
	name := root.Get("name")
	if kind.Text != apitypes.TypePublicKey && slices.Contains(types, kind.Text) {
		if name == nil {
			return resource{}, yamldoc.At(root.Line, "name", "is missing").WithHint("a %s has a line name: NAME", kind.Text)
		}
		if err := federation.ValidateName("name", name.Text); err != nil {
			return resource{}, yamldoc.At(name.Line, "", "%s", federation.AsError(err).Detail).WithHint("write for example name: west")
		}
	}
	switch kind.Text {
	case apitypes.TypeZone:
		return readZone(root)
	case apitypes.TypeMesh:
		return readMesh(root)
	case apitypes.TypePublicKey:
		return readPublicKey(root)
	case apitypes.TypeGlobalSecret, apitypes.TypeSecret:
		return readSecret(root, kind.Text)
	}
	e := yamldoc.At(kind.Line, "type", "%.40q is not what can be applied: use Zone, Mesh, GlobalSecret, Secret or PublicKey", kind.Text)
	if near := spelling.Nearest(kind.Text, types); near != "" {
		e = e.WithHint("did you mean type: %s?", near)
	}
	return resource{}, e
}

// untyped is the error of a document without a type, which may be in the form of Kubernetes.
func untyped(root *yamldoc.Node) error {
	if root.Get("kind") != nil && (root.Get("metadata") != nil || root.Get("apiVersion") != nil) {
		return yamldoc.At(root.Line, "", "this is the form of Kubernetes, with kind and metadata").
			WithHint("write type: and name: at the top, and what stands under spec beside them: global apply --help shows it")
	}
	e := yamldoc.At(root.Line, "type", "is missing: use Zone, Mesh, GlobalSecret, Secret or PublicKey")
	for _, m := range root.Members {
		if spelling.Nearest(strings.ToLower(m.Name), []string{"type"}) != "" || strings.EqualFold(m.Name, "kind") {
			return yamldoc.At(m.Line, m.Name, "is not known here, and type is missing").WithHint("did you mean type?")
		}
	}
	return e
}

// zoneDoc is a Zone as it stands in a file. Times are those of an answer, and ignored.
type zoneDoc struct {
	Type             string        `json:"type"`
	Name             string        `json:"name"`
	Enabled          *bool         `json:"enabled"`
	Auth             *string       `json:"auth"`
	Relay            *relayDoc     `json:"relay"`
	CreationTime     *yamldoc.Node `json:"creationTime"`
	ModificationTime *yamldoc.Node `json:"modificationTime"`
}

type relayDoc struct {
	Meshes      []string `json:"meshes"`
	MaxValidity string   `json:"maxValidity"`
}

func readZone(root *yamldoc.Node) (resource, error) {
	var d zoneDoc
	if err := yamldoc.Bind(root, &d, true); err != nil {
		return resource{}, err
	}
	z := apitypes.Zone{Type: d.Type, Name: d.Name, Enabled: d.Enabled, Auth: d.Auth}
	if d.Relay != nil {
		z.Relay = &apitypes.Relay{Meshes: d.Relay.Meshes, MaxValidity: d.Relay.MaxValidity}
	}
	return zoneResource(z), nil
}

func readMesh(root *yamldoc.Node) (resource, error) {
	var d struct {
		Type             string        `json:"type"`
		Name             string        `json:"name"`
		CreationTime     *yamldoc.Node `json:"creationTime"`
		ModificationTime *yamldoc.Node `json:"modificationTime"`
	}
	if err := yamldoc.Bind(root, &d, true); err != nil {
		return resource{}, err
	}
	return meshResource(apitypes.Mesh{Type: d.Type, Name: d.Name}), nil
}

// readSecret reads a signing key or a list of revoked ids. Nothing of what may be a private
// key belongs in an error.
func readSecret(root *yamldoc.Node, kind string) (resource, error) {
	var d struct {
		Type             string        `json:"type"`
		Mesh             string        `json:"mesh"`
		Name             string        `json:"name"`
		Data             string        `json:"data"`
		CreationTime     *yamldoc.Node `json:"creationTime"`
		ModificationTime *yamldoc.Node `json:"modificationTime"`
	}
	bad := func(line int) error {
		return yamldoc.At(line, "data", "is no base64, or a field is not one of type, mesh, name and data").
			WithHint("write data: and the base64 of the key or of the ids in one line")
	}
	if err := yamldoc.Bind(root, &d, true); err != nil {
		return resource{}, bad(root.Line)
	}
	data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(d.Data), ""))
	if err != nil {
		return resource{}, bad(root.Get("data").Line)
	}
	s := apitypes.Secret{Type: kind, Mesh: d.Mesh, Name: d.Name, Data: data}
	switch {
	case kind == apitypes.TypeSecret && s.Mesh == "":
		s.Mesh = "default"
	case kind == apitypes.TypeGlobalSecret && s.Mesh != "":
		return resource{}, yamldoc.At(root.Get("mesh").Line, "mesh", "a GlobalSecret belongs to no mesh").WithHint("write type: Secret")
	}
	return secretResource(s), nil
}
