package audit

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"entente/storage"
)

// Tampering is a way in which the log was changed.
type Tampering string

// The ways.
const (
	// Edited: a record is not what it was when it was written.
	Edited Tampering = "edited"
	// Removed: records are missing.
	Removed Tampering = "removed"
	// Reordered: a record stands in another's place.
	Reordered Tampering = "reordered"
	// Renumbered: from a record on all stand in other places, since one before
	// them was removed or inserted.
	Renumbered Tampering = "renumbered"
	// Truncated: the log ends before it ended already.
	Truncated Tampering = "truncated"
	// Rewritten: the records hold together, and are not those of a checkpoint.
	Rewritten Tampering = "rewritten"
)

// Finding is one thing that is wrong with the log.
type Finding struct {
	What Tampering `json:"what"`
	// From and To are the records that it is about.
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// Text says it in a sentence.
	Text string `json:"text"`
}

// Report is what Verify found.
type Report struct {
	// Records is how many there are, Last the number of the last one.
	Records int64 `json:"records"`
	Last    int64 `json:"last"`
	// Checkpoints is how many were compared, and Proven the last record up to
	// which they agree with the log.
	Checkpoints int   `json:"checkpoints"`
	Proven      int64 `json:"proven"`
	// Findings are what is wrong, in the order of the log; none: nothing is.
	Findings []Finding `json:"findings"`
}

const (
	verifyPage = 500
	maxRun     = 32 // records in a row that are looked at for changed places
	maxShift   = 16 // how far numbers are looked for
)

// Verify reads the whole log and finds every record that was edited, removed,
// inserted or moved. What was cut off at the end, or written anew together with
// all that follows, is found by comparison with checkpoints, and with how far
// the sinks got.
func Verify(ctx context.Context, db *storage.DB, checkpoints []Checkpoint) (*Report, error) {
	v := &verifier{report: &Report{Findings: []Finding{}}, checkpoints: slices.Clone(checkpoints)}
	slices.SortStableFunc(v.checkpoints, func(a, b Checkpoint) int { return int(a.Seq - b.Seq) })
	for {
		page, err := db.Latest().Audit(ctx, v.report.Last, verifyPage)
		if err != nil {
			return nil, fmt.Errorf("read the audit log: %w", err)
		}
		for i := range page {
			v.entry(page[i])
		}
		if len(page) < verifyPage {
			break
		}
	}
	v.endRun()
	cursors, err := db.Latest().AuditCursors(ctx)
	if err != nil {
		return nil, fmt.Errorf("read how far the sinks got: %w", err)
	}
	v.end(cursors)
	return v.report, nil
}

// verifier goes through the log.
type verifier struct {
	report      *Report
	checkpoints []Checkpoint // not reached yet, by Seq

	hash   []byte               // stored with the record before
	known  bool                 // whether hash is of the record right before
	shift  int64                // by how much numbers were found to be off
	before []byte               // stored before the run
	run    []storage.AuditEntry // records in a row that do not follow from the one before
}

func (v *verifier) find(what Tampering, from, to int64, format string, args ...any) {
	v.report.Findings = append(v.report.Findings, Finding{what, from, to, fmt.Sprintf(format, args...)})
}

// entry takes the next record. Each is held to the hash stored with the one
// before, so that one change does not put all that follows in doubt.
func (v *verifier) entry(e storage.AuditEntry) {
	r := v.report
	follows := r.Last == 0 || v.known
	if e.Seq != r.Last+1 {
		v.endRun()
		v.find(Removed, r.Last+1, e.Seq-1, "%s missing", records(r.Last+1, e.Seq-1, "is", "are"))
		follows = false // the hash that it was chained to is gone
	}
	switch {
	case !follows:
	case bytes.Equal(storage.AuditHash(v.hash, e.Seq+v.shift, e.AuditRecord), e.Hash):
		v.endRun()
	default:
		v.broken(e)
	}
	r.Records++
	r.Last, v.hash, v.known = e.Seq, e.Hash, true
	v.compare(e)
}

