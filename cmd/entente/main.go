// Command entente is a Matrix homeserver for agencies that federate, and the
// commands of its operators. Nothing but wiring lives here.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// gcPercent lets the heap grow to four times what lives before it is collected:
// little lives, so collecting often would cost more than the memory is worth.
const gcPercent = 300

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// errReported is an error whose text its command has printed already.
var errReported = errors.New("reported")

// run is main with everything that a test wants to hold in its hands. It
// answers the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if !errors.Is(err, errReported) {
		fmt.Fprintln(stderr, "entente:", err)
	}
	return 1
}

// defaultConfig is where the configuration is unless --config says otherwise.
const defaultConfig = "entente.yaml"

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "entente",
		Short: "A Matrix homeserver for agencies that federate",
		Long: `Entente is a Matrix homeserver. Each agency runs its own; they meet in shared
rooms by federation, under agreements that each side can read, change and prove.

Every command reads the same file, entente.yaml in the current folder unless
--config names another one. Relative paths in it start at its own folder.`,
		Example: `  entente demo                            see two agencies share a room
  entente serve                           run the server, prepared by itself
  entente config default > entente.yaml   write a configuration to start from
  entente config check                    find every mistake in it
  entente config reference                read what each setting means`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringP("config", "c", defaultConfig, "the configuration file")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		newServeCommand(), newDemoCommand(), newUserCommand(), newAgreementCommand(), newAuditCommand(), newConfigCommand(), newVersionCommand(),
	)
	return root
}

// configPath is the file that --config names.
func configPath(cmd *cobra.Command) string {
	path, _ := cmd.Flags().GetString("config") // every command has the flag
	return path
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "entente", version())
			return err
		},
	}
}

// version is what the build knows of the source it was made from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	text, modified := info.Main.Version, ""
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision" && (text == "" || text == "(devel)"):
			text = setting.Value[:min(len(setting.Value), 12)]
		case setting.Key == "vcs.modified" && setting.Value == "true":
			modified = " (modified)"
		}
	}
	if text == "" {
		text = "unknown"
	}
	return text + modified + " " + info.GoVersion
}
