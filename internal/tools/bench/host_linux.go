package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// dieWithParent makes a child end with this process, also where that is killed.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// processorTime returns what a process has used of the processors, over all of its
// threads that still live: the scheduler's own count, in nanoseconds.
func processorTime(pid int) (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		return 0, fmt.Errorf("process %d has no /proc/%d/task/*/schedstat: %w", pid, pid, err)
	}
	var total time.Duration
	for _, path := range threads {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // the thread ended just now
		}
		first, _, _ := strings.Cut(string(data), " ")
		n, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", path, err)
		}
		total += time.Duration(n)
	}
	return total, nil
}

// anonymousMemory returns the resident memory of a process that no file backs, in
// bytes: what its heap and stacks occupy.
func anonymousMemory(pid int) (float64, error) {
	return statusField(pid, "RssAnon:")
}

// statusField returns a field of /proc/PID/status that is in kB, as bytes.
func statusField(pid int, name string) (float64, error) {
	path := fmt.Sprintf("/proc/%d/status", pid)
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("reading the memory of a process: %w", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[0] == name {
			kb, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				return 0, fmt.Errorf("reading %s: %w", path, err)
			}
			return kb * 1024, nil
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, name)
}

// openFiles counts the descriptors of a process.
func openFiles(pid int) (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0, fmt.Errorf("counting descriptors: %w", err)
	}
	return len(entries), nil
}

// machine describes what the figures were measured on.
func machine() string {
	model := "unknown processor"
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel := "Linux"
	if data, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel += " " + strings.TrimSpace(string(data))
	}
	return model + ", " + kernel
}

// load is what the processors of this machine had to do, in the kernel's ticks.
type load struct{ busy, all float64 }

func loadNow() (l load) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return l
	}
	first, _, _ := strings.Cut(string(data), "\n")
	for i, field := range strings.Fields(first) {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil || i > 8 { // the name; guests are counted as users already
			continue
		}
		if l.all += ticks; i != 4 && i != 5 { // idle, and waiting for a disk
			l.busy += ticks
		}
	}
	return l
}

// since says how busy the machine has been.
func (l load) since() string {
	now := loadNow()
	text := fmt.Sprintf("processors %.0f %% busy", 100*(now.busy-l.busy)/max(1, now.all-l.all))
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		text += ", load " + strings.Join(strings.Fields(string(data))[:3], " ")
	}
	return text
}
