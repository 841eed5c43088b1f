package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"maunium.net/go/mautrix/id"

	"entente/config"
	"entente/governance/audit"
	"entente/roomserver/event"
	"entente/storage"
)

func newAuditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Read the audit log, prove it, and sign how far it goes",
		Long: `The audit log keeps logins, refusals, changes of agreements and acts of
administrators. Each record is chained to the one before by a hash; a checkpoint
is the hash of the last record, signed with the server's key. Whoever keeps
checkpoints where the server cannot reach them can prove the log later.`,
		Example: `  entente audit show --since 24h
  entente audit checkpoint >> /media/vault/checkpoints.jsonl
  entente audit verify --checkpoint /media/vault/checkpoints.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAuditShow(), newAuditExport(), newAuditVerify(), newAuditCheckpoint())
	return cmd
}

// auditPage is how many records are read at once.
const auditPage = 500

// eachRecord calls fn for every record since a time or a duration ago.
func eachRecord(ctx context.Context, db *storage.DB, since string, fn func(e storage.AuditEntry) error) error {
	from, err := parseSince(since)
	if err != nil {
		return err
	}
	after := int64(0)
	if !from.IsZero() {
		first, err := db.Latest().AuditSince(ctx, from.UnixMilli())
		if err != nil || first == 0 {
			return err
		}
		after = first - 1
	}
	for {
		page, err := db.Latest().Audit(ctx, after, auditPage)
		if err != nil {
			return fmt.Errorf("read the audit log: %w", err)
		}
		for _, e := range page {
			if err := fn(e); err != nil {
				return err
			}
		}
		if len(page) < auditPage {
			return nil
		}
		after = page[len(page)-1].Seq
	}
}

// parseSince reads a time, a date, or how long ago; empty is the beginning.
func parseSince(text string) (time.Time, error) {
	var ago config.Duration
	if text != "" && ago.UnmarshalText([]byte(text)) == nil {
		return time.Now().Add(-ago.Std()), nil
	}
	at, err := parseTime(text, false)
	if err != nil {
		return at, fmt.Errorf("--since: %w, or how long ago, as 24h or 7d", err)
	}
	return at, nil
}

func newAuditShow() *cobra.Command {
	var since, kind, server, who string
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the audit log for people",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withDatabase(cmd.Context(), configPath(cmd), func(_ *config.Config, db *storage.DB) error {
				return eachRecord(cmd.Context(), db, since, func(e storage.AuditEntry) error {
					r, err := audit.Read(e.AuditRecord)
					if err != nil {
						_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d  cannot be read: see \"entente audit verify\"\n", e.Seq)
						return err
					}
					if kind != "" && string(r.Kind) != kind || server != "" && r.Server != server || who != "" && r.Who != who && r.Target != who {
						return nil
					}
					return printRecord(cmd.OutOrStdout(), e.Seq, &r)
				})
			})
		},
	}
	cmd.Flags().StringVar(&since, "since", "24h", "how long ago, as 24h or 7d, or a date or time")
	cmd.Flags().StringVar(&kind, "kind", "", "only records of this kind, as policy or login")
	cmd.Flags().StringVar(&server, "peer", "", "only records about this server")
	cmd.Flags().StringVar(&who, "user", "", "only records of what this user did, or what was done to them")
	return cmd
}

func printRecord(out io.Writer, seq int64, r *audit.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d  %s  %s %s", seq, r.At.Format(time.RFC3339), r.Kind, r.Outcome)
	for _, field := range []struct{ name, value string }{
		{"what", r.What}, {"who", r.Who}, {"target", r.Target}, {"room", string(r.Room)}, {"server", r.Server},
		{"address", r.Address}, {"rule", r.Rule},
	} {
		if field.value != "" && !(field.name == "target" && r.Target == r.Who) {
			fmt.Fprintf(&b, "  %s=%s", field.name, shown(field.value))
		}
	}
	if r.Count > 1 {
		fmt.Fprintf(&b, "  %d times since %s", r.Count, r.First.Format(time.TimeOnly))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Detail)) {
		fmt.Fprintf(&b, "  %s=%s", shown(name), shown(r.Detail[name]))
	}
	_, err := fmt.Fprintln(out, b.String())
	return err
}

// shown is a text that a terminal may get: strangers choose some of them.
func shown(text string) string {
	quoted := fmt.Sprintf("%q", text)
	if quoted == `"`+text+`"` && !strings.ContainsAny(text, " =") {
		return text
	}
	return quoted
}

func newAuditExport() *cobra.Command {
	var since string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print the audit log as JSON lines",
		Long: `Prints one JSON object for each record, in the form that sinks get: server name,
