package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// keptSuffix is what the copy of a directory is called, beside it.
const keptSuffix = ".kept"

// runDisk does to the disks of programs that have ended what a careless restore or a VM
// snapshot does: it keeps a copy of each directory, puts it back, whole or one file of it, or
// empties the directory.
func runDisk(what, only string, dirs []string) error {
	for _, dir := range dirs {
		kept := dir + keptSuffix
		var err error
		switch {
		case what == "keep":
			err = replace(kept, dir)
		case what == "back" && only == "":
			err = replace(dir, kept)
		case what == "back":
			err = replaceFile(filepath.Join(dir, only), filepath.Join(kept, only))
		case what == "empty":
			err = os.RemoveAll(dir)
		default:
			err = fmt.Errorf("disk wants keep, back or empty, not %q", what)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// replace has a directory be what another one is.
func replace(dir, from string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(to, 0o700)
		case d.Type().IsRegular():
			return replaceFile(to, path)
		}
		return nil // a socket that somebody left
	})
}

// replaceFile has a file be what another one is. A database does not survive what another
// process still does to it, so that the new one is another file.
func replaceFile(path, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}
