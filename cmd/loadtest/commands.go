package main

import (
	"context"
	"errors"
	"io"

	"entente/cmd/loadtest/internal/load"

	"github.com/spf13/cobra"
)

const about = `loadtest drives any Matrix homeserver, this project's or another, through its
Client-Server API and measures what clients see and what the server uses.

Before it measures it prepares: users, rooms with state and members, a history
(--warm-up), and an open sync for every client. Then it looks at the server's
processes (--pid), sends, and looks again. The result has

  throughput and latency    as clients see them
  CPU for one operation     in microseconds, and in signatures: how many
                            ed25519 signatures of 500 bytes the same machine
                            makes in that time, measured in the same run
  memory, disk growth       of the same processes and of --data-dir
  one fsync                 median of a 4 KiB write and its fsync in --data-dir

Users are registered with the shared secret (--secret) or openly. Switch the
server's rate limits off first. Each run makes its own users and rooms; use a
database of its own for a measurement that is to be compared.

  loadtest send-rooms --target http://127.0.0.1:8008 --secret s3cret \
      --pid $(pidof entente) --data-dir /var/lib/entente --clients 16 --count 20000`

// newRoot builds the command tree.
func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use: "loadtest", Short: "Measure a Matrix homeserver under load", Long: about,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	o := &options{stdout: stdout, stderr: stderr}
	root.AddCommand(sendCommands(o)...)
	root.AddCommand(fanOut(o), syncLatency(o), initialSync(o), federation(o), federatedJoin(o), cpuBaseline(o))
	return root
}

// scenario is a command with the common flags.
func (o *options) scenario(use, short, long string, run func(context.Context, *load.Lab) (*load.Result, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: short + ".\n\n" + long, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), run) },
	}
	o.register(cmd.Flags())
	return cmd
}

func sendCommands(o *options) []*cobra.Command {
	make := func(name string, clients int, oneRoom bool, short, long string) *cobra.Command {
		plan := load.SendPlan{Name: name, Clients: clients, OneRoom: oneRoom}
		cmd := o.scenario(name, short, long, func(ctx context.Context, l *load.Lab) (*load.Result, error) {
			if err := bounded(map[string]int{"clients": plan.Clients, "count": plan.Count}); err != nil {
				return nil, err
			}
			return l.Send(ctx, plan)
		})
		cmd.Flags().IntVar(&plan.Count, "count", 10_000, "messages to send")
		if clients > 1 {
			cmd.Flags().IntVar(&plan.Clients, "clients", clients, "clients that send at the same time")
		}
		return cmd
	}
	return []*cobra.Command{
		make("send-sequential", 1, false, "One client sends one message after another in one room",
			"Each message is sent when the last one is acknowledged: this shows what one\nsend costs when nothing can be gathered with it."),
		make("send-rooms", 16, false, "Each of N clients sends in a room of its own",
			"Each client sends its next message when its last one is acknowledged."),
		make("send-room", 16, true, "N clients send in one room",
			"Each client sends its next message when its last one is acknowledged. With\n--metrics and --counter the server's own counters show how many events it\ngathers into a commit."),
	}
}

func fanOut(o *options) *cobra.Command {
	var plan load.FanOutPlan
	cmd := o.scenario("fanout", "One member sends at a steady rate to M members that sync",
		"The delay of a delivery is from when its message was due until the member's\nsync has it. The run fails when a member misses a message or gets one twice.\nThe operation counted is a delivery.",
		func(ctx context.Context, l *load.Lab) (*load.Result, error) {
			if err := errors.Join(bounded(map[string]int{"receivers": plan.Members, "count": plan.Count}), positive(plan.Rate)); err != nil {
				return nil, err
			}
			return l.FanOut(ctx, plan)
		})
	cmd.Flags().IntVar(&plan.Members, "receivers", 50, "members that sync, the sender among them")
	cmd.Flags().Float64Var(&plan.Rate, "rate", 20, "messages a second")
	cmd.Flags().IntVar(&plan.Count, "count", 600, "messages to send")
	return cmd
}

