package agent

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/redact"
)

// maxBootstrap bounds the answer to POST /bootstrap.
const maxBootstrap = 4 << 20

// bootstrapRequest is the body of POST /bootstrap, in Kuma's words.
type bootstrapRequest struct {
	Mesh               string   `json:"mesh"`
	Name               string   `json:"name"`
	ProxyType          string   `json:"proxyType"`
	DataplaneToken     string   `json:"dataplaneToken,omitempty"`
	DataplaneTokenPath string   `json:"dataplaneTokenPath,omitempty"`
	DataplaneResource  string   `json:"dataplaneResource,omitempty"`
	Host               string   `json:"host,omitempty"`
	CACert             string   `json:"caCert,omitempty"`
	OperatingSystem    string   `json:"operatingSystem,omitempty"`
	Features           []string `json:"features"`
	Workdir            string   `json:"workdir,omitempty"`
	AdminPort          uint32   `json:"adminPort,omitempty"`
	Version            versions `json:"version"`

	Agent *agentOfRequest `json:"meridianAgent,omitempty"`
}

// featureDelta is said for an Envoy that asks for changes only.
const featureDelta = "feature-delta-grpc"

// agentOfRequest says where an agent keeps what its Envoy reads while it runs.
type agentOfRequest struct {
	TokenFile     string   `json:"tokenFile"`
	CAFile        string   `json:"caFile,omitempty"`
	AdminSocket   string   `json:"adminSocket,omitempty"`
	ControlPlanes []string `json:"controlPlanes"` // host:port
}

type versions struct {
	KumaDP versionOf `json:"kumaDp"`
	Envoy  versionOf `json:"envoy"`
}

type versionOf struct {
	Version string `json:"version"`
}

// request is what the proxy asks with.
func (a *Agent) request(address, token string) bootstrapRequest {
	host, _, _ := net.SplitHostPort(strings.TrimPrefix(address, "https://"))
	q := bootstrapRequest{
		Mesh: a.cfg.Mesh, Name: a.cfg.Name, ProxyType: a.cfg.Kind.ProxyType(),
		DataplaneToken: token, DataplaneTokenPath: a.cfg.TokenPath, Host: host,
		OperatingSystem: runtime.GOOS, Features: []string{},
		Version: versions{KumaDP: versionOf{a.cfg.Version}},
	}
	if a.cfg.Resource != nil {
		q.DataplaneResource = string(a.cfg.Resource.JSON())
	}
	if a.tls != nil {
		q.CACert = pemOf(a.tls.Current().CAs)
	}
	return q
}

// bootstrap asks until there is an Envoy bootstrap, in YAML. complete adds to what is asked;
// nil: nothing.
func (a *Agent) bootstrap(ctx context.Context, complete func(*bootstrapRequest)) (config []byte, err error) {
	err = a.insist(ctx, "asking for the bootstrap", func(ctx context.Context, address, token string) (err error) {
		q := a.request(address, token)
		if complete != nil {
			complete(&q)
		}
		config, err = a.askBootstrap(ctx, address, q)
		return err
	})
	return config, err
}

func (a *Agent) askBootstrap(ctx context.Context, address string, q bootstrapRequest) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, a.callTimeout)
	defer cancel()
	body, err := json.Marshal(q)
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "encoding the request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/bootstrap", bytes.NewReader(body))
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "making the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, application/problem+json") // errors with their reasons
	req.Header.Set("User-Agent", "meridian-agent/"+a.cfg.Version)
	resp, err := a.httpClient().Do(req)
	if err != nil {
		return nil, unreachable(address, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBootstrap+1))
	switch {
	case err != nil:
		return nil, unreachable(address, err)
	case resp.StatusCode != http.StatusOK:
		return nil, refused(resp, data)
	case len(data) > maxBootstrap:
		return nil, notAZone(address, "answered with more than 4 MiB")
	}
	var answer struct {
		Bootstrap string `json:"bootstrap"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, notAZone(address, "did not answer with a bootstrap")
	}
	config, err := base64.StdEncoding.DecodeString(answer.Bootstrap)
	if err != nil || len(config) == 0 {
		return nil, notAZone(address, "did not answer with a bootstrap")
	}
	return config, nil
}

// httpClient is for one request: the CA may be another for the next.
func (a *Agent) httpClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        a.clientTLS(),
			TLSHandshakeTimeout:    a.callTimeout,
			MaxResponseHeaderBytes: 32 << 10,
			DisableKeepAlives:      true,
		},
		// The token is for the zone, not for where that points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// unreachable says why there is no answer. It may pass.
func unreachable(address string, err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("no answer in time")
	}
	e := federation.Errorf(federation.Unavailable, "the zone at %s cannot be reached: %w", address, err)
	return e.WithHint("%s", reachHint(err))
}

func notAZone(address, did string) error {
	return federation.Errorf(federation.Internal, "%s %s", address, did).
		WithHint("is this the proxies' port of a zone? name it with --cp-address")
}

// refused makes an error of the zone's answer. 404 means that the zone does not
// know the proxy yet; that, too many and 5xx may pass, anything else is the zone's
// word.
func refused(resp *http.Response, data []byte) error {
	code := apierr.CodeOf(resp.StatusCode)
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusTooEarly:
		code = federation.Unavailable
	}
	var said struct{ Title, Detail, Hint, Reason string }
	_ = json.Unmarshal(data, &said) // what it does not say stays empty
	e := &federation.Error{Code: code, Detail: said.Detail, Hint: said.Hint, Reason: said.Reason}
	switch {
	case e.Detail != "":
	case said.Title != "":
		e.Detail = said.Title
	case code == federation.NotFound:
		e.Detail = "the zone does not know this proxy yet"
		e.Hint = "give its resource with --dataplane-file, or wait until the zone has it"
	default:
		e.Detail = "the zone answered " + strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode)
		if text := oneLine(data); text != "" {
			e.Detail += ": " + text
		}
	}
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 && n <= 60 {
		e.RetryAfter = time.Duration(n) * time.Second
	}
	return e
}

// oneLine makes a short text of what a server sent.
func oneLine(data []byte) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(data[:min(400, len(data))]), "")), " ")
	return redact.Text(text[:min(200, len(text))])
}
