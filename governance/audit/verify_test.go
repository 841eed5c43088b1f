package audit_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"entente/governance/audit"
	"entente/storage"
	"entente/storage/storagetest"
)

// tampering is a change of a log of twelve records, with a checkpoint at the
// tenth, and what is found.
type tampering struct {
	tamper     func(i *intruder, log []storage.AuditEntry)
	want       string
	checkpoint string // what the checkpoint adds
}

// edits change records where they stand, or take them away.
func edits() map[string]tampering {
	return map[string]tampering{
		"nothing": {tamper: func(*intruder, []storage.AuditEntry) {}},
		"the body edited": {
			tamper: func(i *intruder, _ []storage.AuditEntry) {
				i.exec(`UPDATE audit SET body = $1 WHERE seq = 5`, audit.Record{Kind: audit.Login, Who: "@other:" + server}.Stored().Body)
			}, want: "edited 5-5",
		},
		"the body no longer JSON": {
			tamper: func(i *intruder, _ []storage.AuditEntry) {
				i.exec(`UPDATE audit SET body = $1 WHERE seq = 1`, []byte{0xff})
			}, want: "edited 1-1",
		},
		"the time edited": {
			tamper: func(i *intruder, _ []storage.AuditEntry) {
				i.exec(`UPDATE audit SET at = at + 1 WHERE seq IN (7, 8)`)
			}, want: "edited 7-8",
		},
		"edited and hashed again": {
			tamper: func(i *intruder, log []storage.AuditEntry) {
				e := forged(log[3])
				i.exec(`UPDATE audit SET at = $1, body = $2, hash = $3 WHERE seq = 5`, e.At, e.Body, e.Hash)
			}, want: "edited 6-6", // the first that does not follow from what stands before it
		},
		"one removed": {
			tamper: func(i *intruder, _ []storage.AuditEntry) { i.exec(`DELETE FROM audit WHERE seq = 5`) }, want: "removed 5-5",
		},
		"some removed": {
			tamper: func(i *intruder, _ []storage.AuditEntry) { i.exec(`DELETE FROM audit WHERE seq IN (3, 4, 5, 9)`) }, want: "removed 3-5, removed 9-9",
		},
		"the first removed": {
			tamper: func(i *intruder, _ []storage.AuditEntry) { i.exec(`DELETE FROM audit WHERE seq = 1`) }, want: "removed 1-1",
		},
	}
}

// moves change the places of records, or all that follows from one.
func moves() map[string]tampering {
	return map[string]tampering{
		"one removed and the gap closed": {
			tamper: func(i *intruder, _ []storage.AuditEntry) {
				i.exec(`DELETE FROM audit WHERE seq = 5`)
				i.move(6, -1)
			}, want: "edited 5-5, renumbered 6-6", checkpoint: "rewritten 1-10",
		},
		"two exchanged": {
			tamper: func(i *intruder, log []storage.AuditEntry) {
				i.exec(`DELETE FROM audit WHERE seq IN (5, 6)`)
				five, six := log[4], log[5]
				five.Seq, six.Seq = 6, 5
				i.put(five)
				i.put(six)
			}, want: "reordered 5-5, reordered 6-6",
		},
		"the bodies of two exchanged": {
			tamper: func(i *intruder, log []storage.AuditEntry) {
				i.exec(`UPDATE audit SET at = $1, body = $2 WHERE seq = 5`, log[6].At, log[6].Body)
				i.exec(`UPDATE audit SET at = $1, body = $2 WHERE seq = 7`, log[4].At, log[4].Body)
			}, want: "edited 5-5, edited 7-7", // apart from one another they are no run
		},
		"one inserted": {
			tamper: func(i *intruder, log []storage.AuditEntry) {
				i.move(5, 1)
				i.put(forged(log[3]))
			}, want: "edited 6-6, renumbered 7-7", checkpoint: "rewritten 1-10",
		},
		"the end cut off": {
			tamper: func(i *intruder, _ []storage.AuditEntry) { i.exec(`DELETE FROM audit WHERE seq > 8`) }, checkpoint: "truncated 9-10",
		},
		"everything removed": {
			tamper: func(i *intruder, _ []storage.AuditEntry) { i.exec(`DELETE FROM audit`) }, checkpoint: "truncated 1-10",
		},
		"cut off after the checkpoint": {
			tamper: func(i *intruder, _ []storage.AuditEntry) { i.exec(`DELETE FROM audit WHERE seq > 11`) },
		},
		"all written anew from one on": {
			tamper: func(i *intruder, log []storage.AuditEntry) {
				before := log[3]
				for _, e := range log[4:] {
					if e.Seq == 5 {
						e.AuditRecord = audit.Record{Kind: audit.Login, At: noon(), Who: "@other:" + server}.Stored()
					}
					e.Hash = storage.AuditHash(before.Hash, e.Seq, e.AuditRecord)
					i.exec(`UPDATE audit SET at = $1, body = $2, hash = $3 WHERE seq = $4`, e.At, e.Body, e.Hash, e.Seq)
					before = e
				}
			}, checkpoint: "rewritten 1-10",
		},
	}
}

func TestVerifyFindsTampering(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := open(t, o)
		fill(t, db, 10)
		checkpoint, err := audit.NewCheckpoint(t.Context(), db, server, noon())
		if err != nil {
			t.Fatal(err)
		}
		fill(t, db, 2)
		log, i := entries(t, db), intrude(t, o)
		cases := edits()
		maps.Copy(cases, moves())
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				i := &intruder{t, i.db}
				i.restore(log)
				c.tamper(i, log)
				want := c.want
				for _, checkpoints := range [][]audit.Checkpoint{nil, {checkpoint}} {
					if checkpoints != nil && c.checkpoint != "" {
						want = strings.TrimPrefix(want+", "+c.checkpoint, ", ")
					}
					report, err := audit.Verify(t.Context(), db, checkpoints)
					if err != nil {
						t.Fatal(err)
					}
					if got := summary(report); got != want {
						t.Errorf("with %d checkpoints: found %q, want %q", len(checkpoints), got, want)
					}
				}
			})
		}
	})
}

