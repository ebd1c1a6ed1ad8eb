package apiclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// The bounds of a call.
const (
	dialTimeout = 5 * time.Second
	callTimeout = 30 * time.Second
	// bulkTimeout is for a call that sends a long list.
	bulkTimeout = 10 * time.Minute
	// maxAnswer is room for a list of a million revoked ids as one secret.
	maxAnswer      = 64 << 20
	maxErrorAnswer = 64 << 10
)

// client sends requests to one target.
type client struct {
	target Target
	base   string
	agent  string
	http   *http.Client
	// stale is told for how long the node has not heard the leader, where an answer
	// says so; nil: nobody is.
	stale func(time.Duration)
	// members is told what operators call each member, by its id; nil: nobody is.
	members func(map[string]string)
	// waits is told why a change is sent again; nil: nobody is.
	waits    func(error)
	patience time.Duration
	proxy    func(*http.Request) (*url.URL, error) // nil: none in between
}

// newClient returns a client of the target; agent is what it calls itself,
// program and version. Nothing is dialled yet.
func newClient(t Target, agent string) (*client, error) {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:    dialTimeout,
		ResponseHeaderTimeout:  callTimeout,
		MaxResponseHeaderBytes: 32 << 10,
		ForceAttemptHTTP2:      true,
	}
	c := &client{target: t, base: strings.TrimSuffix(t.Address, "/"), agent: agent, patience: patience}
	if path, ok := strings.CutPrefix(t.Address, "unix://"); ok {
		c.base = "http://localhost" // a Host that the node takes for its own
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", path)
		}
	}
	if strings.HasPrefix(t.Address, "https:") {
		transport.TLSClientConfig = tlsutil.Client(nil)
		if t.CAFile != "" {
			if err := t.kept.check(t.CAFile); err != nil {
				return nil, err
			}
			pool, err := tlsutil.LoadPool(t.CAFile)
			if err != nil {
				return nil, badCA(t, err)
			}
			transport.TLSClientConfig = tlsutil.Client(pool)
		}
		transport.TLSClientConfig.VerifyConnection = tlsutil.Expect(t.Service.role(), "", t.zones...).Verify
		if t.CertFile != "" {
			if err := t.kept.check(t.CertFile, t.KeyFile); err != nil {
				return nil, err
			}
			own, err := tlsutil.OpenSource(tlsutil.Files{Cert: t.CertFile, Key: t.KeyFile}, tlsutil.Options{})
			if err != nil {
				return nil, federation.AsError(err).WithHint("name the PEM files of your certificate and its key with --cert-file and --key-file")
			}
			transport.TLSClientConfig.Certificates = []tls.Certificate{*own.Current().Certificate}
		}
	}
	c.proxy = transport.Proxy
	c.http = &http.Client{
		Transport: transport,
		// The token is for this node, not for where it points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// badCA names the flag, and what to give with it. LoadPool's own hint is for who
// runs a node.
func badCA(t Target, err error) error {
	e := federation.AsError(err)
	return federation.Errorf(e.Code, "--ca-file: %s", e.Detail).WithCause(err).
		WithHint("name the PEM file of the CA that signed the certificate of the %s, or take it from the node's folder with --data-dir", t.Service.Node)
}

// call is one request.
type call struct {
	method string
	path   []string // segments, escaped here
	query  url.Values
	body   any // sent as JSON unless nil
	// upload is sent as it comes in place of body, as text/plain by do; such a call may
	// take long.
	upload *Upload
	into   any // where the JSON answer goes; a *string takes the text; nil: dropped
	// header takes the answer's header, nil: dropped.
	header *http.Header
	// changes says that the request changes something, so that an outcome can be
	// unknown.
	changes bool
	id      string // of the request, the same for every attempt
}

// answer is what came back: a status and as much of the body as it may have.
type answer struct {
	status int
	header http.Header
	data   []byte
}

// do sends the request and reads the answer into q.into. An answer of status 300
// or above is returned as the error that it stands for. What the cluster has no leader
// for just now is sent again.
func (c *client) do(ctx context.Context, q call) error {
	return c.again(ctx, q, func(q call) error { return c.attempt(ctx, q) })
}

func (c *client) attempt(ctx context.Context, q call) error {
	a, err := c.send(ctx, q)
	switch {
	case err != nil:
		return err
	case a.status >= 300:
		return c.refusal(q, a)
	}
	if err := c.otherService(a); err != nil {
		return err
	}
	if q.header != nil {
		*q.header = a.header
	}
	return c.decode(a.data, q.into)
}

// send sends the request and returns the answer, whatever its status.
func (c *client) send(ctx context.Context, q call) (answer, error) {
	timeout, through := callTimeout, c.http
	if q.upload != nil {
		timeout, through = bulkTimeout, c.patient()
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	req, err := c.request(ctx, q)
	if err != nil {
		return answer{}, err
	}
	resp, err := through.Do(req)
	if err != nil {
		return answer{}, c.failure(err, q.changes && sent.Load(), req)
	}
	defer resp.Body.Close()
	c.heed(resp.Header)
	limit := maxAnswer
	if resp.StatusCode >= 300 {
		limit = maxErrorAnswer
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	switch {
	case err != nil:
		return answer{}, c.failure(err, q.changes, req)
	case len(data) > limit:
		return answer{}, c.notOurs(federation.Errorf(federation.TooLarge,
			"the %s at %s answered with more than %d KiB", c.node(), c.target, limit>>10))
	}
	return answer{resp.StatusCode, resp.Header, data}, nil
}

// headerStale marks the answer of a member that does not hear the leader, with for how
// many seconds: adminapi.StaleHeader.
const headerStale = "Meridian-Stale"

func (c *client) heed(h http.Header) {
	if seconds, err := strconv.Atoi(h.Get(headerStale)); err == nil && seconds >= 0 && c.stale != nil {
		c.stale(time.Duration(seconds) * time.Second)
	}
	if names := apitypes.ParseMembers(h.Get(apitypes.HeaderMembers)); names != nil && c.members != nil {
		c.members(names)
	}
}

// patient is the client for calls that take long to answer.
func (c *client) patient() *http.Client {
	patient := *c.http
	if t, ok := c.http.Transport.(*http.Transport); ok {
		t = t.Clone()
		t.ResponseHeaderTimeout = bulkTimeout
		t.DisableKeepAlives = true // one call, then it is dropped
		patient.Transport = t
	}
	return &patient
}

func (c *client) request(ctx context.Context, q call) (*http.Request, error) {
	segments := make([]string, len(q.path))
	for i, s := range q.path {
		if s == "" || s == "." || s == ".." {
			return nil, federation.Errorf(federation.Invalid, "%q cannot be a name", s)
		}
		segments[i] = url.PathEscape(s)
	}
	address := c.base + "/" + strings.Join(segments, "/")
	if len(q.query) > 0 {
		address += "?" + q.query.Encode()
	}
	var body io.Reader
	if q.body != nil {
		data, err := json.Marshal(q.body)
		if err != nil {
			return nil, federation.Errorf(federation.Internal, "encoding the request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	if q.upload != nil {
		body = q.upload.reader()
	}
	req, err := http.NewRequestWithContext(ctx, q.method, address, body)
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "making the request: %w", err)
	}
	if q.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if q.upload != nil {
		req.Header.Set("Content-Type", "text/plain; charset=utf-8")
		req.ContentLength = q.upload.Size
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set("X-Request-Id", q.id)
	req.Header.Set(apitypes.HeaderRequestID, q.id)
	if c.target.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.target.token)
	}
	return req, nil
}

// decode reads an answer of status 2xx.
func (c *client) decode(data []byte, into any) error {
	switch into := into.(type) {
	case nil:
		return nil
	case *string:
		*into = string(data)
		return nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return c.notOurs(federation.Errorf(federation.Internal, "the %s at %s answered a %s where %s belongs: %w",
				c.node(), c.target, wrong.Value, wrong.Field, err))
		}
		return c.notOurs(federation.Errorf(federation.Internal, "what answers at %s does not speak the %s's API", c.target, c.node()))
	}
	return nil
}

func (c *client) node() string { return c.target.Service.Node }

// notOurs adds the hint for an answer that no node of ours gives.
func (c *client) notOurs(err *federation.Error) error {
	if port := c.wrongPort(); port != "" {
		return err.WithHint("%s", port)
	}
	return err.WithHint("is this the address of a %s? name it with %s", c.node(), c.target.Service.AddressFlag)
}
