package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"maunium.net/go/mautrix/id"

	"entente/config"
	"entente/governance"
	"entente/roomserver/event"
	"entente/storage"
)

// termFlags are the terms of an agreement as flags.
type termFlags struct {
	keys                      []string
	ca, from, until, note     string
	oursInvite, theirsInvited string
	theirsInvite, oursInvited string
	roomVersions, edus        string
	suspended, replace        bool
	wait                      waiting
}

func newAgreementAdd() *cobra.Command {
	f := &termFlags{}
	cmd := &cobra.Command{
		Use:   "add PEER",
		Short: "Make an agreement with a peer, or put other terms in its place",
		Long: `Makes an agreement with the server PEER. What no flag says is permitted without
restriction. Sets of users are patterns of localparts with commas between them,
* and ? standing for any characters and for one; or all, or none.

A pinned key is the only one that counts for the peer from then on: ask the
peer for it on a channel that you trust, since a key fetched from the network
proves only who answered there. When the peer changes its key, pin the new one
first.`,
		Example: `  entente agreement add dla.example \
    --key ed25519:a1=Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw --until 2027-09-30 \
    --ours-invite 'liaison-*' --theirs-invite none --room-versions 11,12 --edus typing,receipt`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := f.agreement(args[0])
			if err != nil {
				return err
			}
			return onAgreements(cmd, func(ctx context.Context, _ *config.Config, _ *storage.DB, g *governance.Agreements) error {
				version, err := g.Add(ctx, operator(), a, f.replace)
				if err != nil {
					return err
				}
				if err := f.wait.wait(ctx, cmd.ErrOrStderr(), g, version); err != nil {
					return err
				}
				stored, err := g.Get(ctx, args[0])
				if err != nil {
					return err
				}
				return printAgreement(cmd.OutOrStdout(), stored)
			})
		},
	}
	f.flags(cmd)
	return cmd
}

func (f *termFlags) flags(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringArrayVar(&f.keys, "key", nil, "pin a signing key, as ed25519:ID=BASE64; may be given again")
	s.StringVar(&f.ca, "ca", "", "file of the certificate authorities, PEM, that alone may vouch for the peer")
	s.StringVar(&f.from, "from", "", "when it begins: 2026-10-01, or a time as 2026-10-01T08:00:00Z")
	s.StringVar(&f.until, "until", "", "when it ends; a date is in it to its end, UTC")
	s.StringVar(&f.oursInvite, "ours-invite", "all", "who of ours may invite theirs")
	s.StringVar(&f.theirsInvited, "theirs-invited", "all", "who of theirs may be invited by ours")
	s.StringVar(&f.theirsInvite, "theirs-invite", "all", "who of theirs may invite ours")
	s.StringVar(&f.oursInvited, "ours-invited", "all", "who of ours may be invited by theirs")
	s.StringVar(&f.roomVersions, "room-versions", "all", "versions of the rooms that may be shared, as 11,12")
	s.StringVar(&f.edus, "edus", "all", "ephemeral data exchanged: typing, receipt, presence, direct_to_device, device_list_update, signing_key_update")
	s.StringVar(&f.note, "note", "", "a text for people")
	s.BoolVar(&f.suspended, "suspended", false, "make it suspended, to be resumed later")
	s.BoolVar(&f.replace, "replace", false, "take the place of an agreement with the same peer")
	f.wait.flags(cmd)
}

// agreement is what the flags say.
func (f *termFlags) agreement(peer string) (governance.Agreement, error) {
	a := governance.NewAgreement(peer)
	a.Note, a.Suspended = f.note, f.suspended
	a.Outbound = governance.Invitations{By: governance.ParsePatterns(f.oursInvite), Of: governance.ParsePatterns(f.theirsInvited)}
	a.Inbound = governance.Invitations{By: governance.ParsePatterns(f.theirsInvite), Of: governance.ParsePatterns(f.oursInvited)}
	a.RoomVersions = governance.ParsePatterns(f.roomVersions)
	a.EDUs = eduTypes(governance.ParsePatterns(f.edus))
	var err error
	if a.Keys, err = parseKeys(f.keys); err != nil {
		return a, err
	}
	if f.ca != "" {
		text, err := os.ReadFile(f.ca)
		if err != nil {
			return a, fmt.Errorf("--ca: %w", err)
		}
		a.CA = string(text)
	}
	if a.ValidFrom, err = parseTime(f.from, false); err != nil {
		return a, fmt.Errorf("--from: %w", err)
	}
	if a.ValidUntil, err = parseTime(f.until, true); err != nil {
		return a, fmt.Errorf("--until: %w", err)
	}
	return a, nil
}