number, time, hash, and the record. What the fields mean is in docs/audit-log.md.`,
		Example: "  entente audit export --since 2026-10-01 > october.jsonl",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withDatabase(cmd.Context(), configPath(cmd), func(cfg *config.Config, db *storage.DB) error {
				return eachRecord(cmd.Context(), db, since, func(e storage.AuditEntry) error {
					_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", audit.Line(cfg.ServerName, e))
					return err
				})
			})
		},
	}
	cmd.Flags().StringVar(&since, "since", "", "how long ago, as 24h or 7d, or a date or time; the beginning if left out")
	return cmd
}

func newAuditCheckpoint() *cobra.Command {
	return &cobra.Command{
		Use:   "checkpoint",
		Short: "Print a signed checkpoint of the audit log",
		Long: `Prints how far the audit log goes and the hash of its last record, signed with
the server's signing key, on one line. Keep it where the server cannot reach it.`,
		Example: "  entente audit checkpoint >> /media/vault/checkpoints.jsonl",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withDatabase(cmd.Context(), configPath(cmd), func(cfg *config.Config, db *storage.DB) error {
				key, err := config.ReadSigningKey(cfg.Signing.KeyFile)
				if err != nil {
					return fmt.Errorf("read the signing key: %w", err)
				}
				c, err := audit.NewCheckpoint(cmd.Context(), db, cfg.ServerName, time.Now())
				if err != nil {
					return err
				}
				line, err := c.Sign(event.Signer{Server: cfg.ServerName, KeyID: id.KeyID(key.ID), Key: key.Private})
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", line)
				return err
			})
		},
	}
}

func newAuditVerify() *cobra.Command {
	var files []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Find every record that was edited, removed, inserted or moved",
		Long: `Reads the whole log and checks the chain of hashes. The chain alone cannot show
that records were cut off at its end, or that all of it was written anew: for
that, give the checkpoints that were exported before. A file that a sink wrote
will do too, since it holds checkpoints among the records.

It ends with status 1 if anything is wrong.`,
		Example: "  entente audit verify --checkpoint /media/vault/checkpoints.jsonl",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withDatabase(cmd.Context(), configPath(cmd), func(cfg *config.Config, db *storage.DB) error {
				checkpoints, err := readCheckpoints(cfg, files)
				if err != nil {
					return err
				}
				report, err := audit.Verify(cmd.Context(), db, checkpoints)
				if err != nil {
					return err
				}
				return printReport(cmd.OutOrStdout(), report, asJSON)
			})
		},
	}
	cmd.Flags().StringArrayVar(&files, "checkpoint", nil, "file of exported checkpoints; may be given again")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func readCheckpoints(cfg *config.Config, files []string) ([]audit.Checkpoint, error) {
	if len(files) == 0 {
		return nil, nil
	}
	keys, err := ownKeys(cfg)
	if err != nil {
		return nil, err
	}
	var all []audit.Checkpoint
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--checkpoint: %w", err)
		}
		found, err := audit.ReadCheckpoints(text, cfg.ServerName, func(keyID id.KeyID) (ed25519.PublicKey, bool) {
			key, ok := keys[keyID]
			return key, ok
		})
		if err != nil {
			return nil, fmt.Errorf("--checkpoint: %s: %w", file, err)
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("--checkpoint: %s holds no checkpoint", file)
		}
		all = append(all, found...)
	}
	return all, nil
}

// ownKeys are the public keys of this server, the old ones too.
func ownKeys(cfg *config.Config) (map[id.KeyID]ed25519.PublicKey, error) {
	keys := map[id.KeyID]ed25519.PublicKey{}
	for _, old := range cfg.Signing.OldKeys {
		raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(old.Key, "="))
		if err != nil {
			return nil, fmt.Errorf("signing.old_keys: %s: %w", old.ID, err)
		}
		keys[id.KeyID(old.ID)] = raw
	}
	key, err := config.ReadSigningKey(cfg.Signing.KeyFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read the signing key: %w", err)
	}
	if err == nil {
		keys[id.KeyID(key.ID)] = key.Private.Public().(ed25519.PublicKey)
	}
	return keys, nil
}

// printReport prints what verification found, and fails if it found anything.
func printReport(out io.Writer, r *audit.Report, asJSON bool) error {
	if asJSON {
		if err := printJSON(out, r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(out, "%s, %s compared", plural(int(r.Records), "record"), plural(r.Checkpoints, "checkpoint"))
		if r.Proven > 0 {
			fmt.Fprintf(out, ", proven up to record %d", r.Proven)
		}
		fmt.Fprintln(out)
		for _, f := range r.Findings {
			fmt.Fprintf(out, "%s: %s\n", f.What, f.Text)
		}
		if len(r.Findings) == 0 {
			fmt.Fprintln(out, "nothing is wrong")
		}
	}
	if len(r.Findings) > 0 {
		return errReported
	}
	return nil
}
