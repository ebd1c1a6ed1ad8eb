package peer

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/global/audit"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// Client sends requests to other members. It is safe for concurrent use.
type Client struct {
	cluster   func() string
	transport *http.Transport
}

// NewClient returns a client. cluster returns the id of this node's cluster, "" as
// long as it knows none.
func NewClient(d *Dialer, cluster func() string) *Client {
	// A proved connection is HTTP/2 from its first byte.
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &Client{cluster: cluster, transport: &http.Transport{
		Protocols: protocols,
		DialTLSContext: func(ctx context.Context, _, host string) (net.Conn, error) {
			node, addr, err := splitHost(host)
			if err != nil {
				return nil, err
			}
			return d.Connect(ctx, node, addr, tlsutil.ALPNPeerHTTP2)
		},
		IdleConnTimeout: idleTimeout, ResponseHeaderTimeout: writeTimeout, MaxResponseHeaderBytes: maxHeaderBytes,
		DisableCompression: true,
		// A member that vanished without a word is found out in a few seconds.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 3 * time.Second, PingTimeout: 3 * time.Second},
	}}
}

// Close ends the connections that are idle.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Target is whom a request is for.
type Target struct {
	// Node is the id of the node that is meant: the request is sent to no other one.
	// Empty: whoever answers, which is for [Client.Hello].
	Node string
	Addr string
}

// host is what the transport keeps connections by. A connection that was proved by one
// node serves no request that is meant for another one at the same address.
func (t Target) host() string { return hex.EncodeToString([]byte(t.Node + "@" + t.Addr)) }

// splitHost undoes [Target.host], to which the transport adds a port.
func splitHost(host string) (node, addr string, err error) {
	host, _, _ = strings.Cut(host, ":")
	data, err := hex.DecodeString(host)
	node, addr, ok := strings.Cut(string(data), "@")
	if err != nil || !ok {
		return "", "", federation.Errorf(federation.Internal, "%.80q names no peer", host)
	}
	return node, addr, nil
}

// Hello asks the node at an address who it is.
func (c *Client) Hello(ctx context.Context, addr string, self Hello) (Hello, error) {
	return call[Hello](ctx, c, Target{Addr: addr}, pathHello, self)
}

// Promise asks a node to let the founder found.
func (c *Client) Promise(ctx context.Context, to Target, p Promise) error {
	_, err := call[struct{}](ctx, c, to, pathPromise, p)
	return err
}

// Join asks the leader at an address to take this node in.
func (c *Client) Join(ctx context.Context, to Target, r JoinRequest) error {
	_, err := call[struct{}](ctx, c, to, pathJoin, r)
	return err
}

// Report tells the leader what this member holds.
func (c *Client) Report(ctx context.Context, to Target, r Report) (ReportAnswer, error) {
	return call[ReportAnswer](ctx, c, to, pathReport, r)
}

// ReadIndex asks the leader how far the state is, and who the members are.
func (c *Client) ReadIndex(ctx context.Context, to Target) (ReadIndex, error) {
	return call[ReadIndex](ctx, c, to, pathReadIndex, struct{}{})
}

// Clock asks a member what time it is.
func (c *Client) Clock(ctx context.Context, to Target) (time.Time, error) {
	answer, err := call[Clock](ctx, c, to, pathClock, struct{}{})
	return answer.Now, err
}

// Standing tells a member how far this one is, and asks the same.
func (c *Client) Standing(ctx context.Context, to Target, own Standing) (Standings, error) {
	return call[Standings](ctx, c, to, pathStanding, own)
}

// Picture asks the leader which zones are where.
func (c *Client) Picture(ctx context.Context, to Target) (Picture, error) {
	return call[Picture](ctx, c, to, pathPicture, struct{}{})
}

// SeeZone has the leader record that a zone joined.
func (c *Client) SeeZone(ctx context.Context, to Target, zone string) (federation.Zone, error) {
	return call[federation.Zone](ctx, c, to, pathSeeZone, SeeZone{zone})
}

// Audit asks a member for its part of the audit log.
func (c *Client) Audit(ctx context.Context, to Target, q audit.Query) (audit.Page, error) {
	return call[audit.Page](ctx, c, to, pathAudit, q)
}

func call[Out any](ctx context.Context, c *Client, to Target, path string, in any) (out Out, err error) {
	data, err := json.Marshal(in)
	if err != nil {
		return out, federation.Errorf(federation.Internal, "encoding a request to a peer: %w", err)
	}
	header, addr := http.Header{"Content-Type": {"application/json"}}, to.Addr
	resp, err := c.send(ctx, outgoing{http.MethodPost, to, path, addr}, header, inMemory(data))
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	data, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return out, unknown(addr, err)
	}
	if resp.StatusCode != http.StatusOK {
		return out, refusal(addr, resp, data)
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return out, federation.Errorf(federation.Internal, "the peer at %s answered what this node cannot read: %w", addr, err)
	}
	return out, nil
}

// outgoing says which request goes where.
type outgoing struct {
	method string
	to     Target
	path   string
	host   string // the Host header
}

// payload is a body, and its size; -1 where that is not known.
type payload struct {
	body io.Reader
	size int64
}

func inMemory(data []byte) payload { return payload{bytes.NewReader(data), int64(len(data))} }

// send makes one attempt. It tells a request that was not sent from one of which
// nobody knows.
func (c *Client) send(ctx context.Context, o outgoing, header http.Header, body payload) (*http.Response, error) {
	addr := o.to.Addr
	// Without GetBody: the transport must not send a request a second time.
	req, err := http.NewRequestWithContext(ctx, o.method, "https://"+o.to.host()+o.path, io.NopCloser(body.body))
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "making a request to the peer at %.200q: %w", addr, err)
	}
	req.ContentLength = body.size
	if body.size == 0 {
		req.Body = http.NoBody
	}
	req.Header, req.Host = header, o.host
	if cluster := c.cluster(); cluster != "" {
		req.Header.Set(headerCluster, cluster)
	}
	var sent atomic.Bool
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	}))
	resp, err := c.transport.RoundTrip(req)
	switch {
	case err == nil:
		return resp, nil
	case !sent.Load():
		var own *federation.Error
		if errors.As(err, &own) {
			return nil, own
		}
		return nil, unreachable(addr, err)
	}
	return nil, unknown(addr, err)
}

func unknown(addr string, err error) error {
	return federation.Errorf(federation.UnknownOutcome, "the peer at %s got the request and then nothing came back: %s", addr, plainCause(err)).
		WithCause(err).WithHint("it may have taken effect: look before you repeat it, or repeat it under the same X-Request-Id")
}

// refusal is the error that a peer answered with.
func refusal(addr string, resp *http.Response, data []byte) error {
	var body apitypes.Error
	if err := json.Unmarshal(data, &body); err != nil || body.Detail == "" {
		return federation.Errorf(apierr.CodeOf(resp.StatusCode), "the peer at %s answered %s", addr, resp.Status).
			WithCause(fmt.Errorf("no error of ours in the body"))
	}
	e := &federation.Error{Code: apierr.CodeOf(resp.StatusCode), Detail: body.Detail, Reason: body.Reason, Hint: body.Hint}
	for _, p := range body.InvalidParameters {
		e.Fields = append(e.Fields, federation.FieldError{Field: p.Field, Reason: p.Reason})
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds >= 0 && seconds < 3600 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}
