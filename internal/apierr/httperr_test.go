package apierr

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
)

func TestWriteErrorShape(t *testing.T) {
	w := httptest.NewRecorder()
	err := federation.InvalidField("validFor", "%q is not a duration", "7 days").WithHint("use 168h").WithReason("syntax")
	WriteError(w, errors.Join(errors.New("context"), err))
	want := `{"type":"/std-errors","status":400,"title":"Bad Request","detail":"validFor: \"7 days\" is not a duration",` +
		`"invalid_parameters":[{"field":"validFor","reason":"\"7 days\" is not a duration"}],` +
		`"details":"validFor: \"7 days\" is not a duration","causes":[{"field":"validFor","message":"\"7 days\" is not a duration"}],` +
		`"reason":"syntax","hint":"use 168h"}` + "\n"
	if got := w.Body.String(); w.Code != 400 || got != want {
		t.Errorf("%d\n got %s\nwant %s", w.Code, got, want)
	}
	if ct := w.Header().Get("Content-Type"); ct != "application/json" {
		t.Errorf("content type %q", ct)
	}
}

func TestStatusOfEachCode(t *testing.T) {
	codes := map[federation.Code]int{
		federation.Invalid: 400, federation.Unauthenticated: 401, federation.Forbidden: 403, federation.NotFound: 404,
		federation.Conflict: 409, federation.TooLarge: 413, federation.Unavailable: 503, federation.UnknownOutcome: 504,
		federation.Internal: 500,
	}
	for code, status := range codes {
		w := httptest.NewRecorder()
		WriteError(w, federation.Errorf(code, "it is so"))
		var b apitypes.Error
		if err := json.Unmarshal(w.Body.Bytes(), &b); err != nil || w.Code != status || b.Status != status || b.Title == "" || b.Detail != "it is so" {
			t.Errorf("%s: %d %+v %v", code, w.Code, b, err)
		}
		if back := CodeOf(status); back != code || Status(code) != status {
			t.Errorf("%s comes back as %s", code, back)
		}
		if (w.Header().Get("WWW-Authenticate") != "") != (status == 401) {
			t.Errorf("%s: WWW-Authenticate %q", code, w.Header().Get("WWW-Authenticate"))
		}
	}
	for status, code := range map[int]federation.Code{418: federation.Invalid, 502: federation.Internal, 429: federation.Unavailable, 412: federation.Conflict} {
		if got := CodeOf(status); got != code {
			t.Errorf("status %d is %s, want %s", status, got, code)
		}
	}
}

func TestWriteErrorLeaksNothing(t *testing.T) {
	w := httptest.NewRecorder()
	WriteError(w, errors.New("dial tcp: token eyJhbGciOi"))
	if w.Code != 500 || strings.Contains(w.Body.String(), "eyJ") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w = httptest.NewRecorder()
	WriteError(w, &federation.Error{Code: federation.NotFound})
	if !strings.Contains(w.Body.String(), `"title":"Could not retrieve a resource","detail":"Not found"`) {
		t.Errorf("%s", w.Body)
	}
	w = httptest.NewRecorder()
	WriteError(w, &federation.Error{Code: federation.Unavailable, Detail: "later", RetryAfter: 1500 * time.Millisecond})
	if got := w.Header().Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After %q", got)
	}
}

type body struct {
	Name  string              `json:"name"`
	Count int                 `json:"count"`
	Tags  map[string][]string `json:"tags"`
	Items []item              `json:"items"`
	Any   any                 `json:"any"`
	When  *time.Time          `json:"when"`
	inner
	Hidden string `json:"-"` // a member that JSON must not reach
}

type item struct {
	ID string `json:"id"`
}

type inner struct {
	Zone string `json:"zone"`
}

