package apierr

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

// kind gives each code its status and title. A federation.Code that is absent
// here is answered as Internal.
func kind(code federation.Code) (status int, title string) {
	switch code {
	case federation.Invalid:
		return http.StatusBadRequest, "Bad Request"
	case federation.Unauthenticated:
		return http.StatusUnauthorized, "Unauthenticated"
	case federation.Forbidden:
		return http.StatusForbidden, "Access Denied"
	case federation.NotFound:
		return http.StatusNotFound, "Could not retrieve a resource"
	case federation.Conflict:
		return http.StatusConflict, "Conflict"
	case federation.TooLarge:
		return http.StatusRequestEntityTooLarge, "Too Large"
	case federation.Unavailable:
		return http.StatusServiceUnavailable, "Unavailable"
	case federation.UnknownOutcome:
		return http.StatusGatewayTimeout, "Unknown Outcome"
	default:
		return http.StatusInternalServerError, "Internal Server Error"
	}
}

// Status returns the HTTP status of a code.
func Status(code federation.Code) int {
	status, _ := kind(code)
	return status
}

// CodeOf returns the code that an HTTP status stands for: the inverse of
// [Status], for clients. Statuses that Meridian does not send map to the nearest
// code.
func CodeOf(status int) federation.Code {
	switch status {
	case http.StatusUnauthorized:
		return federation.Unauthenticated
	case http.StatusForbidden:
		return federation.Forbidden
	case http.StatusNotFound:
		return federation.NotFound
	case http.StatusConflict, http.StatusPreconditionFailed:
		return federation.Conflict
	case http.StatusRequestEntityTooLarge, http.StatusRequestHeaderFieldsTooLarge:
		return federation.TooLarge
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return federation.Unavailable
	case http.StatusGatewayTimeout:
		return federation.UnknownOutcome
	}
	if status >= 400 && status < 500 {
		return federation.Invalid
	}
	return federation.Internal
}

// BodyOf returns what [WriteError] sends for err, which must not be nil.
func BodyOf(err error) apitypes.Error {
	e := federation.AsError(err)
	status, title := kind(e.Code)
	detail := e.Error()
	if e.Code == federation.NotFound && e.Detail == "" {
		detail = "Not found"
	}
	b := apitypes.Error{
		Type: "/std-errors", Status: status, Title: title,
		Detail: detail, Details: detail, Reason: e.Reason, Hint: e.Hint,
	}
	for _, f := range e.Fields {
		b.InvalidParameters = append(b.InvalidParameters, apitypes.InvalidParameter{Field: f.Field, Reason: f.Reason})
		b.Causes = append(b.Causes, apitypes.Cause{Field: f.Field, Message: f.Reason})
	}
	return b
}

// WriteError answers a request with err, which must not be nil. It sets the
// headers that belong to the status (WWW-Authenticate, Retry-After) and keeps
// the answer out of caches.
func WriteError(w http.ResponseWriter, err error) {
	body := BodyOf(err)
	SetHeaders(w.Header(), federation.AsError(err))
	WriteJSON(w, body.Status, body)
}

// SetHeaders sets the headers that belong to the status of an error.
func SetHeaders(h http.Header, e *federation.Error) {
	if challenge := Challenge(e); challenge != "" {
		h.Set("WWW-Authenticate", challenge)
	}
	if seconds := RetryAfter(e); seconds > 0 {
		h.Set("Retry-After", strconv.Itoa(seconds))
	}
}

// MissingToken is the reason of a refusal where no token came at all.
const MissingToken = "missing_token"

// Challenge returns the WWW-Authenticate header of an error (RFC 6750, section 3), ""
// for none: it says that the token is at fault only where there was one.
func Challenge(e *federation.Error) string {
	switch {
	case e.Code != federation.Unauthenticated:
		return ""
	case e.Reason == MissingToken:
		return "Bearer"
	}
	return `Bearer error="invalid_token"`
}

// defaultRetry is how long to wait after an Unavailable that does not say: most end
// with an election or the next contact, within seconds.
const defaultRetry = time.Second

// RetryAfter returns the seconds after which a client may try again; 0 where trying
// again is no use.
func RetryAfter(e *federation.Error) int {
	if e.Code != federation.Unavailable {
		return 0
	}
	wait := e.RetryAfter
	if wait <= 0 {
		wait = defaultRetry
	}
	return int(math.Ceil(wait.Seconds()))
}

// WriteJSON answers a request with v as JSON. v must be of a type that
// encoding/json cannot fail on.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // the status is out: a caller who went away cannot be told
}
