package apiclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// failure says why no answer came. unknown is set where the request, which
// changes something, may have arrived.
func (c *client) failure(err error, unknown bool, req *http.Request) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // without method and URL: the message names the node
	}
	if unknown {
		return federation.Errorf(federation.UnknownOutcome,
			"the %s at %s got the request and then nothing came back: %w", c.node(), c.target, reason(err)).
			WithHint("%s", c.unknownHint(req.Header.Get(apitypes.HeaderRequestID)))
	}
	through := ""
	if c.proxy != nil {
		if u, proxyErr := c.proxy(req); proxyErr == nil && u != nil {
			through = " through the proxy " + u.Host
		}
	}
	e := federation.Errorf(federation.Unavailable, "cannot reach the %s at %s%s: %w", c.node(), c.target, through, reason(err))
	if through != "" {
		return e.WithHint("HTTP_PROXY and HTTPS_PROXY name the proxy; NO_PROXY=%s goes there directly", req.URL.Hostname())
	}
	return e.WithHint("%s", c.unreachableHint(err))
}

// otherPorts are the default ports that are not the HTTP API, and what speaks there.
var otherPorts = map[string]string{
	"5678": "where proxies connect to a zone", "5680": "for health and metrics", "5683": "where globals connect to each other", "5685": "where zones connect to a global",
}

// wrongPort says that the target is likely another port than the HTTP API; "" where not.
func (c *client) wrongPort() string {
	u, err := url.Parse(c.target.Address)
	if err != nil || c.target.Service.Default != DefaultAPI {
		return ""
	}
	if what, ok := otherPorts[u.Port()]; ok {
		return "port " + u.Port() + " is " + what + "; " + c.apiPorts()
	}
	return ""
}

// apiPorts says where the HTTP API is, unless the node was told otherwise.
func (c *client) apiPorts() string {
	host := "HOST"
	if u, err := url.Parse(c.target.Address); err == nil && u.Hostname() != "" {
		host = u.Hostname()
	}
	return "the HTTP API is at http://" + net.JoinHostPort(host, "5681") + ", a global's over TLS at port 5682"
}

// reason shortens what the net package says to what an operator needs.
func reason(err error) error {
	var op *net.OpError
	var sys *os.SyscallError
	var dns *net.DNSError
	var unknownCA x509.UnknownAuthorityError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Errorf("the name %s is not known to this machine (DNS)", dns.Name)
	case errors.As(err, &dns):
		return fmt.Errorf("the name %s could not be resolved: the name server gives no answer", dns.Name)
	case errors.As(err, &unknownCA):
		return errors.New("its certificate is signed by a CA that is not known here")
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return errors.New("it does not speak TLS")
	case closed(err):
		return errors.New("it closed the connection without an answer")
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("no answer in time")
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.As(err, &sys):
		return sys.Err
	case errors.As(err, &op):
		return op.Err
	}
	return err
}

// closed reports whether the other end ended a connection without a word.
func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

// unreachableHint says what to do about a connection that did not come about.
func (c *client) unreachableHint(err error) string {
	var unknownCA x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var dns *net.DNSError
	flag := c.target.Service.AddressFlag
	port := c.wrongPort()
	switch {
	case errors.As(err, &dns):
		return "check the name in " + flag + ", or write the IP address there"
	case errors.Is(err, context.Canceled):
		return "run the command again"
	case port != "" && !errors.Is(err, syscall.ECONNREFUSED):
		return port
	case strings.Contains(err.Error(), "certificate required"):
		return "that port takes nodes with a certificate only, as where globals connect to each other; " + c.apiPorts()
	case closed(err) && strings.HasPrefix(c.target.Address, "http:"):
		return "does the port speak TLS? then write https:// in " + flag + "; " + c.apiPorts()
	case errors.As(err, &unknownCA) && c.target.CAFile == "":
		return "give the CA of the " + c.node() + " with --ca-file, or take it from the node's folder with --data-dir"
	case errors.As(err, &unknownCA):
		return "is " + c.target.CAFile + " the CA of this " + c.node() + "?"
	case errors.As(err, &host):
		return "use a name that the certificate is made out for in " + flag
	case errors.As(err, &invalid):
		return "the certificate of the " + c.node() + " must be replaced, or a clock is wrong"
	case errors.As(err, &record) || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "write http:// in " + flag + ", or name a port that speaks TLS"
	case errors.Is(err, syscall.EACCES) && strings.HasPrefix(c.target.Address, "unix:"):
		return "only the user that the node runs as may use this socket"
	}
	if dir := c.target.Folder; dir != "" {
		return "does the " + c.node() + " of " + dir + " run? It may have been killed: start it there, or name another address with " + flag
	}
	return "is it running? another address is named with " + flag + " or " + c.target.Service.AddressEnv
}

