package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"entente/accounts"
	"entente/config"
	"entente/storage"
)

func newUserCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Make accounts",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newUserCreate())
	return cmd
}

func newUserCreate() *cobra.Command {
	var admin bool
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make an account; the password is read from standard input",
		Long: `Makes an account in the server's database, whether the server runs or not.
The password is the first line of standard input, so that it stands in no
history and no list of processes.`,
		Example: `  entente user create --admin alice
  printf '%s\n' "$PASSWORD" | entente user create bob`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			fmt.Fprint(cmd.ErrOrStderr(), "Password: ")
			password, err := readPassword(cmd.InOrStdin())
			if err != nil {
				return err
			}
			return withDatabase(cmd.Context(), configPath(cmd), func(cfg *config.Config, db *storage.DB) error {
				s := &server{cfg: cfg, db: db}
				user, _, err := newAccounts(s).Create(cmd.Context(), accounts.NewUser{Localpart: args[0], Password: password, Admin: admin})
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), user)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&admin, "admin", false, "make the user an administrator of the server")
	return cmd
}

func readPassword(in io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("the password is empty: give it on standard input")
	}
	return line, nil
}
