package wire

import (
	"fmt"
	"log/slog"

	"google.golang.org/grpc/grpclog"
)

// LogLibrary has gRPC's own messages go to the log, at debug level: by default
// the library writes some to standard error, also ones that a stranger can cause
// as often as it likes. It changes the library for the whole process and must be
// called before any server or client is made, so it is for main alone.
func LogLibrary(log *slog.Logger) { grpclog.SetLoggerV2(libraryLog{log.With("component", "grpc")}) }

// libraryLog implements grpclog.LoggerV2.
type libraryLog struct{ log *slog.Logger }

func (l libraryLog) say(args ...any)            { l.log.Debug(fmt.Sprint(args...)) }
func (l libraryLog) sayf(f string, args ...any) { l.log.Debug(fmt.Sprintf(f, args...)) }

func (l libraryLog) Info(args ...any)               { l.say(args...) }
func (l libraryLog) Infoln(args ...any)             { l.say(args...) }
func (l libraryLog) Infof(f string, args ...any)    { l.sayf(f, args...) }
func (l libraryLog) Warning(args ...any)            { l.say(args...) }
func (l libraryLog) Warningln(args ...any)          { l.say(args...) }
func (l libraryLog) Warningf(f string, args ...any) { l.sayf(f, args...) }
func (l libraryLog) Error(args ...any)              { l.say(args...) }
func (l libraryLog) Errorln(args ...any)            { l.say(args...) }
func (l libraryLog) Errorf(f string, args ...any)   { l.sayf(f, args...) }

// Fatal and its kin are not filtered: the library calls os.Exit behind them.
func (l libraryLog) Fatal(args ...any)            { l.log.Error(fmt.Sprint(args...)) }
func (l libraryLog) Fatalln(args ...any)          { l.log.Error(fmt.Sprint(args...)) }
func (l libraryLog) Fatalf(f string, args ...any) { l.log.Error(fmt.Sprintf(f, args...)) }

// V reports whether messages of the verbosity are wanted: none of the chatter is.
func (l libraryLog) V(int) bool { return false }
