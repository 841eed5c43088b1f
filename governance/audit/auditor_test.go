package audit_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"entente/governance/audit"
	"entente/storage"
	"entente/storage/storagetest"
)

// refusal is a record of one.
func refusal(peer, rule string) audit.Record {
	return audit.Record{Kind: audit.Policy, Server: peer, Rule: rule}
}

// The first refusal of a peer and a rule is in the log at once; its repeats
// come together, with their count, when a minute is over, and what is left
// when the server stops.
func TestRepeatsAreGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := storage.Open(t.Context(), storagetest.SQLite(t))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		a := audit.New(audit.Options{DB: db})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		start := time.Now()
		for range 100 {
			a.Refused(refusal("evil.example", "federation.not_listed"))
			pass(time.Second / 4)
		}
		a.Refused(refusal("evil.example", "agreement.edu"))
		if got := records(t, db); len(got) != 1 || got[0].Count != 1 || got[0].Outcome != audit.Refused {
			t.Errorf("at first the log has %+v", got)
		}
		pass(time.Minute)
		got := records(t, db)
		if len(got) != 3 || got[1].Rule != "agreement.edu" || got[1].Count != 1 || got[2].Count != 99 ||
			got[2].First.Sub(start).Round(time.Second/4) != time.Second/4 || got[2].At.Sub(start).Round(time.Second) != 25*time.Second {
			t.Errorf("after the minute the log has %+v", got)
		}
		a.Refused(refusal("evil.example", "agreement.edu")) // in a window of its own, or a repeat
		a.Refused(refusal("evil.example", "agreement.edu"))
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		total := int64(0)
		for _, r := range records(t, db) {
			total += r.Count
		}
		if total != 103 {
			t.Errorf("the log counts %d refusals of 103", total)
		}
	})
}

// However many names strangers make up, the log grows by a bounded number of
// records, and counts every refusal.
func TestMadeUpNamesAreBounded(t *testing.T) {
	db := open(t, storagetest.SQLite(t))
	now := noon()
	a := audit.New(audit.Options{DB: db, Now: func() time.Time { return now }})
	for i := range 5000 {
		a.Refused(refusal(fmt.Sprintf("s%d.example", i), "federation.not_listed"))
	}
	if err := a.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var total, others int64
	all := records(t, db)
	for _, r := range all {
		total += r.Count
		if r.Server == "*" {
			others += r.Count
		}
	}
	if len(all) > 1002 || total != 5000 || others != 4000 {
		t.Errorf("%d records count %d refusals, %d of them of others", len(all), total, others)
	}
	now = now.Add(3 * time.Minute)
	for range 2 {
		if err := a.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	a.Refused(refusal("late.example", "federation.not_listed"))
	if err := a.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if last := records(t, db); last[len(last)-1].Server != "late.example" {
		t.Error("names of an earlier minute still take room")
	}
}

// Refusals noted by many at once, while they are written, are all counted.
func TestRefusedConcurrently(t *testing.T) {
	db := open(t, storagetest.SQLite(t))
	a := audit.New(audit.Options{DB: db})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				a.Refused(refusal(fmt.Sprintf("s%d.example", j%5), "rule"))
				if j%50 == i {
					if err := a.Flush(context.Background()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if err := a.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, r := range records(t, db) {
		total += r.Count
	}
	if total != 1600 {
		t.Errorf("%d of 1600 are counted", total)
	}
	if report, err := audit.Verify(t.Context(), db, nil); err != nil || len(report.Findings) != 0 {
		t.Errorf("the chain: %+v, error %v", report, err)
	}
}

// What the database did not take is written later, once.
func TestRefusalsOutliveAFailure(t *testing.T) {
	o := storagetest.SQLite(t)
	db := open(t, o)
	i := intrude(t, o)
	a := audit.New(audit.Options{DB: db})
	a.Refused(refusal("evil.example", "rule"))
	i.exec(`ALTER TABLE audit RENAME TO away`)
	if err := a.Flush(t.Context()); err == nil {
		t.Error("a log that is not there takes records")
	}
	a.Refused(refusal("evil.example", "other"))
	i.exec(`ALTER TABLE away RENAME TO audit`)
	if err := a.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := records(t, db); len(got) != 2 || got[0].Rule != "rule" || got[1].Rule != "other" {
		t.Errorf("the log has %+v", got)
	}
}

// Nodes that append at once make one chain, with the clock and without.
func TestOneChainOverNodes(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		nodes := []*storage.DB{open(t, o), open(t, o), open(t, o)}
		var wg sync.WaitGroup
		for n, db := range nodes {
			wg.Go(func() {
				for i := range 20 {
					r := audit.Record{Kind: audit.Login, At: noon(), Who: fmt.Sprintf("@%d-%d:%s", n, i, server)}
					c := storage.Commit{Positions: i % 2, Audit: []storage.AuditRecord{r.Stored()}}
					if _, err := db.Commit(context.Background(), c); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		report, err := audit.Verify(t.Context(), nodes[0], nil)
		if err != nil || len(report.Findings) != 0 || report.Records != 60 {
			t.Errorf("%+v, error %v", report, err)
		}
	})
}
