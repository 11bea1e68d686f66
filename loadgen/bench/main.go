//go:build linux

// Command bench measures brokers and the load generator side by side, in one run on one machine, and prints tables.
//
//	go run ./loadgen/bench brokers                         the embedded broker, and mosquitto where it is installed
//	go run ./loadgen/bench brokers -broker 'mochi=mochi.sh {port}' -modes fan-in-0,pairs-1
//	go run ./loadgen/bench generator                       the load generator beside a loop on libmosquitto
//	go run ./loadgen/bench clients -n 1000,10000           memory for each client of both sides
//
// Rates mix broker and loader, which share the machine; what compares is the processor time of the broker for one million
// messages delivered. Everything is measured anew by each run; nothing is remembered.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	// Brokers are told to end when the thread that started them ends, so it has to be one that lasts. It is the loader, too.
	runtime.LockOSThread()
	if len(os.Args) == 3 && os.Args[1] == serveArg {
		fmt.Fprintln(os.Stderr, serve(os.Args[2]))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 5 && os.Args[1] == idleArg {
		if err := idleClients(ctx, os.Args[2:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	err := run(ctx, os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("say what to measure: brokers, generator or clients")
	}
	switch args[0] {
	case "brokers":
		return benchBrokers(ctx, args[1:], out)
	case "generator":
		return benchGenerator(ctx, args[1:], out)
	case "clients":
		return benchClients(ctx, args[1:], out)
	}
	return fmt.Errorf("%q cannot be measured; say brokers, generator or clients", args[0])
}
