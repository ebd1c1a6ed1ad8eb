package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code := 0
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(os.Stderr, "bench: error: %v\n", err)
		}
		code = 1
		var bad usageError
		if errors.As(err, &bad) {
			fmt.Fprintf(os.Stderr, "bench: hint: scripts/bench --help lists the names and flags\n")
			code = 2
		}
	}
	stop()
	os.Exit(code)
}

// usageError is a mistake on the command line.
type usageError string

func (e usageError) Error() string { return string(e) }

// errMissed ends a run in which a budget was missed.
var errMissed = errors.New("a budget was missed")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 2 && args[0] == "role" {
		// The parent decides when a child ends: an interrupt of the terminal is for
		// the parent alone to act on.
		return serveRole(context.WithoutCancel(ctx), args[1], os.Stdin, stdout)
	}
	if len(args) == 3 && args[0] == "plot" {
		return plot(args[1], args[2], stdout)
	}
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	b := &bench{bin: o.bin, quick: o.quick, floodSpan: o.floodSpan, floodCases: o.floodCases, profiles: o.profiles, report: &report{say: stderr}}
	if o.json != "" {
		f, err := os.OpenFile(o.json, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
		if err != nil {
			return fmt.Errorf("opening the file for JSON: %w", err)
		}
		defer f.Close()
		b.report.json = f
	}
	if b.scratch, err = os.MkdirTemp("", "meridian-bench."); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer os.RemoveAll(b.scratch)
	fmt.Fprintf(stderr, "%s, %d processors, %s, %s\n", machine(), runtime.NumCPU(), runtime.Version(), time.Now().UTC().Format(time.DateOnly))
	failed := b.measure(ctx, o.rows, stderr)
	if err := b.report.table(stdout); err != nil {
		return err
	}
	switch missed := b.report.missed(); {
	case failed != nil:
		return failed
	case missed > 0 && !o.quick: // small, its timings say nothing
		return fmt.Errorf("%w: %d of %d rows", errMissed, missed, len(b.report.all))
	}
	return nil
}

// measure runs the rows one after the other. One that fails does not keep the
// others from running.
func (b *bench) measure(ctx context.Context, rows []row, stderr io.Writer) error {
	var failures []error
	for _, r := range rows {
		fmt.Fprintf(stderr, "%s: %s\n", r.name, r.about)
		begun := time.Now()
		if err := b.measureRow(ctx, r); err != nil {
			err = fmt.Errorf("%s: %w", r.name, err)
			fmt.Fprintf(stderr, "bench: error: %v\n", err)
			failures = append(failures, err)
		}
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		fmt.Fprintf(stderr, "  (%s)\n", time.Since(begun).Round(100*time.Millisecond))
	}
	return errors.Join(failures...)
}

func (b *bench) measureRow(ctx context.Context, r row) error {
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	s, err := b.scope(r.name)
	if err != nil {
		return err
	}
	defer s.close()
	return r.run(ctx, s)
}

// options is a command line that makes sense.
type options struct {
	bin, json, profiles string
	floodCases          string
	quick               bool
	floodSpan           time.Duration
	rows                []row
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("scripts/bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.quick, "quick", false, "small sizes: for the checks of the results, not for figures")
	flags.DurationVar(&o.floodSpan, "flood-span", 2*time.Minute, "how long each case of a flood lasts; its baseline takes a quarter more")
	flags.StringVar(&o.floodCases, "flood-cases", "", "these `CASES` of a flood, with commas in between, of "+floodNames())
	flags.StringVar(&o.json, "json", "", "write one object a line to this `FILE`")
	flags.StringVar(&o.profiles, "profile", "", "write profiles of the processor into this `FOLDER`, where a row can")
	flags.StringVar(&o.bin, "bin", filepath.Join(".", "bin"), "`FOLDER` of the programs global and zone")
	flags.Usage = func() {
		fmt.Fprintf(stderr, "usage: scripts/bench [NAME…] [--quick] [--json FILE]\n       scripts/bench plot FOLDER FILE   the growth rows of a JSON file as SVG, their tables on stdout\n\nflags:\n")
		flags.PrintDefaults()
		fmt.Fprintf(stderr, "\nnames, all of them where none is given:\n")
		for _, r := range rows() {
			fmt.Fprintf(stderr, "  %-20s %s\n", r.name, r.about)
		}
	}
	var names []string
	for { // flags may stand behind names
		if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			return o, err
		} else if err != nil {
			return o, usageError(err.Error())
		}
		if args = flags.Args(); len(args) == 0 {
			break
		}
		names, args = append(names, args[0]), args[1:]
	}
	known := rows()
	if len(names) == 0 {
		o.rows = slices.DeleteFunc(known, func(r row) bool { return r.byName && !(o.quick && r.quick) })
	}
	for _, name := range names {
		i := slices.IndexFunc(known, func(r row) bool { return r.name == name })
		if i < 0 {
			return o, usageError(fmt.Sprintf("there is no row %.60q", name))
		}
		o.rows = append(o.rows, known[i])
	}
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return o, err
	}
	o.bin = bin
	for _, program := range []string{"global", "zone"} {
		if _, err := os.Stat(filepath.Join(bin, program)); err != nil {
			return o, usageError(fmt.Sprintf("there is no program %s: scripts/build makes it", strings.TrimSpace(filepath.Join(bin, program))))
		}
	}
	return o, nil
}
