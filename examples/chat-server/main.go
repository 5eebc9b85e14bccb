// Chat-server serves a language model to browsers: texts are continued as they are typed,
// token by token, by server-sent events. Every text is a session of the model whose state
// is saved to a file after each turn, so that it goes on where it was when the server is
// started again, without being read anew.
//
//	go run ./examples/chat-server -model DIR
//
// and then open http://127.0.0.1:8080.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/seqmix/seqmix/checkpoint"
	"github.com/seqmix/seqmix/tokenizer/textmodel"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], func(addr string) { fmt.Printf("http://%s\n", addr) }); err != nil {
		fmt.Fprintln(os.Stderr, "chat-server:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. ready is told the address.
func run(ctx context.Context, args []string, ready func(addr string)) error {
	f := flag.NewFlagSet("chat-server", flag.ContinueOnError)
	path := f.String("model", "", "directory or file of the model (required)")
	tok := f.String("tokenizer", "", "tokenizer: a file or directory, bytes, or dna (default: what lies beside the model)")
	addr := f.String("addr", "127.0.0.1:8080", "address to serve on")
	dir := f.String("sessions", "sessions", "folder in which sessions are saved")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if *path == "" || f.NArg() > 0 {
		return errors.New("usage: chat-server -model DIR")
	}
	m, err := textmodel.Open(*path, textmodel.Options{
		Tokenizer: *tok,
		Found:     func(m *checkpoint.ModelFile) { fmt.Println(m) },
	})
	if err != nil {
		return err
	}
	s, err := openStore(m, *dir)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler(s), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		done <- server.Shutdown(closing)
	}()
	ready(l.Addr().String())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-done
}
