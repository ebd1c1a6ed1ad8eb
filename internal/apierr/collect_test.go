package apierr

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http/httptest"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/meridiankds/meridian/federation"
)

// TestNothingIsTakenForADeclaredLength: a caller who announces a large body and sends
// nothing costs nothing.
func TestNothingIsTakenForADeclaredLength(t *testing.T) {
	const declared = 64 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := httptest.NewRequest("POST", "/", iotest.ErrReader(io.ErrUnexpectedEOF))
	r.ContentLength = declared
	if _, err := ReadBytes(httptest.NewRecorder(), r, declared); federation.CodeOf(err) != federation.Invalid {
		t.Errorf("answered %v", err)
	}
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; taken > declared/8 {
		t.Errorf("%d bytes were taken for a body of which nothing came", taken)
	}
}

// TestBodiesArriveWhole in whatever pieces.
func TestBodiesArriveWhole(t *testing.T) {
	for _, size := range []int{0, 1, 1023, 1024, 1025, 200_000} {
		sent := make([]byte, size)
		_, _ = rand.Read(sent) // it does not fail
		for name, in := range map[string]io.Reader{
			"at once": bytes.NewReader(sent), "halves": iotest.HalfReader(bytes.NewReader(sent)), "with the end": iotest.DataErrReader(bytes.NewReader(sent)),
		} {
			got, err := ReadBytes(httptest.NewRecorder(), httptest.NewRequest("POST", "/", in), int64(size))
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d bytes, %s: %d arrived, %v", size, name, len(got), err)
			}
		}
	}
}
