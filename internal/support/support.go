// Package support makes the archive that an operator gives a maintainer: versions, settings,
// status, metrics, profiles and the last lines of the log of one server. There is no secret
// in it, and nothing of who holds tokens unless that is asked for.
package support

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"runtime/pprof"
	"slices"
	"sync"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/runlog"
)

const (
	// maxFile bounds a file of the archive: what is longer is cut.
	maxFile = 4 << 20
	// cpuFor is how long the processor's profile takes.
	cpuFor = 2 * time.Second
)

// MediaType is that of the archive.
const MediaType = "application/gzip"

// Source is what a server has to tell. Its methods are safe for concurrent use; one archive
// is made at a time.
type Source struct {
	Program, Version, Node string
	// Settings are the flags in force, which name files of secrets and hold none.
	Settings map[string]string
	Metrics  http.Handler
	Log      *runlog.Log
	Now      func() time.Time

	making sync.Mutex
}

// Answer writes what the server's API answers, as JSON.
type Answer func(w http.ResponseWriter, r *http.Request) error

// Archive makes the archive of this moment: a .tar.gz. answers are by name of their files.
// With subjects it has the names of users and proxies too.
func (s *Source) Archive(ctx context.Context, subjects bool, answers map[string]Answer) ([]byte, error) {
	if s == nil {
		return nil, federation.Errorf(federation.Invalid, "this process makes no archives")
	}
	if !s.making.TryLock() {
		busy := federation.Errorf(federation.Unavailable, "another archive is being made").WithReason("busy").WithHint("try again in a moment")
		busy.RetryAfter = cpuFor
		return nil, busy
	}
	defer s.making.Unlock()
	a := &archive{now: s.Now(), hide: !subjects, files: map[string][]byte{}}
	a.json("version.json", map[string]any{
		"program": s.Program, "version": s.Version, "node": s.Node, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
		"processors": runtime.NumCPU(), "goroutines": runtime.NumGoroutine(), "time": a.now.UTC(), "subjects": subjects,
	})
	a.json("settings.json", s.Settings)
	for name, answer := range answers {
		a.answer(ctx, name, answer)
	}
	a.answer(ctx, "metrics.txt", func(w http.ResponseWriter, r *http.Request) error {
		s.Metrics.ServeHTTP(w, r)
		return nil
	})
	a.log(s.Log)
	a.profiles(ctx)
	return a.pack(fmt.Sprintf("support-%s-%s", s.Program, a.now.UTC().Format("20060102T150405Z")))
}

// archive collects files.
type archive struct {
	now   time.Time
	hide  bool
	files map[string][]byte
}

// text adds a file without what looks like a secret.
func (a *archive) text(name string, data []byte) {
	data = scrub(data)
	if len(data) > maxFile {
		data = append(slices.Clip(data[:maxFile]), "\n(cut here)\n"...)
	}
	a.files[name] = data
}

func (a *archive) json(name string, v any) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		data = []byte(err.Error())
	}
	a.text(name, append(data, '\n'))
}

// answer adds what the API answers, or why it does not.
func (a *archive) answer(ctx context.Context, name string, answer Answer) {
	page := &page{header: http.Header{}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if err == nil {
		err = answer(page, r)
	}
	if err != nil {
		a.text(name, []byte("there is no answer: "+err.Error()+"\n"))
		return
	}
	var v any
	if a.hide && json.Unmarshal(page.body.Bytes(), &v) == nil {
		a.json(name, withoutSubjects(v))
		return
	}
	a.text(name, page.body.Bytes())
}

func (a *archive) log(log *runlog.Log) {
	if log == nil {
		return
	}
	lines, gone := log.Recent.Lines()
	if a.hide {
		lines = logWithoutSubjects(lines)
	}
	text := bytes.Join(lines, nil)
	if gone > 0 {
		text = append(fmt.Appendf(nil, "{\"msg\":\"earlier lines are not kept\",\"lines\":%d}\n", gone), text...)
	}
	a.text("log.jsonl", text)
}

// profiles adds where goroutines stand, what memory is used for, and what the processor does.
// They hold names of functions and no data.
func (a *archive) profiles(ctx context.Context) {
	for name, debug := range map[string]int{"goroutine": 1, "heap": 0, "threadcreate": 1} {
		var out bytes.Buffer
		if err := pprof.Lookup(name).WriteTo(&out, debug); err != nil {
			fmt.Fprintf(&out, "there is no profile: %v\n", err)
		}
		if debug > 0 {
			a.text("profiles/"+name+".txt", out.Bytes())
			continue
		}
		a.files["profiles/"+name+".pb.gz"] = out.Bytes()
	}
	var out bytes.Buffer
	if err := pprof.StartCPUProfile(&out); err != nil { // somebody else makes one
		a.text("profiles/cpu.txt", []byte(err.Error()+"\n"))
		return
	}
	enough := time.NewTimer(cpuFor)
	defer enough.Stop()
	select {
	case <-ctx.Done():
	case <-enough.C:
	}
	pprof.StopCPUProfile()
	a.files["profiles/cpu.pb.gz"] = out.Bytes()
}

// pack writes the files into one directory of an archive.
func (a *archive) pack(dir string) ([]byte, error) {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	pack := tar.NewWriter(zip)
	for _, name := range slices.Sorted(maps.Keys(a.files)) {
		data := a.files[name]
		err := pack.WriteHeader(&tar.Header{Name: dir + "/" + name, Mode: 0o600, Size: int64(len(data)), ModTime: a.now})
		if err == nil {
			_, err = pack.Write(data)
		}
		if err != nil {
			return nil, federation.Errorf(federation.Internal, "packing %s: %w", name, err)
		}
	}
	for _, close := range []func() error{pack.Close, zip.Close} {
		if err := close(); err != nil {
			return nil, federation.Errorf(federation.Internal, "packing the archive: %w", err)
		}
	}
	return out.Bytes(), nil
}

// page takes an answer.
type page struct {
	header http.Header
	body   bytes.Buffer
}

func (p *page) Header() http.Header         { return p.header }
func (p *page) Write(d []byte) (int, error) { return p.body.Write(d) }
func (p *page) WriteHeader(int)             {}
