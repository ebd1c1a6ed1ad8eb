package grpcerr

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/meridiankds/meridian/federation"
)

// codesOf reads the codes that package federation declares, so that a new one cannot
// be left out.
func codesOf(t *testing.T) (all []federation.Code) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), "../../../federation/errors.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Code" {
				text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, federation.Code(text))
			}
		}
		return true
	})
	if len(all) < 9 {
		t.Fatalf("federation declares the codes %v: the test would prove nothing", all)
	}
	return all
}

// Every code has one of gRPC and comes back from it, but for those that share one.
func TestEveryCodeIsMapped(t *testing.T) {
	want := map[federation.Code]struct {
		grpc codes.Code
		back federation.Code
	}{
		federation.Invalid:         {codes.InvalidArgument, federation.Invalid},
		federation.Unauthenticated: {codes.Unauthenticated, federation.Unauthenticated},
		federation.Forbidden:       {codes.PermissionDenied, federation.Forbidden},
		federation.NotFound:        {codes.NotFound, federation.NotFound},
		federation.Conflict:        {codes.FailedPrecondition, federation.Conflict},
		federation.TooLarge:        {codes.ResourceExhausted, federation.TooLarge},
		federation.Unavailable:     {codes.Unavailable, federation.Unavailable},
		federation.UnknownOutcome:  {codes.DeadlineExceeded, federation.Unavailable},
		federation.Internal:        {codes.Internal, federation.Internal},
	}
	for _, code := range codesOf(t) {
		w, known := want[code]
		if got := Code(code); !known || got != w.grpc || CodeOf(got) != w.back {
			t.Errorf("%s is %s, which is read as %s; want %+v", code, got, CodeOf(got), w)
		}
	}
	for c, code := range map[codes.Code]federation.Code{
		codes.AlreadyExists: federation.Conflict, codes.Aborted: federation.Conflict, codes.OutOfRange: federation.Invalid,
		codes.Canceled: federation.Unavailable, codes.Unknown: federation.Internal, codes.Unimplemented: federation.Internal,
		codes.DataLoss: federation.Internal,
	} {
		if got := CodeOf(c); got != code {
			t.Errorf("%s is read as %s, want %s", c, got, code)
		}
	}
}

func TestReasonsComeBack(t *testing.T) {
	st := New(codes.NotFound, "it is so", "no_such_mesh", "make one")
	if reason, hint := InfoOf(st); reason != "no_such_mesh" || hint != "make one" || st.Message() != "it is so" {
		t.Errorf("%q, %q, %q", st.Message(), reason, hint)
	}
	if reason, hint := InfoOf(New(codes.NotFound, "it is so", "", "")); reason != "" || hint != "" {
		t.Errorf("%q, %q of nothing", reason, hint)
	}
}