func syncLatency(o *options) *cobra.Command {
	var count int
	cmd := o.scenario("sync-latency", "One client sends and waits until its own sync shows the message",
		"The delay of a delivery is from the start of the send.",
		func(ctx context.Context, l *load.Lab) (*load.Result, error) {
			if err := bounded(map[string]int{"count": count}); err != nil {
				return nil, err
			}
			return l.SyncLatency(ctx, count)
		})
	cmd.Flags().IntVar(&count, "count", 1000, "messages to send")
	return cmd
}

func initialSync(o *options) *cobra.Command {
	var rooms, count int
	cmd := o.scenario("initial-sync", "A client in R rooms syncs from nothing", "As after a login: members load lazily, timelines hold up to 100 events.",
		func(ctx context.Context, l *load.Lab) (*load.Result, error) {
			if err := bounded(map[string]int{"rooms": rooms, "count": count}); err != nil {
				return nil, err
			}
			return l.InitialSync(ctx, rooms, count)
		})
	cmd.Flags().IntVar(&rooms, "rooms", 100, "rooms that the client is in")
	cmd.Flags().IntVar(&count, "count", 20, "initial syncs, one after another")
	return cmd
}

func federation(o *options) *cobra.Command {
	var plan load.FederationPlan
	cmd := o.scenario("federation", "Messages from one homeserver to users of another",
		"Clients of the first homeserver send in a room that users of the second\n(--peer) are in. The delay of a delivery is from the send on the first to the\nsync on the second; the run ends when the last message has arrived, and fails\nwhen one does not.",
		func(ctx context.Context, l *load.Lab) (*load.Result, error) {
			if err := bounded(map[string]int{"clients": plan.Clients, "receivers": plan.Receivers, "count": plan.Count}); err != nil {
				return nil, err
			}
			return l.Federation(ctx, plan)
		})
	o.registerPeer(cmd.Flags())
	cmd.Flags().IntVar(&plan.Clients, "clients", 4, "clients that send on the first homeserver")
	cmd.Flags().IntVar(&plan.Receivers, "receivers", 1, "clients that sync on the second")
	cmd.Flags().IntVar(&plan.Count, "count", 5000, "messages to send")
	cmd.Flags().Float64Var(&plan.Rate, "rate", 0, "messages a second from one client; 0 is as fast as they are acknowledged, from all")
	return cmd
}

func federatedJoin(o *options) *cobra.Command {
	var plan load.JoinPlan
	cmd := o.scenario("federated-join", "A user of another homeserver joins a room with K state events",
		"Rooms are made on the first homeserver and joined, one after another, by a\nuser of the second (--peer), which does not know them. The last line compares\nthe second server's CPU time with that of verifying one signature for each\nstate event.",
		func(ctx context.Context, l *load.Lab) (*load.Result, error) {
			if err := bounded(map[string]int{"room-state": plan.State, "count": plan.Count}); err != nil {
				return nil, err
			}
			return l.FederatedJoin(ctx, plan)
		})
	o.registerPeer(cmd.Flags())
	cmd.Flags().IntVar(&plan.State, "room-state", 5000, "state events in each joined room")
	cmd.Flags().IntVar(&plan.Count, "count", 3, "rooms to join")
	return cmd
}

func cpuBaseline(o *options) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "cpu-baseline", Short: "Measure one signature and one fsync of this machine", Args: cobra.NoArgs,
		Long: "Measure what results are compared with: the CPU time of one ed25519.Sign of\n500 bytes, of verifying it, and the median of a 4 KiB write and its fsync.",
		RunE: func(*cobra.Command, []string) error {
			b, err := load.MeasureBaseline(dir)
			if err != nil {
				return err
			}
			return b.WriteText(o.stdout)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "folder to write and fsync in (default: the system's for temporary files)")
	return cmd
}

func positive(rate float64) error {
	if rate <= 0 {
		return errors.New("--rate must be more than 0")
	}
	return nil
}
