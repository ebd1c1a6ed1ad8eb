package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	values := []time.Duration{5, 1, 4, 2, 3}
	for p, want := range map[float64]time.Duration{0: 1, 20: 1, 50: 3, 95: 5, 99: 5, 100: 5} {
		if got := percentile(values, p); got != want {
			t.Errorf("p%v is %d, want %d", p, got, want)
		}
	}
	if values[0] != 5 {
		t.Error("the values were put in order")
	}
	if got := percentile([]float64(nil), 50); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

func TestBudgets(t *testing.T) {
	for _, c := range []struct {
		m  measurement
		ok bool
	}{
		{measured("a", 7, "ms"), true},
		{measured("a", 7, "ms").within(7), true},
		{measured("a", 7.1, "ms").within(7), false},
		{measured("a", 12, "ms").beside(10).times(1.2), true},
		{measured("a", 12.1, "ms").beside(10).times(1.2), false},
	} {
		if c.m.OK != c.ok {
			t.Errorf("%s: ok is %v, want %v", c.m.line(), c.m.OK, c.ok)
		}
	}
}

// Each line has exactly the members that are promised, null where there is nothing.
func TestJSON(t *testing.T) {
	var out, say bytes.Buffer
	r := &report{json: &out, say: &say}
	if err := r.add(measured("bare", 1, "ms"), measured("full", 3, "ms").beside(2).times(1)); err != nil {
		t.Fatal(err)
	}
	want := `{"name":"bare","value":1,"unit":"ms","baseline":null,"ratio":null,"budget":null,"ok":true}
{"name":"full","value":3,"unit":"ms","baseline":2,"ratio":1.5,"budget":2,"ok":false}
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	if r.missed() != 1 {
		t.Errorf("%d missed, want 1", r.missed())
	}
	var table bytes.Buffer
	if err := r.table(&table); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(table.String(), "\n"); lines != 3 || !strings.Contains(table.String(), "MISSED") {
		t.Errorf("the table is\n%s", table.String())
	}
}

// A role answers what it is asked, and says so where it cannot.
func TestRole(t *testing.T) {
	in := strings.NewReader(`{"method":"free"}` + "\n" + `{"method":"dance"}` + "\n" + `{"method":"leads","in":{"x":` + "\n")
	var out bytes.Buffer
	err := serveRole(t.Context(), "raft", in, &out)
	if err == nil {
		t.Error("half a request is taken for the end")
	}
	answers := json.NewDecoder(&out)
	var first, second answer
	if err := answers.Decode(&first); err != nil || first.Error != "" || !strings.Contains(string(first.Out), "heap") {
		t.Errorf("free answered %+v, %v", first, err)
	}
	if err := answers.Decode(&second); err != nil || !strings.Contains(second.Error, "no method") {
		t.Errorf("dance answered %+v, %v", second, err)
	}
}

func TestCommandLine(t *testing.T) {
	for _, args := range [][]string{{"dance"}, {"--slow"}, {"size", "--bin", t.TempDir()}} {
		var say bytes.Buffer
		if _, err := parse(args, &say); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}
