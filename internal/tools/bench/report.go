package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// measurement is one line of the table, and of the JSON. Less is better in all of
// them. Budget is the largest value that is allowed, in the unit of Value, also
// where the design allows a multiple of the baseline: Factor then says which.
type measurement struct {
	Name     string   `json:"name"`
	Value    float64  `json:"value"`
	Unit     string   `json:"unit"`
	Baseline *float64 `json:"baseline"` // null: there is nothing to compare with
	Ratio    *float64 `json:"ratio"`    // Value / Baseline
	Budget   *float64 `json:"budget"`   // null: none was set
	OK       bool     `json:"ok"`       // within the budget, or there is none

	factor float64
}

// measured returns a figure without a baseline or budget.
func measured(name string, value float64, unit string) measurement {
	return measurement{Name: name, Value: value, Unit: unit, OK: true}
}

// beside adds what the same took in its simplest form.
func (m measurement) beside(baseline float64) measurement {
	m.Baseline = &baseline
	if baseline > 0 {
		ratio := m.Value / baseline
		m.Ratio = &ratio
	}
	return m
}

// within adds a budget in the unit of the value.
func (m measurement) within(budget float64) measurement {
	m.Budget, m.OK = &budget, m.Value <= budget
	return m
}

// times adds a budget that is a multiple of the baseline.
func (m measurement) times(factor float64) measurement {
	m = m.within(factor * *m.Baseline)
	m.factor = factor
	return m
}

// report collects measurements and shows them.
type report struct {
	all  []measurement
	json io.Writer // nil: nobody wants it
	say  io.Writer
}

// add takes a measurement and writes it out at once: a later row may fail.
func (r *report) add(list ...measurement) error {
	for _, m := range list {
		r.all = append(r.all, m)
		fmt.Fprintf(r.say, "  %s\n", m.line())
		if r.json == nil {
			continue
		}
		data, err := json.Marshal(m)
		if err != nil {
			return fmt.Errorf("encoding %s: %w", m.Name, err)
		}
		if _, err := r.json.Write(append(data, '\n')); err != nil {
			return fmt.Errorf("writing %s: %w", m.Name, err)
		}
	}
	return nil
}

// note says what a reader of the figures should know, in the run's log.
func (r *report) note(format string, args ...any) {
	fmt.Fprintf(r.say, "  note: "+format+"\n", args...)
}

// missed counts the measurements beyond their budgets.
func (r *report) missed() (n int) {
	for _, m := range r.all {
		if !m.OK {
			n++
		}
	}
	return n
}

// table writes everything as one table.
func (r *report) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join([]string{"NAME", "VALUE", "UNIT", "BASELINE", "RATIO", "BUDGET", "OK"}, "\t"))
	for _, m := range r.all {
		fmt.Fprintln(t, strings.Join(m.cells(), "\t"))
	}
	return t.Flush()
}

func (m measurement) cells() []string {
	baseline, ratio, budget, ok := "-", "-", "-", "-"
	if m.Baseline != nil {
		baseline = number(*m.Baseline)
	}
	if m.Ratio != nil {
		ratio = number(*m.Ratio)
	}
	if m.Budget != nil {
		budget = number(*m.Budget)
		if m.factor > 0 {
			budget += " (" + number(m.factor) + " x)"
		}
		ok = map[bool]string{true: "ok", false: "MISSED"}[m.OK]
	}
	return []string{m.Name, number(m.Value), m.Unit, baseline, ratio, budget, ok}
}

func (m measurement) line() string {
	c := m.cells()
	s := c[0] + " " + c[1] + " " + c[2]
	if m.Baseline != nil {
		s += ", baseline " + c[3] + ", ratio " + c[4]
	}
	if m.Budget != nil {
		s += ", budget " + c[5] + ": " + c[6]
	}
	return s
}

// number writes three digits that say something.
func number(v float64) string {
	a := math.Abs(v)
	switch {
	case v == math.Trunc(v) && a < 1e9:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// percentile returns the value that p percent of the values do not exceed.
func percentile[T ~int64 | ~float64](values []T, p float64) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	i := int(math.Ceil(p/100*float64(len(sorted)))) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

func median[T ~int64 | ~float64](values []T) T { return percentile(values, 50) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
