package proxyauth

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/keyring"
)

// TestMistakesAreTold: the operator learns which statement is a mistake, from the log
// and a metric, and callers who make some up cannot make these grow.
func TestMistakesAreTold(t *testing.T) {
	var log bytes.Buffer
	var settings keyring.Settings
	if err := settings.Complete(); err != nil {
		t.Fatal(err)
	}
	told, now := map[[3]string]int{}, time.Unix(1_800_000_000, 0)
	a, err := New(Config{Zone: "west", Settings: settings, Logger: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return now },
		Misstated: func(labels ...string) { told[[3]string(labels)]++ }})
	if err != nil {
		t.Fatal(err)
	}
	prove := func(key, value, route string) {
		t.Helper()
		now = now.Add(time.Second)
		if _, err := a.Prove(t.Context(), map[string]string{key: value}, route, "x"); cptoken.ReasonOf(err) != cptoken.Misconfigured {
			t.Fatalf("%s: %v", key, err)
		}
	}
	prove("nmae", "ledger-1", "shop.example/orders")
	prove("nmae", "ledger-1", "shop.example/orders")
	if n := told[[3]string{"nmae", "ledger-1", "shop.example/orders"}]; n != 2 || len(told) != 1 {
		t.Errorf("counted %v", told)
	}
	for _, want := range []string{"level=WARN", "key=nmae", "value=ledger-1", "route=shop.example/orders"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %s: %s", want, log.String())
		}
	}
	for i := range 2 * maxMistakes {
		prove(fmt.Sprint("k", i), strings.Repeat("\xff", 5000), strings.Repeat("r\u00e4", 5000))
	}
	if len(told) != maxMistakes+1 || told[[3]string{"other", "other", "other"}] == 0 {
		t.Errorf("%d labels, of which others %d", len(told), told[[3]string{"other", "other", "other"}])
	}
	for labels := range told {
		for _, label := range labels {
			if len(label) > maxMistake || !utf8.ValidString(label) {
				t.Errorf("a label of %d bytes: %.20q", len(label), label)
			}
		}
	}
	prove("nmae", "ledger-1", "shop.example/orders")
	if n := told[[3]string{"nmae", "ledger-1", "shop.example/orders"}]; n != 3 {
		t.Errorf("a mistake that had labels lost them: %d", n)
	}
}
