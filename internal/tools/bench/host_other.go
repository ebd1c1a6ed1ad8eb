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

func machine() string { return "not Linux" }
