package endpoints

import (
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
)

func TestCheckAddress(t *testing.T) {
	for _, tt := range []struct {
		address      string
		listen, dial string // what the refusal says, "" where there is none
	}{
		{"127.0.0.1:5681", "", ""},
		{"[::1]:1", "", ""},
		{"global.example.com:65535", "", ""},
		{":5681", "", "names no host"},
		{"127.0.0.1:0", "", "no port that can be connected to"},
		{"foo", "is not HOST:PORT", "is not HOST:PORT"},
		{"::", "is not HOST:PORT", "is not HOST:PORT"},
		{"127.0.0.1:99999", "no port from 0 to 65535", "no port from 0 to 65535"},
		{"127.0.0.1:-1", "no port from 0 to 65535", "no port from 0 to 65535"},
		{"127.0.0.1:http", "no port from 0 to 65535", "no port from 0 to 65535"},
		{"127.0.0.1:", "no port from 0 to 65535", "no port from 0 to 65535"},
		{"http://127.0.0.1:5681", "is not HOST:PORT", "is not HOST:PORT"},
		{"a b:1", "is not HOST:PORT", "is not HOST:PORT"},
	} {
		for name, got := range map[string]struct {
			err  error
			says string
		}{"listen": {CheckListen("--x", tt.address), tt.listen}, "dial": {CheckDial("--x", tt.address), tt.dial}} {
			e := federation.AsError(got.err)
			switch {
			case got.says == "" && e != nil:
				t.Errorf("%s on %q: %v", name, tt.address, e)
			case got.says != "" && (e == nil || e.Code != federation.Invalid || !strings.Contains(e.Detail, got.says) ||
				!strings.HasPrefix(e.Detail, "--x: ") || !strings.Contains(e.Hint, "HOST:PORT")):
				t.Errorf("%s on %q: %+v, want %q", name, tt.address, e, got.says)
			}
		}
	}
}