// broken takes a record that does not follow from the one before: either all
// from here on were renumbered, or it is part of a run to be looked at whole.
func (v *verifier) broken(e storage.AuditEntry) {
	for shift := int64(-maxShift); shift <= maxShift; shift++ {
		if shift == v.shift || e.Seq+shift <= 0 || !bytes.Equal(storage.AuditHash(v.hash, e.Seq+shift, e.AuditRecord), e.Hash) {
			continue
		}
		v.endRun()
		if by := shift - v.shift; by > 0 {
			v.find(Renumbered, e.Seq, e.Seq, "record %d was number %d: before it, %d removed", e.Seq, e.Seq+shift, by)
		} else {
			v.find(Renumbered, e.Seq, e.Seq, "record %d was number %d: before it, %d inserted", e.Seq, e.Seq+shift, -by)
		}
		v.shift = shift
		return
	}
	if len(v.run) == 0 {
		v.before = v.hash
	}
	v.run = append(v.run, e)
	if len(v.run) == maxRun {
		v.endRun()
	}
}

// endRun says of each record of a run whether it was moved or edited. It was
// moved if it fits into another's place: some hash of the run follows from
// another with it in between.
func (v *verifier) endRun() {
	run := v.run
	v.run = nil
	hashes := [][]byte{v.before}
	for i := range run {
		hashes = append(hashes, run[i].Hash)
	}
	for i := range run {
		switch place := v.placeOf(run, hashes, i); place {
		case run[i].Seq:
		case 0:
			v.edited(run[i].Seq)
		default:
			v.find(Reordered, run[i].Seq, run[i].Seq, "record %d stands in the place of record %d", place, run[i].Seq)
		}
	}
}

// edited says that a record was edited; neighbours are one finding.
func (v *verifier) edited(seq int64) {
	from := seq
	if n := len(v.report.Findings); n > 0 {
		if last := v.report.Findings[n-1]; last.What == Edited && last.To == seq-1 {
			from, v.report.Findings = last.From, v.report.Findings[:n-1]
		}
	}
	v.find(Edited, from, seq, "%s not what was written", records(from, seq, "is", "are"))
}

// placeOf is the place of a run that record i was written for, its own before
// others; zero when it fits none.
func (v *verifier) placeOf(run []storage.AuditEntry, hashes [][]byte, i int) int64 {
	fits := func(place int64) bool {
		for _, before := range hashes {
			h := storage.AuditHash(before, place+v.shift, run[i].AuditRecord)
			if slices.ContainsFunc(hashes[1:], func(stored []byte) bool { return bytes.Equal(stored, h) }) {
				return true
			}
		}
		return false
	}
	if fits(run[i].Seq) {
		return run[i].Seq
	}
	for k := range run {
		if fits(run[k].Seq) {
			return run[k].Seq
		}
	}
	return 0
}

// compare holds the record to the checkpoints made at it.
func (v *verifier) compare(e storage.AuditEntry) {
	for len(v.checkpoints) > 0 && v.checkpoints[0].Seq <= e.Seq {
		c := v.checkpoints[0]
		v.checkpoints = v.checkpoints[1:]
		v.report.Checkpoints++
		switch {
		case c.Seq == 0 || c.Seq == e.Seq && bytes.Equal(c.Hash, e.Hash):
			v.report.Proven = max(v.report.Proven, c.Seq)
		case c.Seq == e.Seq:
			v.endRun()
			v.find(Rewritten, v.report.Proven+1, c.Seq, "%s not what the checkpoint of %s says: they were written anew",
				records(v.report.Proven+1, c.Seq, "is", "are"), c.At.UTC().Format(time.RFC3339))
		}
		// A checkpoint at a record that is gone says nothing beyond its absence.
	}
}

// end looks for what was cut off.
func (v *verifier) end(cursors []storage.AuditCursor) {
	last, cut, witness := v.report.Last, int64(0), ""
	for _, c := range v.checkpoints {
		v.report.Checkpoints++
		if c.Seq > cut {
			cut, witness = c.Seq, "the checkpoint of "+c.At.UTC().Format(time.RFC3339)
		}
	}
	for _, c := range cursors {
		if c.Seq > max(cut, last) {
			cut, witness = c.Seq, "the sink "+c.Sink+", which got them"
		}
	}
	if cut > last {
		v.find(Truncated, last+1, cut, "%s cut off the end, says %s", records(last+1, cut, "was", "were"), witness)
	}
}

// records names a range of records with its verb.
func records(from, to int64, is, are string) string {
	if from == to {
		return fmt.Sprintf("record %d %s", from, is)
	}
	return fmt.Sprintf("records %d to %d %s", from, to, are)
}
