package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// curve is one growth-NAME of a JSON file.
type curve struct {
	name, unit string
	points     []point
}

// point is a size and what was measured for it.
type point struct {
	size, value float64
	baseline    *float64
}

// curvesOf reads the growth rows of the JSON that a run has written.
func curvesOf(r io.Reader) ([]curve, error) {
	var curves []curve
	for lines := bufio.NewScanner(r); lines.Scan(); {
		var m measurement
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return nil, fmt.Errorf("reading a measurement: %w", err)
		}
		rest, ok := strings.CutPrefix(m.Name, "growth-")
		name, size, sized := strings.Cut(rest, "/")
		n, err := strconv.ParseFloat(size, 64)
		if !ok || !sized || err != nil {
			continue
		}
		i := slices.IndexFunc(curves, func(c curve) bool { return c.name == name })
		if i < 0 {
			i = len(curves)
			curves = append(curves, curve{name: name, unit: m.Unit})
		}
		curves[i].points = append(curves[i].points, point{n, m.Value, m.Baseline})
	}
	for _, c := range curves {
		slices.SortFunc(c.points, func(a, b point) int { return cmp.Compare(a.size, b.size) })
	}
	return curves, nil
}

// plot writes one SVG for each curve of a JSON file into a folder, and their tables
// to w.
func plot(dir, file string, w io.Writer) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("opening the measurements: %w", err)
	}
	defer f.Close()
	curves, err := curvesOf(f)
	if err != nil {
		return err
	}
	if len(curves) == 0 {
		return fmt.Errorf("%s has no growth rows: scripts/bench growth --json FILE writes them", file)
	}
	for _, c := range curves {
		if err := os.WriteFile(filepath.Join(dir, "growth-"+c.name+".svg"), []byte(c.svg()), 0o644); err != nil {
			return fmt.Errorf("writing a plot: %w", err)
		}
		fmt.Fprintf(w, "%s\n", c.markdown())
	}
	return nil
}

// markdown is the curve as a table.
func (c curve) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s, %s of | Meridian, %s | baseline, %s | ratio |\n|---:|---:|---:|---:|\n", c.name, c.sizes(), c.unit, c.unit)
	for _, p := range c.points {
		baseline, ratio := "–", "–"
		if p.baseline != nil {
			baseline = number(*p.baseline)
			if *p.baseline > 0 {
				ratio = number(p.value / *p.baseline)
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", number(p.size), number(p.value), baseline, ratio)
	}
	return b.String()
}

// sizes says what the sizes of the curve count.
func (c curve) sizes() string {
	if c.name == "verify" || c.name == "issue" {
		return "revoked ids"
	}
	return "zones"
}

// The plot, in pixels.
const (
	plotWidth, plotHeight = 520.0, 300.0
	plotLeft, plotBottom  = 70.0, 45.0
	plotRight, plotTop    = 20.0, 35.0
)

// scale places values on a logarithmic axis; 0 stands at its beginning.
type scale struct{ low, high, from, to float64 }

func newScale(values []float64, from, to float64) scale {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if v > 0 {
			low, high = min(low, v), max(high, v)
		}
	}
	return scale{math.Floor(math.Log10(low)), max(math.Ceil(math.Log10(high)), math.Floor(math.Log10(low))+1), from, to}
}

func (s scale) at(v float64) float64 {
	l := s.low
	if v > 0 {
		l = max(math.Log10(v), s.low)
	}
	return s.from + (l-s.low)/(s.high-s.low)*(s.to-s.from)
}

// svg draws the curve and its baseline, both axes logarithmic.
func (c curve) svg() string {
	var sizes, values []float64
	for _, p := range c.points {
		sizes, values = append(sizes, p.size), append(values, p.value)
		if p.baseline != nil {
			values = append(values, *p.baseline)
		}
	}
	x, y := newScale(sizes, plotLeft, plotWidth-plotRight), newScale(values, plotHeight-plotBottom, plotTop)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="sans-serif" font-size="11">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	fmt.Fprintf(&b, `<text x="%g" y="18" font-size="13">%s, %s, over %s</text>`+"\n", plotLeft, c.name, c.unit, c.sizes())
	for e := y.low; e <= y.high; e++ {
		v := math.Pow(10, e)
		fmt.Fprintf(&b, `<path d="M%g %.1fH%g" stroke="#ddd"/><text x="%g" y="%.1f" text-anchor="end">%s</text>`+"\n",
			plotLeft, y.at(v), plotWidth-plotRight, plotLeft-6, y.at(v)+4, number(v))
	}
	for _, n := range sizes {
		fmt.Fprintf(&b, `<text x="%.1f" y="%g" text-anchor="middle">%s</text>`+"\n", x.at(n), plotHeight-plotBottom+18, number(n))
	}
	c.line(&b, x, y, "#0a58ca", "Meridian", func(p point) *float64 { return &p.value })
	c.line(&b, x, y, "#888888", "baseline", func(p point) *float64 { return p.baseline })
	b.WriteString("</svg>\n")
	return b.String()
}

// line draws what pick takes of each point.
func (c curve) line(b *strings.Builder, x, y scale, colour, label string, pick func(point) *float64) {
	var path []string
	lastX, lastY := 0.0, 0.0
	for _, p := range c.points {
		v := pick(p)
		if v == nil {
			continue
		}
		lastX, lastY = x.at(p.size), y.at(*v)
		path = append(path, fmt.Sprintf("%.1f,%.1f", lastX, lastY))
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", lastX, lastY, colour)
	}
	if len(path) == 0 {
		return
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(path, " "), colour)
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="end" fill="%s">%s</text>`+"\n", lastX, lastY-7, colour, label)
}
