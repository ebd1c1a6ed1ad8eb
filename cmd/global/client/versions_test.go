package client

import "testing"

func TestVersionsAreDated(t *testing.T) {
	for _, tt := range []struct{ version, newest, want string }{
		{"v1.2.3", "v1.2.3", "v1.2.3"},
		{"v1.2.3", "v1.10.0", "v1.2.3 (old)"},
		{"v1.10.0", "v1.2.3", "v1.10.0"},
		{"v1.2.3", "v1.2.3-4-gabcdef1", "v1.2.3 (old)"},
		{"v1.2.3-4-gabcdef1", "v1.2.3-12-gabcdef2-dirty", "v1.2.3-4-gabcdef1 (old)"},
		{"abcdef1", "abcdef2", "abcdef1 (differs)"},
		{"v1.2.3", "abcdef2", "v1.2.3 (differs)"},
		{"unknown", "unknown", "unknown"},
		{"", "v1.2.3", ""},
		{"v1.2.3", "", "v1.2.3"},
	} {
		if got := Dated(tt.version, tt.newest); got != tt.want {
			t.Errorf("%s beside %s: %q, want %q", tt.version, tt.newest, got, tt.want)
		}
	}
	for want, among := range map[string][]string{
		"v1.10.0": {"v1.9.0", "v1.10.0", "v1.2.0"}, "abc": {"", "abc", "def"}, "": {"", ""},
	} {
		if got := Newest(among...); got != want {
			t.Errorf("the newest of %q is %q, want %q", among, got, want)
		}
	}
}
