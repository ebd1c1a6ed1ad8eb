package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(os.Stderr, "faultload: error: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("which role: zones, relay, load, disk or ctl")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	switch args[0] {
	case "zones":
		first := flags.Int("first", 1, "number of the first zone")
		count := flags.Int("count", 1, "how many")
		globals := flags.String("globals", "", "KDS addresses, separated by commas")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return runZones(ctx, *first, *count, *globals)
	case "relay":
		forward := flags.String("forward", "", "pairs LISTEN=TARGET, separated by commas")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return runRelay(ctx, *forward)
	case "load":
		globals := flags.String("globals", "", "HTTPS addresses as NAME=HOST:PORT, separated by commas")
		hosts := flags.String("zones", "", "where zones listen as HOST:FIRST:COUNT, separated by commas")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return runLoad(ctx, *globals, *hosts)
	case "disk":
		only := flags.String("only", "", "the file that goes back; all of them where none is named")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		if flags.NArg() < 2 {
			return errors.New("disk wants keep, back or empty, and directories")
		}
		return runDisk(flags.Arg(0), *only, flags.Args()[1:])
	case "ctl":
		return ask(ctx, args[1:], os.Stdin, os.Stdout)
	}
	return fmt.Errorf("no role is called %q", args[0])
}

// controlAddr is where a load or relay listens for ctl, in its own container.
const controlAddr = "127.0.0.1:7000"

// control answers ctl until the context ends.
func control(ctx context.Context, handler http.Handler) error {
	server := &http.Server{Addr: controlAddr, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-ctx.Done()
		// What is being answered may finish: the report is.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(bounded)
	}()
	err := server.ListenAndServe()
	if errors.Is(err, http.ErrServerClosed) {
		<-ended
		return nil
	}
	return err
}

// ask posts "WHAT [ARGUMENT]" to the control port and prints the answer; of "token" and
// "rotated" the body is read from standard input: no secret stands in an argument.
func ask(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) == 0 {
		return errors.New("ctl wants what to do")
	}
	var body io.Reader = strings.NewReader(strings.Join(args[1:], " "))
	if args[0] == "token" || args[0] == "rotated" {
		body = stdin
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+controlAddr+"/"+args[0], body)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(stdout, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d", args[0], resp.StatusCode)
	}
	return nil
}

// argument is the body of a request to the control port.
func argument(r *http.Request) string {
	b, err := io.ReadAll(io.LimitReader(r.Body, 16<<10))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
