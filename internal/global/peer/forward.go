package peer

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/access"
	"github.com/meridiankds/meridian/internal/net/preauth"
)

const (
	// forwardTimeout is how long a forwarded request may take. A key that is imported
	// waits for zones, so it is longer than that.
	forwardTimeout = 30 * time.Second
	// largeTimeout is for one with a large body: a list of ids, or a backup.
	largeTimeout = 10 * time.Minute
	// stallTimeout is how long a caller may take to read a piece of a backup.
	stallTimeout = 30 * time.Second
)

// typeBackup is the media type of a backup, the one answer of any size. The API has it
// as adminapi.BackupType.
const typeBackup = "application/vnd.meridian.snapshot"

// passedOn are the headers of a request that mean something to the API.
var passedOn = []string{"Content-Type", "If-Match", "If-None-Match", "Accept", "Origin"}

// ours are the headers of an answer that belong to this hop.
var ours = []string{"Connection", "Date", headerApplied}

// Forward sends a request to the leader as that caller's, and passes
// the answer on unchanged once await has seen the leader's index. It has written
// nothing where it returns an error. A body of more than 1 MiB is passed on as it comes:
// the leader bounds what it takes, by the kind of the request.
func (c *Client) Forward(w http.ResponseWriter, r *http.Request, to Target, caller access.Caller, requestID string,
	await func(ctx context.Context, index uint64) error,
) error {
	body, timeout, err := bodyOf(w, r)
	if err != nil {
		return err
	}
	header := http.Header{"X-Request-Id": {requestID}}
	for _, name := range passedOn {
		if values := r.Header.Values(name); len(values) > 0 {
			header[name] = values
		}
	}
	caller.SetHeader(header)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	clock := time.AfterFunc(timeout, cancel)
	defer clock.Stop()
	if r.TLS == nil {
		header.Set(headerPlain, "true")
	}
	resp, err := c.send(ctx, outgoing{r.Method, to, pathAPI + r.URL.RequestURI(), r.Host}, header, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.Header.Get("Content-Type") == typeBackup && clock.Stop() {
		passHeader(w, resp)
		stream(w, resp.Body)
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return unknown(to.Addr, err)
	}
	if resp.StatusCode == http.StatusServiceUnavailable {
		if e := federation.AsError(refusal(to.Addr, resp, data)); e.Reason == "not_leader" {
			return e // nothing was changed, and who leads by now this node may know
		}
	}
	if index, err := strconv.ParseUint(resp.Header.Get(headerApplied), 10, 64); err == nil {
		waiting, done := context.WithTimeout(ctx, 2*time.Second)
		_ = await(waiting, index) // a member that lags does not make the answer less true
		done()
	}
	passHeader(w, resp)
	_, _ = w.Write(data) // a caller who went away cannot be told
	return nil
}

// Issue has a member answer a POST of body to path, of the global's HTTP API, as that
// caller's. It returns the answer's text and header, or the error that the member answered.
func (c *Client) Issue(ctx context.Context, to Target, path string, body []byte, caller access.Caller, requestID string) (string, http.Header, error) {
	header := http.Header{"X-Request-Id": {requestID}, "Content-Type": {"application/json"}}
	caller.SetHeader(header)
	resp, err := c.send(ctx, outgoing{http.MethodPost, to, pathAPI + path, to.Addr}, header, inMemory(body))
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return "", nil, unknown(to.Addr, err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", nil, refusal(to.Addr, resp, data)
	}
	return string(data), resp.Header, nil
}

// passHeader begins the answer as the leader began it.
func passHeader(w http.ResponseWriter, resp *http.Response) {
	for _, name := range ours {
		resp.Header.Del(name)
	}
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
}

// stream passes a backup on for as long as it makes progress. What is missing at its end
// is noticed by who reads it: every backup ends with a record that says so.
func stream(w http.ResponseWriter, from io.Reader) {
	control := http.NewResponseController(w)
	for {
		_ = control.SetWriteDeadline(time.Now().Add(stallTimeout))
		if _, err := io.CopyN(w, from, 256<<10); err != nil {
			return
		}
	}
}

// bodyOf reads a request's body, or the beginning of a large one, and says how long the
// request may take.
func bodyOf(w http.ResponseWriter, r *http.Request) (payload, time.Duration, error) {
	data, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return payload{}, 0, federation.Errorf(federation.Invalid, "the body could not be read to its end: %w", err)
	}
	if len(data) <= maxBody {
		return inMemory(data), forwardTimeout, nil
	}
	preauth.RequestFrom(r.Context()).Stream() // passed on as it comes
	until, control := time.Now().Add(largeTimeout), http.NewResponseController(w)
	// Where a connection has no deadlines, as in tests, there is none to move.
	_, _ = control.SetReadDeadline(until), control.SetWriteDeadline(until)
	return payload{io.MultiReader(bytes.NewReader(data), r.Body), r.ContentLength}, largeTimeout, nil
}
