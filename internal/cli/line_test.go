package cli

import (
	"strings"
	"testing"
)

func TestLine(t *testing.T) {
	const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJab25lIjoid2VzdCJ9.c2lnbmF0dXJl"
	tests := []struct{ name, in, want string }{
		{"plain", "zone west is disabled", "zone west is disabled"},
		{"several lines become one", "first\nsecond\r\n\tthird", "first second third"},
		{"blanks at the ends go", "  x  ", "x"},
		{"terminal escapes lose their escape", "a\x1b[2Jb", "a [2Jb"},
		{"C1 controls", "a\u009b2Jb", "a 2Jb"},
		{"bidirectional overrides", "abc\u202egnp.exe", "abc gnp.exe"},
		{"invalid UTF-8", "a\xff\xfeb", "a b"},
		{"other scripts stay", "zone 東京 – été", "zone 東京 – été"},
		{"a token is blotted out", "refused " + jwt + " today", "refused <token> today"},
		{"a token inside quotes", `got "` + jwt + `"`, `got "<token>"`},
		{"an unsigned token too", "got eyJhbGciOiJub25lIn0.eyJhIjoxfQ.", "got <token>"},
		{"a word with the same beginning is none", "eyJust a word", "eyJust a word"},
		{"empty", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Line(tt.in); got != tt.want {
				t.Errorf("Line(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestLineIsBounded(t *testing.T) {
	got := Line(strings.Repeat("é", 5000))
	if want := strings.Repeat("é", maxLine) + "…"; got != want {
		t.Errorf("got %d bytes, want %d", len(got), len(want))
	}
}

func TestLooksSecret(t *testing.T) {
	for arg, want := range map[string]bool{
		"eyJhbGciOiJSUzI1NiJ9.eyJab25lIjoid2VzdCJ9.sig":         true,
		"--token=eyJhbGciOiJSUzI1NiJ9.eyJab25lIjoid2VzdCJ9.sig": true,
		"-----BEGIN RSA PRIVATE KEY-----\nMIIE":                 true,
		"-----BEGIN PRIVATE KEY-----":                           true,
		"-----BEGIN RSA PUBLIC KEY-----":                        false,
		"0e120ec9-6b42-495d-9758-07b59fe86fb9":                  false,
		"zone-token-signing-key-1":                              false,
		"kuma.io/service=backend,backend-admin":                 false,
	} {
		if got := LooksSecret(arg); got != want {
			t.Errorf("LooksSecret(%.30q) = %v, want %v", arg, got, want)
		}
	}
}
