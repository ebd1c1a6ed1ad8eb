//go:build !linux

package main

import (
	"errors"
	"syscall"
	"time"
)

var errNeedsLinux = errors.New("the bench reads /proc, which only Linux has")

func dieWithParent() *syscall.SysProcAttr { return nil }

func processorTime(int) (time.Duration, error) { return 0, errNeedsLinux }

func anonymousMemory(int) (float64, error) { return 0, errNeedsLinux }

func openFiles(int) (int, error) { return 0, errNeedsLinux }

func statusField(int, string) (float64, error) { return 0, errNeedsLinux }

// load is nothing here.
type load struct{}

func loadNow() load { return load{} }

func (load) since() string { return "the load of the machine is not known" }

func machine() string { return "not Linux" }
