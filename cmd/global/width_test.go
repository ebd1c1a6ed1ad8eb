package main

import (
	"testing"

	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/test/helptext"
)

func TestEveryHelpFitsATerminal(t *testing.T) { helptext.Fits(t, newApp(console.IO{}), runApp) }
