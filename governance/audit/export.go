package audit

import (
	"context"
	"log/slog"
	"time"

	"entente/roomserver/event"
	"entente/storage"

	"golang.org/x/sync/errgroup"
)

const (
	exportEvery     = time.Second
	exportPage      = 500
	checkpointEvery = 5 * time.Minute
	longestPause    = time.Minute
	// nodeAlive is how recent a node's sign of life is while it delivers.
	nodeAlive = 20 * time.Second
)

// Delivery is something to deliver.
type Delivery struct {
	// Kind and Outcome are the record's; both empty for a checkpoint.
	Kind    Kind
	Outcome Outcome
	At      time.Time
	// Line is one JSON object on one line, without the newline.
	Line []byte
}

// Sink is where the log is delivered to.
type Sink interface {
	// Name tells the sink from others and stays the same over restarts.
	Name() string
	// Deliver returns when the sink has all of them. What it failed at is
	// delivered again, so that a receiver may see a record twice.
	Deliver(ctx context.Context, batch []Delivery) error
	// Close gives back what the sink holds.
	Close() error
}

// ExportOptions are what an Exporter works with.
type ExportOptions struct {
	DB *storage.DB
	// ServerName is whose log it is.
	ServerName string
	// Sinks are where to. The Exporter closes them when Run ends.
	Sinks []Sink
	// Sign gives the key that checkpoints are signed with.
	Sign func() event.Signer
	Log  *slog.Logger
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Exporter delivers the audit log to sinks, each at its own pace, from where
// it last stopped. Of several nodes, the oldest delivers.
type Exporter struct{ o ExportOptions }

// NewExporter makes an Exporter.
func NewExporter(o ExportOptions) *Exporter {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Exporter{o}
}

// Run delivers until ctx ends.
func (x *Exporter) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, sink := range x.o.Sinks {
		group.Go(func() error {
			x.run(ctx, sink)
			return sink.Close()
		})
	}
	return group.Wait()
}

func (x *Exporter) run(ctx context.Context, sink Sink) {
	f := &feed{x: x, sink: sink}
	timer := time.NewTimer(0)
	defer timer.Stop()
	pause := exportEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := f.deliver(ctx); err == nil {
			pause = exportEvery
		} else if ctx.Err() == nil {
			x.o.Log.Warn("the audit log cannot be delivered; trying again", "sink", sink.Name(), "error", err, "in", pause)
			pause = min(2*pause, longestPause)
		}
		timer.Reset(pause)
	}
}

// leads reports whether this node is the one that delivers.
func (x *Exporter) leads(ctx context.Context) (bool, error) {
	nodes, err := x.o.DB.Latest().Nodes(ctx)
	if err != nil {
		return false, err
	}
	alive := x.o.Now().Add(-nodeAlive).UnixMilli()
	for _, n := range nodes {
		if n.Seen >= alive {
			return n.ID == x.o.DB.Node(), nil
		}
	}
	return true, nil
}

// feed is one sink's way through the log.
type feed struct {
	x          *Exporter
	sink       Sink
	seq        int64     // delivered
	loaded     bool      // whether seq was read from the database
	checkpoint time.Time // when the last one was delivered
	marked     int64     // record that it was of
}

// deliver delivers everything that is new.
func (f *feed) deliver(ctx context.Context) error {
	leads, err := f.x.leads(ctx)
	if err != nil {
		return err
	}
	if !leads {
		f.loaded = false // another node moves the cursor
		return nil
	}
	if !f.loaded {
		if err := f.load(ctx); err != nil {
			return err
		}
	}
	for {
		page, err := f.x.o.DB.Latest().Audit(ctx, f.seq, exportPage)
		if err != nil {
			return err
		}
		if err := f.page(ctx, page); err != nil || len(page) < exportPage {
			return err
		}
	}
}

func (f *feed) load(ctx context.Context) error {
	cursors, err := f.x.o.DB.Latest().AuditCursors(ctx)
	if err != nil {
		return err
	}
	f.seq = 0
	for _, c := range cursors {
		if c.Sink == f.sink.Name() {
			f.seq = c.Seq
		}
	}
	f.loaded = true
	return nil
}

// page delivers a page of the log, with a checkpoint now and then.
func (f *feed) page(ctx context.Context, page []storage.AuditEntry) error {
	var batch []Delivery
	for _, e := range page {
		d := Delivery{At: time.UnixMilli(e.At).UTC(), Line: Line(f.x.o.ServerName, e)}
		if r, err := Read(e.AuditRecord); err == nil {
			d.Kind, d.Outcome = r.Kind, r.Outcome
		}
		batch = append(batch, d)
	}
	now := f.x.o.Now()
	due := f.x.o.Sign != nil && f.seq+int64(len(page)) > f.marked && now.Sub(f.checkpoint) >= checkpointEvery && len(page) < exportPage
	var c Checkpoint
	if due {
		var raw []byte
		var err error
		if c, raw, err = f.sign(ctx, now); err != nil {
			return err
		}
		batch = append(batch, Delivery{At: now, Line: raw})
	}
	if len(batch) == 0 {
		return nil
	}
	if err := f.sink.Deliver(ctx, batch); err != nil {
		return err
	}
	if due {
		f.checkpoint, f.marked = now, c.Seq
	}
	if len(page) == 0 {
		return nil
	}
	f.seq = page[len(page)-1].Seq
	return f.x.o.DB.Stage(ctx, &storage.AuditCursor{Sink: f.sink.Name(), Seq: f.seq})
}

// sign makes a checkpoint and its line.
func (f *feed) sign(ctx context.Context, now time.Time) (Checkpoint, []byte, error) {
	c, err := NewCheckpoint(ctx, f.x.o.DB, f.x.o.ServerName, now)
	if err != nil {
		return c, nil, err
	}
	raw, err := c.Sign(f.x.o.Sign())
	return c, raw, err
}
