package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"entente/config"
)

func newConfigCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check, explain and write configurations",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigCheck(), newConfigReference(), newConfigDefault(), newConfigKey())
	return cmd
}

func newConfigCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Report every mistake in the configuration, with its line and a remedy",
		Long: `Reads the configuration and the files that it names, and reports every mistake
at once, each with its line and a remedy. It changes nothing, and it is safe to
run while the server is running. It ends with status 1 if there is a mistake.`,
		Example: "  entente config check --config /etc/entente/entente.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := configPath(cmd)
			_, err := config.Load(path)
			mistakes := config.Mistakes(nil)
			if errors.As(err, &mistakes) {
				fmt.Fprintln(cmd.ErrOrStderr(), mistakes)
				fmt.Fprintln(cmd.ErrOrStderr(), plural(len(mistakes), "mistake"))
				return errReported
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), path+": no mistakes")
			return err
		},
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func newConfigReference() *cobra.Command {
	return &cobra.Command{
		Use:   "reference",
		Short: "Print what each setting means, in Markdown",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := config.Reference()
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
}

func newConfigDefault() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "default",
		Short: "Print a configuration to start from, with every setting explained",
		Example: `  entente config default --server-name example.org > entente.yaml
  chmod 600 entente.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg := config.Default()
			cfg.ServerName = name
			text, err := config.Example(cfg)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().StringVar(&name, "server-name", "localhost", "the name that user IDs end in; it cannot be changed later")
	return cmd
}

func newConfigKey() *cobra.Command {
	return &cobra.Command{
		Use:   "key FILE",
		Short: "Make a new signing key",
		Long: `Writes a new signing key to FILE, which must not exist yet, and prints the key's
ID. To rotate keys, list the current key under signing.old_keys, name the new
file in signing.key_file and restart the server.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := config.CreateSigningKey(args[0])
			if err != nil {
				return fmt.Errorf("make a signing key: %w", err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), key.ID)
			return err
		},
	}
}