func TestUnmarshalStrict(t *testing.T) {
	tests := map[string]struct {
		in    string
		field string // at fault; "-" for none, "" for no error
		code  federation.Code
	}{
		"all":                    {in: `{"name":"a","count":1,"tags":{"k":["v"],"K":["v"]},"items":[{"id":"x"}],"any":{"b":1},"when":"2026-01-01T00:00:00Z"}`},
		"blanks around":          {in: " {} \n"},
		"null":                   {in: `{"name":null,"items":null}`},
		"unknown member":         {in: `{"nam":"a"}`, field: "nam"},
		"of another case":        {in: `{"Name":"a"}`, field: "Name"},
		"hidden":                 {in: `{"Hidden":"a"}`, field: "Hidden"},
		"hidden, by its tag":     {in: `{"-":"a"}`, field: "-"},
		"unknown, deep":          {in: `{"items":[{"id":"a"},{"ix":"b"}]}`, field: "items[1].ix"},
		"twice":                  {in: `{"name":"a","name":"a"}`, field: "name"},
		"twice, deep":            {in: `{"tags":{"k":[],"k":[]}}`, field: "tags.k"},
		"twice, under any":       {in: `{"any":{"b":1,"b":2}}`, field: "any.b"},
		"twice by escape":        {in: `{"name":"a","n\u0061me":"b"}`, field: "name"},
		"wrong type":             {in: `{"name":5}`, field: "name"},
		"wrong type, list":       {in: `{"tags":{"k":"v"}}`, field: "tags"},
		"wrong type, object":     {in: `{"items":{}}`, field: "items"},
		"fraction":               {in: `{"count":1.5}`, field: "count"},
		"empty":                  {in: "  ", field: "-"},
		"not JSON":               {in: `name=a`, field: "-"},
		"cut off":                {in: `{"name":`, field: "-"},
		"trailing value":         {in: `{} {}`, field: "-"},
		"trailing bracket":       {in: `{}}`, field: "-"},
		"an array instead":       {in: `[]`, field: "-"},
		"deep":                   {in: `{"any":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, field: "-"},
		"very deep":              {in: strings.Repeat("[", 100_000), field: "-"},
		"a member of great size": {in: `{"` + strings.Repeat("x", 5000) + `":1}`, field: strings.Repeat("x", 60) + "…"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var b body
			err := UnmarshalStrict([]byte(test.in), &b)
			if test.field == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			e := federation.AsError(err)
			if err == nil || e.Code != federation.Invalid {
				t.Fatalf("got %v and %+v", err, b)
			}
			if test.field != "-" && (len(e.Fields) != 1 || !strings.HasPrefix(e.Fields[0].Field, test.field)) {
				t.Errorf("fields %+v, want %s", e.Fields, test.field)
			}
			if len(err.Error()) > 500 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

func TestReadJSONBounds(t *testing.T) {
	read := func(body io.Reader, contentType string) (body, error) {
		r := httptest.NewRequest(http.MethodPost, "/", body)
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		return readInto(r)
	}
	if b, err := read(strings.NewReader(`{"name":"a"}`), "application/json; charset=utf-8"); err != nil || b.Name != "a" {
		t.Errorf("%+v %v", b, err)
	}
	if _, err := read(strings.NewReader(`{"name":"`+strings.Repeat("a", 100)+`"}`), ""); federation.CodeOf(err) != federation.TooLarge {
		t.Errorf("too long: %v", err)
	}
	if _, err := read(strings.NewReader(`{}`), "text/plain"); federation.CodeOf(err) != federation.Invalid {
		t.Errorf("a form of another site: %v", err)
	}
	if _, err := read(io.MultiReader(strings.NewReader(`{`), brokenReader{}), ""); federation.CodeOf(err) != federation.Invalid {
		t.Errorf("a body that breaks off: %v", err)
	}
}

// TestHeadersOfErrors: the token is at fault only where there was one, and who is told to
// try again is told when.
func TestHeadersOfErrors(t *testing.T) {
	for _, tc := range []struct {
		err              *federation.Error
		challenge, retry string
	}{
		{federation.Errorf(federation.Unauthenticated, "x").WithReason(MissingToken), "Bearer", ""},
		{federation.Errorf(federation.Unauthenticated, "x").WithReason("expired"), `Bearer error="invalid_token"`, ""},
		{federation.Errorf(federation.Forbidden, "x"), "", ""},
		{federation.Errorf(federation.Unavailable, "x"), "", "1"},
		{&federation.Error{Code: federation.Unavailable, RetryAfter: 2500 * time.Millisecond}, "", "3"},
	} {
		h := http.Header{}
		if SetHeaders(h, tc.err); h.Get("WWW-Authenticate") != tc.challenge || h.Get("Retry-After") != tc.retry {
			t.Errorf("%v: %v", tc.err, h)
		}
	}
}

// Over HTTP/2 others ask over the same connection.
func TestTooLongEndsNoConnectionOfOthers(t *testing.T) {
	for major, want := range map[int]string{1: "close", 2: ""} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("a", 200)))
		r.ProtoMajor = major
		w := httptest.NewRecorder()
		if err := ReadJSON(w, r, 64, &body{}); federation.CodeOf(err) != federation.TooLarge || w.Header().Get("Connection") != want {
			t.Errorf("HTTP/%d: Connection: %q, %v", major, w.Header().Get("Connection"), err)
		}
	}
}

// A caller who sends far too much is still told so.
func TestTooLongIsAnswered(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b body
		if err := ReadJSON(w, r, 64<<10, &b); err != nil {
			WriteError(w, err)
		}
	}))
	defer s.Close()
	for name, expect := range map[string]string{"at once": "", "with a question first": "100-continue"} {
		long := io.MultiReader(strings.NewReader(`{"name":"`), io.LimitReader(endless{}, 3<<20), strings.NewReader(`"}`))
		r, err := http.NewRequest(http.MethodPost, s.URL, long)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = 3<<20 + 11
		if expect != "" {
			r.Header.Set("Expect", expect)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var e apitypes.Error
		if err := json.NewDecoder(resp.Body).Decode(&e); err != nil || resp.StatusCode != 413 || e.Status != 413 {
			t.Errorf("%s: %d %+v %v", name, resp.StatusCode, e, err)
		}
		resp.Body.Close()
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

func TestNotAnObject(t *testing.T) {
	for _, in := range []string{`[]`, `"x"`, `5`, `true`} {
		var b body
		err := UnmarshalStrict([]byte(in), &b)
		if err == nil || !strings.Contains(err.Error(), "must be a JSON object") || strings.Contains(err.Error(), "Go ") {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func readInto(r *http.Request) (b body, err error) {
	err = ReadJSON(httptest.NewRecorder(), r, 64, &b)
	return b, err
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func FuzzUnmarshalStrict(f *testing.F) {
	f.Add([]byte(`{"name":"a","items":[{"id":"x"}],"tags":{"k":["v"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var b body
		if UnmarshalStrict(data, &b) == nil && !json.Valid(data) {
			t.Errorf("%q was taken for JSON", data)
		}
	})
}