// eduTypes writes out names without m. before them.
func eduTypes(p governance.Patterns) governance.Patterns {
	for i, name := range p {
		if slices.Contains(governance.EDUTypes(), "m."+name) {
			p[i] = "m." + name
		}
	}
	return p
}

func parseKeys(texts []string) (map[id.KeyID]ed25519.PublicKey, error) {
	keys := map[id.KeyID]ed25519.PublicKey{}
	for _, text := range texts {
		keyID, encoded, ok := strings.Cut(text, "=")
		raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
		if !ok || err != nil || len(raw) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("--key: %q is not a key: write it as ed25519:a1=BASE64, with the 32 bytes of the public key in base64", text)
		}
		keys[id.KeyID(keyID)] = raw
	}
	return keys, nil
}

// parseTime reads a time or a date. With end, a date is the moment after its
// last one.
func parseTime(text string, end bool) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		if end {
			day = day.AddDate(0, 0, 1)
		}
		return day, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is not a time: write 2027-09-30, or 2027-09-30T12:00:00Z", text)
	}
	return at.UTC(), nil
}

// agreementView is an agreement for machines.
type agreementView struct {
	Peer         string                 `json:"peer"`
	State        string                 `json:"state"`
	Keys         map[id.KeyID]string    `json:"keys"`
	CA           string                 `json:"ca,omitempty"`
	ValidFrom    *time.Time             `json:"valid_from"`
	ValidUntil   *time.Time             `json:"valid_until"`
	Outbound     governance.Invitations `json:"outbound"`
	Inbound      governance.Invitations `json:"inbound"`
	RoomVersions governance.Patterns    `json:"room_versions"`
	EDUs         governance.Patterns    `json:"edus"`
	Note         string                 `json:"note"`
	Created      time.Time              `json:"created"`
	Changed      time.Time              `json:"changed"`
	ChangedBy    string                 `json:"changed_by"`
}

func agreementViews(all []governance.Agreement) []agreementView {
	views := make([]agreementView, len(all))
	for i := range all {
		a := &all[i]
		views[i] = agreementView{
			Peer: a.Peer, State: a.StateAt(time.Now()), Keys: map[id.KeyID]string{}, CA: a.CA,
			ValidFrom: orNull(a.ValidFrom), ValidUntil: orNull(a.ValidUntil), Outbound: a.Outbound, Inbound: a.Inbound,
			RoomVersions: a.RoomVersions, EDUs: a.EDUs, Note: a.Note, Created: a.Created, Changed: a.Changed, ChangedBy: a.ChangedBy,
		}
		for keyID, key := range a.Keys {
			views[i].Keys[keyID] = base64.RawStdEncoding.EncodeToString(key)
		}
	}
	return views
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func printJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printAgreement shows the terms, each with what it means.
func printAgreement(out io.Writer, a *governance.Agreement) error {
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "peer\t%s\n", a.Peer)
	fmt.Fprintf(t, "state\t%s\n", a.StateAt(time.Now()))
	fmt.Fprintf(t, "valid\t%s\n", validity(a))
	for _, keyID := range a.KeyIDs() {
		fmt.Fprintf(t, "key\t%s=%s\n", keyID, base64.RawStdEncoding.EncodeToString(a.Keys[keyID]))
	}
	if len(a.Keys) == 0 {
		fmt.Fprintln(t, "keys\tthose that the peer publishes")
	}
	if a.CA == "" {
		fmt.Fprintln(t, "certificates\tof the configured authorities")
	} else {
		fmt.Fprintln(t, "certificates\tof the pinned authorities alone (--json prints them)")
	}
	fmt.Fprintf(t, "ours invite\t%s may invite %s of theirs\n", a.Outbound.By, a.Outbound.Of)
	fmt.Fprintf(t, "theirs invite\t%s may invite %s of ours\n", a.Inbound.By, a.Inbound.Of)
	fmt.Fprintf(t, "room versions\t%s\n", a.RoomVersions)
	fmt.Fprintf(t, "ephemeral data\t%s\n", a.EDUs)
	if a.Note != "" {
		fmt.Fprintf(t, "note\t%s\n", strings.ReplaceAll(a.Note, "\n", " "))
	}
	fmt.Fprintf(t, "changed\t%s by %s\n", a.Changed.Format(time.RFC3339), a.ChangedBy)
	return t.Flush()
}

