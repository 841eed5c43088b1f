package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"entente/accounts"
	"entente/config"
	"entente/governance"
	"entente/roomserver"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

func newDemoCommand() *cobra.Command {
	var dir string
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start two agencies that share a room, on this machine",
		Long: `Starts two agencies on loopback, each with its own database, signing key and
certificate of a private authority. They make an agreement, a user of each joins
a shared room, and a message goes each way. Then both stay up: log in with any
Matrix client, with what is printed at the end.

Each agency is an ordinary server with an ordinary configuration file. Try the
other commands on them, for example
    entente agreement list --config DIR/interior/entente.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				made, err := os.MkdirTemp("", "entente-demo-")
				if err != nil {
					return err
				}
				dir = made
			}
			return (&demo{dir: dir, once: once, out: cmd.OutOrStdout()}).run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "an empty folder to keep everything in (a temporary one)")
	cmd.Flags().BoolVar(&once, "once", false, "stop when everything has been shown")
	return cmd
}

// demo is two agencies in one process.
type demo struct {
	dir  string
	once bool
	out  io.Writer

	agencies []*demoAgency
}

// demoAgency is one of them.
type demoAgency struct {
	*server
	folder   string // its folder's name
	domain   string // its server name
	user     string // localpart of its user
	password string
	client   int // port for clients
	peering  int // port for other servers
}

// demoTime bounds what is shown before the agencies are left running.
const demoTime = time.Minute

func (d *demo) run(ctx context.Context) error {
	d.agencies = []*demoAgency{
		{folder: "interior", domain: "interior.example", user: "alice", client: 8008, peering: 8448},
		{folder: "transport", domain: "transport.example", user: "bob", client: 8009, peering: 8449},
	}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, running := errgroup.WithContext(ctx)
	for _, a := range d.agencies {
		group.Go(func() error { return a.run(running) })
	}
	group.Go(func() error {
		bounded, cancel := context.WithTimeout(running, demoTime)
		defer cancel()
		if err := d.show(bounded); err != nil {
			return err
		}
		if d.once {
			stop()
		}
		return nil
	})
	return group.Wait()
}

// say prints one step.
func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// prepare writes what each agency needs and opens its server.
func (d *demo) prepare(ctx context.Context) error {
	if entries, err := os.ReadDir(d.dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty: give an empty folder with --dir", d.dir)
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	ca, err := newAuthority(d.dir)
	if err != nil {
		return err
	}
	for _, a := range d.agencies {
		a.password = rand.Text()[:12]
		if a.client, err = freePort(ctx, a.client); err != nil {
			return err
		}
		if a.peering, err = freePort(ctx, a.peering); err != nil {
			return err
		}
	}
	for _, a := range d.agencies {
		folder := filepath.Join(d.dir, a.folder)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
		if err := ca.issue(folder, a.domain); err != nil {
			return err
		}
		if err := d.open(ctx, a, folder); err != nil {
			return err
		}
		d.say("%s runs as %s, with its own database, key and certificate in %s", a.folder, a.domain, folder)
	}
	return nil
}

// open writes an agency's configuration and opens its server from it.
func (d *demo) open(ctx context.Context, a *demoAgency, folder string) error {
	cfg := config.Default()
	cfg.ServerName = a.domain
	cfg.DataDir = "data"
	cfg.Listeners = []config.Listener{
		{Addresses: []string{loopback(a.client)}, Resources: []string{config.ResourceClient}},
		{
			Addresses: []string{loopback(a.peering)}, Resources: []string{config.ResourceFederation},
			TLS: config.TLS{CertFile: "tls.crt", KeyFile: "tls.key"},
		},
	}
	cfg.WellKnown.Client = "http://" + loopback(a.client)
	cfg.Admin.Address = "off"
	cfg.Federation.Mode = config.FederationListed
	cfg.Federation.AllowedRanges = []string{"127.0.0.0/8"}
	cfg.Federation.CAFiles = []string{"../ca.pem"}
	cfg.Federation.SystemRoots = false
	cfg.Federation.Static = map[string]string{}
	for _, other := range d.agencies {
		if other != a {
			cfg.Federation.Static[other.domain] = loopback(other.peering)
		}
	}
	cfg.Logging.Level = "warn"
	text, err := config.Example(cfg)
	if err != nil {
		return err
	}
	path := filepath.Join(folder, "entente.yaml")
	if err := config.CreateFile(path, []byte(text)); err != nil {
		return err
	}
	made, err := prepare(path, a.domain)
	if err != nil {
		return err
	}
	a.server, err = newServer(ctx, serverOptions{Config: made.Config, Key: made.Key, Log: newLogger(made.Config.Logging, d.out)})
	return err
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// freePort is the wanted port if nobody has it, or another one.
func freePort(ctx context.Context, wanted int) (int, error) {
	for _, port := range []int{wanted, 0} {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", loopback(port))
		if err == nil {
			port = l.Addr().(*net.TCPAddr).Port
			return port, l.Close()
		}
	}
	return 0, errors.New("no port is free on loopback")
}

// show lets the agencies meet.
func (d *demo) show(ctx context.Context) error {
	interior, transport := d.agencies[0], d.agencies[1]
	for _, a := range d.agencies {
		if err := d.agree(ctx, a); err != nil {
			return err
		}
		_, _, err := a.accounts.Create(ctx, accounts.NewUser{Localpart: a.user, Password: a.password, DisplayName: a.user, Via: "demo"})
		if err != nil {
			return err
		}
	}
	room, err := interior.rooms.Create(ctx, roomserver.CreateRequest{
		Creator: interior.userID(), Name: "Interior and Transport", Preset: "private_chat", Invite: []id.UserID{transport.userID()},
		Member: roomserver.Profile{DisplayName: interior.user},
	})
	if err != nil {
		return fmt.Errorf("%s makes a room and invites %s: %w", interior.userID(), transport.userID(), err)
	}
	d.say("%s made a room and invited %s", interior.userID(), transport.userID())
	join := roomserver.MemberRequest{
		Room: room, Sender: transport.userID(), Target: transport.userID(), Profile: roomserver.Profile{DisplayName: transport.user},
	}
	if err := transport.rooms.Join(ctx, join); err != nil {
		return fmt.Errorf("%s joins: %w", transport.userID(), err)
	}
	d.say("%s joined it by federation, in room version 12", transport.userID())
	for _, way := range [][2]*demoAgency{{interior, transport}, {transport, interior}} {
		if err := d.speak(ctx, room, way[0], way[1]); err != nil {
			return err
		}
	}
	d.farewell(room)
	return nil
}

func (a *demoAgency) userID() id.UserID { return id.NewUserID(a.user, a.domain) }

// agree makes an agency's agreement with the other one.
func (d *demo) agree(ctx context.Context, a *demoAgency) error {
	agreements := governance.NewAgreements(a.db, a.domain, nil)
	for _, other := range d.agencies {
		if other == a {
			continue
		}
		version, err := agreements.Add(ctx, operator(), governance.NewAgreement(other.domain), false)
		if err != nil {
			return err
		}
		if err := agreements.Wait(ctx, version, func([]storage.Node) {}); err != nil {
			return err
		}
		d.say("%s agreed to exchange with %s", a.domain, other.domain)
	}
	return nil
}

// speak sends a message from one agency and waits for it on the other.
func (d *demo) speak(ctx context.Context, room id.RoomID, from, to *demoAgency) error {
	start := time.Now()
	body, err := json.Marshal(map[string]string{"msgtype": "m.text", "body": "Hello from " + from.domain})
	if err != nil {
		return err
	}
	sent, err := from.rooms.Send(ctx, roomserver.SendRequest{Room: room, Draft: roomserver.Draft{
		Type: "m.room.message", Sender: from.userID(), Content: body,
	}})
	if err != nil {
		return fmt.Errorf("%s sends: %w", from.userID(), err)
	}
	if err := to.arrival(ctx, room, sent.EventID); err != nil {
		return fmt.Errorf("a message from %s did not reach %s: %w", from.domain, to.domain, err)
	}
	d.say("%s said hello, and %s had it after %s", from.userID(), to.domain, time.Since(start).Round(time.Millisecond))
	return nil
}

// arrival waits until an event is in the agency's room.
func (a *demoAgency) arrival(ctx context.Context, room id.RoomID, eventID id.EventID) error {
	info, err := a.rooms.Info(ctx, room)
	if err != nil {
		return err
	}
	for pos := a.db.Applied(); ; pos = a.db.Applied() {
		found, err := a.db.Latest().NIDs(ctx, info.NID, []id.EventID{eventID})
		if err != nil || len(found) > 0 {
			return err
		}
		if err := a.db.CatchUp(ctx, pos+1); err != nil {
			return err
		}
	}
}

// farewell prints what a person needs to log in.
func (d *demo) farewell(room id.RoomID) {
	d.say("\nBoth agencies are running. Log in with any Matrix client:\n")
	for _, a := range d.agencies {
		d.say("    homeserver  http://%s\n    user        %s\n    password    %s\n", loopback(a.client), a.userID(), a.password)
	}
	d.say("They share the room %s.\nEverything is in %s.", room, d.dir)
	if !d.once {
		d.say("Press Ctrl-C to stop.")
	}
}
