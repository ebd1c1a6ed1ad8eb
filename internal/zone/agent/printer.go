package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"sync"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/redact"
)

// Printer writes the configuration that a proxy is given: the bootstrap, and each
// response that differs from the last of its type, as one YAML document or one
// line of JSON. Tokens and keys are taken out. It is safe for concurrent use.
type Printer struct {
	w    io.Writer
	json bool

	mu    sync.Mutex
	shown map[string][sha256.Size]byte
	// first is closed when clusters and listeners were printed once.
	first chan struct{}
}

// NewPrinter returns a printer to w; asJSON writes JSON in place of YAML.
func NewPrinter(w io.Writer, asJSON bool) *Printer {
	return &Printer{w: w, json: asJSON, shown: map[string][sha256.Size]byte{}, first: make(chan struct{})}
}

// Complete is closed once the proxy was given its clusters and its listeners.
func (p *Printer) Complete() <-chan struct{} { return p.first }

// Bootstrap prints a bootstrap in YAML.
func (p *Printer) Bootstrap(config []byte) error {
	var v any
	if err := yaml.Unmarshal(config, &v); err != nil {
		return federation.Errorf(federation.Internal, "the zone's bootstrap is not YAML").
			WithHint("is this the proxies' port of a zone? name it with --cp-address")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.write(map[string]any{"bootstrap": v})
}

// Response prints a response, unless the same was printed last, and returns its
// resources as JSON values.
func (p *Printer) Response(resp *discovery.DiscoveryResponse) ([]any, error) {
	documents := make([]any, 0, len(resp.GetResources()))
	sum := sha256.New()
	for _, resource := range resp.GetResources() {
		sum.Write([]byte(resource.GetTypeUrl()))
		sum.Write(resource.GetValue())
		documents = append(documents, document(resource))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	old, known := p.shown[resp.GetTypeUrl()]
	now := [sha256.Size]byte(sum.Sum(nil))
	if known && old == now {
		return documents, nil
	}
	p.shown[resp.GetTypeUrl()] = now
	err := p.write(map[string]any{"type": resp.GetTypeUrl(), "version": resp.GetVersionInfo(), "resources": documents})
	if err != nil {
		return nil, err
	}
	_, haveClusters := p.shown[clusters]
	_, haveListeners := p.shown[listeners]
	if haveClusters && haveListeners {
		select {
		case <-p.first:
		default:
			close(p.first)
		}
	}
	return documents, nil
}

// document is a resource as JSON. Of one with a part that this program has no
// description of, only type and size are shown.
func document(resource *anypb.Any) any {
	var v any
	text, err := protojson.Marshal(resource)
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		return map[string]any{"@type": resource.GetTypeUrl(), "bytes": len(resource.GetValue()),
			"note": "not shown: it holds an extension that this program does not know"}
	}
	return v
}

// write writes a document, secrets taken out.
func (p *Printer) write(v any) error {
	// Through JSON, so that what is redacted is a copy.
	text, err := json.Marshal(v)
	if err != nil {
		return federation.Errorf(federation.Internal, "showing the configuration: %w", err)
	}
	var copied any
	if err := json.Unmarshal(text, &copied); err != nil {
		return federation.Errorf(federation.Internal, "showing the configuration: %w", err)
	}
	var out bytes.Buffer
	if p.json {
		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false)
		err = enc.Encode(redact.JSON(copied))
	} else {
		out.WriteString("---\n")
		var body []byte
		body, err = yaml.Marshal(redact.JSON(copied))
		out.Write(body)
	}
	if err == nil {
		_, err = p.w.Write(out.Bytes())
	}
	if err != nil {
		return federation.Errorf(federation.Internal, "writing the configuration: %w", err)
	}
	return nil
}
