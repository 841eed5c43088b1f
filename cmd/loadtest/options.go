package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"entente/cmd/loadtest/internal/load"

	"github.com/spf13/pflag"
)

// options are the flags that every scenario has.
type options struct {
	stdout, stderr io.Writer

	target, peer load.Target
	realism      load.Realism
	allowRemote  bool
	json         string
	timeout      time.Duration
	settle       time.Duration
	rest         time.Duration
	workers      int
	quiet        bool
}

// maxCount bounds every number of requests, so that a slip of a finger does
// not fill a disk.
const maxCount = 10_000_000

func (o *options) register(f *pflag.FlagSet) {
	registerTarget(f, &o.target, "", "the homeserver")
	f.BoolVar(&o.allowRemote, "allow-remote", false, "permit a homeserver that is not on this machine; by default every connection but to a loopback address is refused")
	f.IntVar(&o.realism.State, "state", 50, "state events in each room before the measurement, members included")
	f.IntVar(&o.realism.Members, "members", 10, "local members of each room; those that do not send do not sync")
	f.IntVar(&o.realism.WarmUp, "warm-up", 10_000, "messages sent before the measurement, over all rooms")
	f.BoolVar(&o.realism.OpenSyncs, "open-syncs", true, "keep a sync open for every client that sends")
	f.StringVar(&o.realism.RoomVersion, "room-version", "", "version of the rooms (default: the server's)")
	f.StringVar(&o.json, "json", "", `also write the result as JSON to this file; "-" is standard output, and the table then goes to standard error`)
	f.DurationVar(&o.timeout, "timeout", 30*time.Minute, "give up after this time, preparation included")
	f.DurationVar(&o.settle, "settle", 30*time.Second, "how long to wait for the next late delivery")
	f.DurationVar(&o.rest, "rest", 3*time.Second, "pause between preparation and measurement, for what the server still has to do")
	f.IntVar(&o.workers, "workers", 8, "requests in flight during preparation")
	f.BoolVar(&o.quiet, "quiet", false, "no progress on standard error")
}

// registerPeer adds the flags of the second homeserver.
func (o *options) registerPeer(f *pflag.FlagSet) {
	registerTarget(f, &o.peer, "peer-", "the second homeserver")
}

func registerTarget(f *pflag.FlagSet, t *load.Target, prefix, who string) {
	name, base := prefix+"target", "http://127.0.0.1:8008"
	if prefix != "" {
		name, base = "peer", ""
	}
	f.StringVar(&t.Base, name, base, "base URL of the Client-Server API of "+who)
	f.StringVar(&t.Secret, prefix+"secret", "", "registration shared secret of "+who+", for POST /_synapse/admin/v1/register; without it users register openly with m.login.dummy")
	f.StringVar(&t.CA, prefix+"ca", "", "file with the CA that signed the certificate of "+who)
	f.IntSliceVar(&t.PIDs, prefix+"pid", nil, "process of "+who+" whose CPU time and memory are measured; repeat it for several (workers, a database), which add up")
	f.StringVar(&t.DataDir, prefix+"data-dir", "", "data folder of "+who+": its growth is measured, and the fsync baseline taken in it")
	f.StringVar(&t.Metrics, prefix+"metrics", "", "URL of the Prometheus metrics of "+who)
	f.StringSliceVar(&t.Counters, prefix+"counter", nil, "counter among them whose increase is shown; repeat it for several")
}

// run prepares a lab, runs a scenario in it and prints what it came to.
func (o *options) run(ctx context.Context, scenario func(context.Context, *load.Lab) (*load.Result, error)) (err error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	lab := &load.Lab{Realism: o.realism, Settle: o.settle, Rest: o.rest, Workers: o.workers}
	o.target.AllowRemote, o.peer.AllowRemote = o.allowRemote, o.allowRemote
	if lab.Server, err = load.Connect(o.target); err != nil {
		return err
	}
	defer lab.Server.Close()
	if o.peer.Base != "" {
		if lab.Peer, err = load.Connect(o.peer); err != nil {
			return err
		}
		defer lab.Peer.Close()
	}
	if !o.quiet {
		lab.Progress = newProgress(o.stderr).show
	}
	result, err := scenario(ctx, lab)
	if err != nil {
		return err
	}
	return errors.Join(o.print(result), result.Check())
}

func (o *options) print(r *load.Result) error {
	table := o.stdout
	if o.json == "-" {
		table = o.stderr
	}
	if err := r.WriteText(table); err != nil {
		return err
	}
	switch o.json {
	case "":
		return nil
	case "-":
		return r.WriteJSON(o.stdout)
	}
	f, err := os.Create(o.json)
	if err != nil {
		return err
	}
	return errors.Join(r.WriteJSON(f), f.Close())
}

// bounded checks the numbers of a scenario.
func bounded(numbers map[string]int) error {
	for name, n := range numbers {
		if n < 1 || n > maxCount {
			return fmt.Errorf("--%s must be between 1 and %d, not %d", name, maxCount, n)
		}
	}
	return nil
}