// Whatever is done to one record is found, wherever it stands.
func TestVerifyFindsEachEdit(t *testing.T) {
	o := storagetest.SQLite(t)
	db := open(t, o)
	fill(t, db, 40)
	i := intrude(t, o)
	for _, e := range entries(t, db) {
		for column, value := range map[string]any{"at": e.At + 1, "body": append([]byte(" "), e.Body...), "hash": make([]byte, 32)} {
			i.exec(`UPDATE audit SET `+column+` = $1 WHERE seq = $2`, value, e.Seq)
			report, err := audit.Verify(t.Context(), db, nil)
			if err != nil || len(report.Findings) == 0 || report.Findings[0].From > e.Seq || report.Findings[len(report.Findings)-1].To < e.Seq {
				t.Errorf("%s of record %d: found %q, error %v", column, e.Seq, summary(report), err)
			}
			i.exec(`UPDATE audit SET at = $1, body = $2, hash = $3 WHERE seq = $4`, e.At, e.Body, e.Hash, e.Seq)
		}
	}
	if report, err := audit.Verify(t.Context(), db, nil); err != nil || summary(report) != "" || report.Records != 40 {
		t.Errorf("restored: found %q, error %v", summary(report), err)
	}
}

// A sink's cursor beyond the end shows that the end was cut off.
func TestVerifyAsksTheSinks(t *testing.T) {
	o := storagetest.SQLite(t)
	db := open(t, o)
	fill(t, db, 5)
	if err := db.Stage(t.Context(), &storage.AuditCursor{Sink: "file:/audit", Seq: 5}); err != nil {
		t.Fatal(err)
	}
	intrude(t, o).exec(`DELETE FROM audit WHERE seq > 3`)
	report, err := audit.Verify(t.Context(), db, nil)
	if err != nil || summary(report) != "truncated 4-5" || !strings.Contains(report.Findings[0].Text, "file:/audit") {
		t.Errorf("found %+v, error %v", report, err)
	}
}

// Many records in many pages, and a log that grew while nobody looked.
func TestVerifyOfALongLog(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := open(t, o)
		for range 3 {
			fill(t, db, 500)
		}
		checkpoint, err := audit.NewCheckpoint(t.Context(), db, server, noon())
		if err != nil {
			t.Fatal(err)
		}
		report, err := audit.Verify(t.Context(), db, []audit.Checkpoint{checkpoint, {Server: server}})
		if err != nil || summary(report) != "" || report.Records != 1500 || report.Proven != 1500 || report.Checkpoints != 2 {
			t.Errorf("report is %+v, error %v", report, err)
		}
	})
}

func TestCheckpoints(t *testing.T) {
	db := open(t, storagetest.SQLite(t))
	fill(t, db, 3)
	c, err := audit.NewCheckpoint(t.Context(), db, server, noon())
	if err != nil || c.Seq != 3 || len(c.Hash) != 32 {
		t.Fatalf("%+v, error %v", c, err)
	}
	line, err := c.Sign(signer("a"))
	if err != nil || strings.ContainsAny(string(line), "\n") {
		t.Fatalf("%s, error %v", line, err)
	}
	other, err := c.Sign(signer("unknown"))
	if err != nil {
		t.Fatal(err)
	}
	foreign := c
	foreign.Server = "dla.example"
	theirs, err := foreign.Sign(signer("a"))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		text  string
		count int
		words string
	}{
		"nothing":             {"", 0, ""},
		"one":                 {string(line), 1, ""},
		"among records":       {"{\"seq\":1,\"record\":{}}\n" + string(line) + "\n\n" + string(line) + "\n", 2, ""},
		"another number":      {strings.Replace(string(line), `"seq":3`, `"seq":2`, 1), 0, "line 1"},
		"of another server":   {string(theirs), 0, "dla.example"},
		"signed by a strange": {string(other), 0, "none of the keys"},
		"not signed":          {`{"type":"entente.audit.checkpoint","server_name":"dhs.example","seq":3,"hash":"","at":1}`, 0, "none of the keys"},
		"no JSON":             {"\n\nhello", 0, "line 3"},
		"a wrong hash":        {`{"type":"entente.audit.checkpoint","server_name":"dhs.example","seq":3,"hash":"!","at":1}`, 0, "damaged"},
	} {
		found, err := audit.ReadCheckpoints([]byte(test.text), server, keys)
		if test.words != "" {
			if err == nil || !strings.Contains(err.Error(), test.words) {
				t.Errorf("%s: error %v, want %q", name, err, test.words)
			}
			continue
		}
		if err != nil || len(found) != test.count {
			t.Errorf("%s: %d, error %v", name, len(found), err)
		}
		for _, got := range found {
			if got.Seq != 3 || string(got.Hash) != string(c.Hash) || !got.At.Equal(noon()) {
				t.Errorf("%s: read %+v", name, got)
			}
		}
	}
}

func FuzzCheckpoints(f *testing.F) {
	line, err := audit.Checkpoint{Server: server, Seq: 3, Hash: []byte("hash"), At: time.UnixMilli(1)}.Sign(signer("a"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add([]byte(`{"type":"entente.audit.checkpoint"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		found, err := audit.ReadCheckpoints(text, server, keys)
		for _, c := range found {
			if err != nil || c.Seq != 3 {
				t.Errorf("a checkpoint that was never signed: %+v, error %v", c, err)
			}
		}
	})
}
