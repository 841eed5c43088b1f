package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func newServeCommand() *cobra.Command {
	var serverName string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Runs the server until it is interrupted, and then finishes what it acknowledged.

The first start needs no preparation: without a configuration it writes one that
explains each setting, makes a signing key and a database, and says where. It
also prints how to make the first administrator.`,
		Example: `  entente serve                             with ./entente.yaml, made if need be
  entente serve --server-name example.org   name the server on its first start
  entente serve --config /etc/entente.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), configPath(cmd), serverName, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&serverName, "server-name", "localhost", "the server's name, written into a new configuration; it cannot be changed later")
	return cmd
}

func serve(ctx context.Context, path, serverName string, out io.Writer) error {
	made, err := prepare(path, serverName)
	if err != nil {
		return err
	}
	for _, line := range made.Made {
		fmt.Fprintln(out, line)
	}
	s, err := newServer(ctx, serverOptions{Config: made.Config, Key: made.Key, Log: newLogger(made.Config.Logging, out)})
	if err != nil {
		return err
	}
	if err := s.greet(ctx, out); err != nil {
		return err
	}
	return s.run(ctx)
}

// greet says where the server listens, and how the first administrator is
// made.
func (s *server) greet(ctx context.Context, out io.Writer) error {
	for _, l := range s.listeners {
		scheme := "http"
		if l.secure {
			scheme = "https"
		}
		for _, addr := range l.Addrs() {
			fmt.Fprintf(out, "%s listens on %s://%s\n", s.cfg.ServerName, scheme, addr)
		}
	}
	code, err := s.accounts.FirstAdministrator(ctx)
	if err != nil || code == "" {
		return err
	}
	fmt.Fprintf(out, `There is no administrator yet. Make one with
    entente user create --admin NAME
or register from any client within a day, with this registration token, good once:
    %s
`, code)
	return nil
}