// refusal turns an answer of status 300 and above into the error that it is.
func (c *client) refusal(q call, a answer) error {
	if err := c.otherService(a); err != nil {
		return err
	}
	if strings.HasPrefix(a.header.Get("Content-Type"), "application/grpc") {
		return federation.Errorf(federation.Invalid, "what answers at %s speaks gRPC: zones connect to a global there (KDS)", c.target).
			WithHint("%s", c.apiPorts())
	}
	if a.status < 400 {
		return c.notOurs(federation.Errorf(federation.Internal, "%s answers with a redirect (status %d)", c.target, a.status))
	}
	code := apierr.CodeOf(a.status)
	var body apitypes.Error
	if err := json.Unmarshal(a.data, &body); err != nil || body.Title == "" && body.Detail == "" && body.Details == "" {
		if strings.Contains(string(a.data), "HTTP request to an HTTPS server") {
			return federation.Errorf(federation.Invalid, "the %s at %s speaks TLS only", c.node(), c.target).
				WithHint("write https:// in %s", c.target.Service.AddressFlag)
		}
		if a.status == http.StatusBadGateway || a.status == http.StatusServiceUnavailable || a.status == http.StatusGatewayTimeout {
			return c.proxyFailed(q, a)
		}
		return c.notOurs(federation.Errorf(code, "the %s at %s answered %d %s", c.node(), c.target, a.status, http.StatusText(a.status)))
	}
	e := &federation.Error{
		Code:       code,
		Detail:     detailOf(body),
		Hint:       body.Hint,
		Reason:     body.Reason,
		RetryAfter: retryAfter(a.header.Get("Retry-After")),
	}
	for _, p := range body.InvalidParameters {
		e.Fields = append(e.Fields, federation.FieldError{Field: p.Field, Reason: p.Reason})
	}
	if e.Code == federation.UnknownOutcome && e.Hint == "" {
		e.Hint = c.unknownHint(q.id)
	}
	return c.withHint(e)
}

// proxyFailed is the error for a 502, 503 or 504 that no node of ours wrote: a proxy in
// between had no answer, and may have passed the request on before that.
func (c *client) proxyFailed(q call, a answer) error {
	if q.changes {
		return federation.Errorf(federation.UnknownOutcome, "a proxy before the %s at %s answered %d %s, and may have passed the request on",
			c.node(), c.target, a.status, http.StatusText(a.status)).WithHint("%s", c.unknownHint(q.id))
	}
	return federation.Errorf(federation.Unavailable, "a proxy before the %s at %s answered %d %s", c.node(), c.target, a.status, http.StatusText(a.status)).
		WithHint("does the proxy reach a running %s? another address is named with %s", c.node(), c.target.Service.AddressFlag)
}

// unknownHint says how to learn what became of a request.
func (c *client) unknownHint(request string) string {
	if request == "" || c.target.Service.Node != "global" {
		return "it may have taken effect: look before you repeat it"
	}
	return "it may have taken effect; ask what became of it: global get request " + request
}

// detailOf is what an error body says in one line. A detail that does not name
// the inputs at fault, as Kuma's does not, is followed by them.
func detailOf(body apitypes.Error) string {
	detail := first(body.Detail, body.Details, body.Title)
	for _, p := range body.InvalidParameters {
		if !strings.Contains(detail, p.Reason) {
			detail += "; " + p.Field + ": " + p.Reason
		}
	}
	return detail
}

// withHint fills in what to do where the node did not say.
func (c *client) withHint(e *federation.Error) error {
	switch {
	case e.Hint != "" || c.target.Service.NoToken: // whose errors are about the caller's question
	case e.Code == federation.Unauthenticated && c.target.token == "":
		e.Hint = "give a user token with --token-file; `global admin-token` makes one on the node itself"
	case e.Code == federation.Unauthenticated:
		e.Hint = "give another user token with --token-file; `global admin-token` makes one on the node itself"
	case e.Code == federation.Forbidden:
		e.Hint = "use a user token of the group \"admin\""
	case e.Code == federation.Unavailable:
		e.Hint = "nothing was changed: run the command again"
	case e.Code == federation.NotFound:
		e.Hint = unknownName
	case e.Code == federation.Invalid || e.Code == federation.TooLarge:
		e.Hint = "nothing was changed: correct it and run the command again"
	case e.Code == federation.Internal:
		e.Hint = "the node's log says more"
	}
	return e
}

// unknownName is the hint for a name that the node does not know.
const unknownName = "to see what there is: `global get global-secrets`, `global get secrets --mesh MESH` and `global keys list`"

// retryAfter reads the header in seconds (RFC 9110, section 10.2.3); dates and
// nonsense are zero.
func retryAfter(s string) time.Duration {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 3600 {
		return 0
	}
	return time.Duration(n) * time.Second
}
