package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"entente/config"
	"entente/governance"
	"entente/internal/fault"
	"entente/storage"
)

func newAgreementCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agreement",
		Short: "List, make, suspend and explain agreements with other servers",
		Long: `An agreement says what this server and another one may do together: which keys
and certificates count, from when until when, who may invite whom, which rooms
and which ephemeral data.

The commands work on the database, whether the server is running or not. A
change takes effect on running servers at once, and a command that makes one
returns when no node of this server lets anything pass under the old terms.
Every change is in the audit log.`,
		Example: `  entente agreement add dla.example --until 2027-09-30 --ours-invite 'liaison-*'
  entente agreement explain dla.example --from @kim:dla.example --to @lee:dhs.example
  entente agreement suspend dla.example --reason "incident 4711"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAgreementList(), newAgreementShow(), newAgreementAdd(), newAgreementExplain())
	cmd.AddCommand(
		newAgreementChange("suspend", "Stop all traffic with a peer, and keep memberships",
			`Stops all traffic with the peer, in both directions, until "entente agreement
resume". Rooms, memberships and history stay. When the command returns, nothing
more leaves any node of this server for the peer.`, (*governance.Agreements).Suspend),
		newAgreementChange("resume", "Let traffic with a suspended peer go on",
			`Ends a suspension. What was said meanwhile is not sent after; the peer may ask
for it as far as the history visibility of each room permits.`, (*governance.Agreements).Resume),
		newAgreementChange("remove", "End an agreement",
			`Removes the agreement. From then on federation.mode decides alone about the
peer: open lets it talk to this server, listed only if the configuration lists
it. To stop all traffic, suspend instead.`, (*governance.Agreements).Remove),
	)
	return cmd
}

// onAgreements runs a command on the agreements of the configured server.
func onAgreements(cmd *cobra.Command, fn func(ctx context.Context, cfg *config.Config, db *storage.DB, g *governance.Agreements) error) error {
	return withDatabase(cmd.Context(), configPath(cmd), func(cfg *config.Config, db *storage.DB) error {
		return friendly(fn(cmd.Context(), cfg, db, governance.NewAgreements(db, cfg.ServerName, nil)))
	})
}

// friendly adds to an error what the operator can do about it.
func friendly(err error) error {
	switch fault.KindOf(err) {
	case fault.NotFound:
		return fmt.Errorf("%w: see \"entente agreement list\"", err)
	case fault.Conflict:
		return fmt.Errorf("%w: use --replace to put other terms in its place, or see \"entente agreement show\"", err)
	}
	return err
}

// waiting are the flags of commands that wait for the nodes.
type waiting struct {
	timeout time.Duration
	skip    bool
}

func (w *waiting) flags(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&w.timeout, "timeout", time.Minute, "how long to wait for the nodes to confirm")
	cmd.Flags().BoolVar(&w.skip, "no-wait", false, "return when the change is stored, before the nodes have confirmed")
}

// wait returns when every node has confirmed the policy version.
func (w *waiting) wait(ctx context.Context, out io.Writer, g *governance.Agreements, version int64) error {
	if w.skip {
		return nil
	}
	// The change is made: an interrupt ends the wait, and says so.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	err := g.Wait(ctx, version, func(lagging []storage.Node) {
		for _, n := range lagging {
			fmt.Fprintf(out, "waiting for node %s (%s), last seen %s\n", n.Host, n.ID, time.UnixMilli(n.Seen).UTC().Format(time.RFC3339))
		}
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: until they do, what was permitted before may still pass; look after these nodes, or stop them", err)
	}
	return err
}

func newAgreementChange(name, short, long string, change func(g *governance.Agreements, ctx context.Context, by, peer, reason string) (int64, error)) *cobra.Command {
	var reason string
	var w waiting
	cmd := &cobra.Command{
		Use:     name + " PEER",
		Short:   short,
		Long:    long,
		Example: "  entente agreement " + name + " dla.example --reason \"incident 4711\"",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return onAgreements(cmd, func(ctx context.Context, _ *config.Config, _ *storage.DB, g *governance.Agreements) error {
				version, err := change(g, ctx, operator(), args[0], reason)
				if err != nil {
					return err
				}
				if err := w.wait(ctx, cmd.ErrOrStderr(), g, version); err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", args[0], doneWords[name])
				return err
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	w.flags(cmd)
	return cmd
}

var doneWords = map[string]string{"suspend": "suspended", "resume": "resumed", "remove": "agreement removed"}

func newAgreementList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the agreements and their states",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onAgreements(cmd, func(ctx context.Context, cfg *config.Config, _ *storage.DB, g *governance.Agreements) error {
				all, err := g.List(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), agreementViews(all))
				}
				return printAgreements(cmd.OutOrStdout(), string(cfg.Federation.Mode), all)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printAgreements(out io.Writer, mode string, all []governance.Agreement) error {
	fmt.Fprintf(out, "federation is %s, %s\n", mode, plural(len(all), "agreement"))
	if len(all) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "\nPEER\tSTATE\tUNTIL\tKEYS\tNOTE")
	for i := range all {
		a := &all[i]
		until := "-"
		if !a.ValidUntil.IsZero() {
			until = a.ValidUntil.Format(time.RFC3339)
		}
		note, _, _ := strings.Cut(a.Note, "\n")
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", a.Peer, a.StateAt(time.Now()), until, pins(a), note)
	}
	return t.Flush()
}

// pins says in a word what is pinned.
func pins(a *governance.Agreement) string {
	switch {
	case len(a.Keys) > 0 && a.CA != "":
		return "pinned, with CA"
	case len(a.Keys) > 0:
		return "pinned"
	case a.CA != "":
		return "CA pinned"
	}
	return "published"
}

func newAgreementShow() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show PEER",
		Short: "Show the agreement with a peer",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return onAgreements(cmd, func(ctx context.Context, _ *config.Config, _ *storage.DB, g *governance.Agreements) error {
				a, err := g.Get(ctx, args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), agreementViews([]governance.Agreement{*a})[0])
				}
				return printAgreement(cmd.OutOrStdout(), a)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