func validity(a *governance.Agreement) string {
	text := "from the beginning"
	if !a.ValidFrom.IsZero() {
		text = "from " + a.ValidFrom.Format(time.RFC3339)
	}
	if a.ValidUntil.IsZero() {
		return text + ", without an end"
	}
	return text + " until " + a.ValidUntil.Format(time.RFC3339)
}

func newAgreementExplain() *cobra.Command {
	var q governance.Question
	var at, from, to, version string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain PEER",
		Short: "Say what would be permitted with a peer, and which rule decides",
		Long: `Answers as a running server with this configuration would: may the peer talk to
us, which rooms and which ephemeral data may be shared, who may invite whom.
Each answer names the rule that decides; refusals in the audit log have the
same names. Nothing is changed.`,
		Example: `  entente agreement explain dla.example
  entente agreement explain dla.example --from @kim:dla.example --to @lee:dhs.example --room-version 11
  entente agreement explain dla.example --edu typing --at 2027-10-01`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Peer, q.Version = args[0], event.Version(version)
			q.Inviter, q.Invitee = id.UserID(from), id.UserID(to)
			if err := checkQuestion(&q, at); err != nil {
				return err
			}
			return onAgreements(cmd, func(ctx context.Context, cfg *config.Config, db *storage.DB, _ *governance.Agreements) error {
				policy, err := governance.Load(ctx, db, governanceSettings(cfg))
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), policy.Explain(q))
				}
				return printAnswers(cmd.OutOrStdout(), policy.Explain(q))
			})
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the user who invites")
	cmd.Flags().StringVar(&to, "to", "", "the user who is invited")
	cmd.Flags().StringVar(&version, "room-version", "", "the version of the room")
	cmd.Flags().StringVar(&q.EDU, "edu", "", "a type of ephemeral data, as typing")
	cmd.Flags().StringVar(&at, "at", "", "decide as of this time instead of now")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// checkQuestion completes a question, and says what is wrong with it.
func checkQuestion(q *governance.Question, at string) error {
	if !event.ValidServerName(q.Peer) {
		return fmt.Errorf("%q is not a server name", q.Peer)
	}
	if (q.Inviter == "") != (q.Invitee == "") {
		return fmt.Errorf("an invitation is asked about with both --from and --to")
	}
	for _, user := range []id.UserID{q.Inviter, q.Invitee} {
		if user != "" && !event.ValidUserID(user) {
			return fmt.Errorf("%q is not a user ID: write it as @kim:dla.example", user)
		}
	}
	if _, ok := event.RulesOf(q.Version); q.Version != "" && !ok {
		return fmt.Errorf("there is no room version %q", q.Version)
	}
	if q.EDU != "" {
		q.EDU = eduTypes(governance.Patterns{q.EDU})[0]
	}
	q.At = time.Now()
	moment, err := parseTime(at, false)
	if err != nil {
		return fmt.Errorf("--at: %w", err)
	}
	if at != "" {
		q.At = moment
	}
	return nil
}

func printAnswers(out io.Writer, answers []governance.Answer) error {
	for _, a := range answers {
		word := "no "
		if a.Permitted {
			word = "yes"
		}
		if _, err := fmt.Fprintf(out, "%s  %s\n     %s (%s, asked by %s)\n", word, a.Question, a.Explanation, a.Rule, a.Place); err != nil {
			return err
		}
	}
	return nil
}
