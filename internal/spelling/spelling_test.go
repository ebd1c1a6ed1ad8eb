package spelling

import "testing"

func TestNearest(t *testing.T) {
	known := []string{"west", "east", "enabled", "data-dir", "o"}
	for word, want := range map[string]string{
		"wset": "west", "est": "west", "enable": "enabled", "enabld": "enabled", "datadir": "data-dir", "data-dri": "data-dir",
		"x": "", "": "", "nothing": "", "enabled-or-not-enabled-that-is-what-is-asked-here": "",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
