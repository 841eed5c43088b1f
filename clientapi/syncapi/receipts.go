package syncapi

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"entente/internal/fault"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

const (
	typeReceipt   = "m.receipt"
	typeTyping    = "m.typing"
	typeFullyRead = "m.fully_read"
	mainThread    = "main"
)

// Mark is what a client says that its user has read.
//
// Spec: client-server-api/#post_matrixclientv3roomsroomidread_markers
type Mark struct {
	// FullyRead, Read and Private are events; empty leaves as it is.
	FullyRead, Read, Private id.EventID
	// Thread is the thread that Read and Private are for; empty is none.
	Thread string
}

// changedReceipts is attached to commits of public receipts.
type changedReceipts []*storage.Receipt

// Read moves a local user's receipts and their fully read marker in a room that
// they have joined.
//
// Spec: client-server-api/#post_matrixclientv3roomsroomidreceiptreceipttypeeventid
func (s *Server) Read(ctx context.Context, roomID id.RoomID, user id.UserID, m Mark) error {
	info, err := s.joined(ctx, roomID, user)
	if err != nil {
		return err
	}
	var ids []id.EventID
	for _, e := range [...]id.EventID{m.FullyRead, m.Read, m.Private} {
		if e != "" {
			ids = append(ids, e)
		}
	}
	found, err := s.rooms.EventsByID(ctx, info, ids)
	if err != nil || len(ids) == 0 {
		return err
	}
	if m.FullyRead != "" && found[m.FullyRead] == nil {
		return fault.New(fault.NotFound, "There is no such event in this room")
	}
	if err := checkThread(&m, found); err != nil {
		return err
	}
	w := &receiptWriter{server: s, info: info, user: user, mark: &m, events: found}
	if err := w.build(ctx); err != nil || len(w.commit.Write) == 0 {
		return err
	}
	if _, err := s.db.Commit(ctx, w.commit); err != nil {
		return err
	}
	if s.opts.OnReceipt != nil {
		for _, r := range w.public {
			s.opts.OnReceipt(ctx, info, *r)
		}
	}
	return nil
}

// checkThread refuses a thread that the event is not in.
//
// Spec: client-server-api/#threaded-read-receipts
func checkThread(m *Mark, found map[id.EventID]*storage.Event) error {
	if m.Thread == "" {
		return nil
	}
	if m.Thread != mainThread && !strings.HasPrefix(m.Thread, "$") {
		return fault.New(fault.InvalidParam, "thread_id is neither main nor an event ID")
	}
	for _, read := range [...]id.EventID{m.Read, m.Private} {
		e := found[read]
		if e == nil || m.Thread == string(e.PDU.ID()) {
			continue
		}
		if in := threadOf(e); in != m.Thread && e.RelType == relThread {
			return fault.New(fault.InvalidParam, "The event is not in this thread")
		}
	}
	return nil
}

// receiptWriter builds the commit of a mark.
type receiptWriter struct {
	server *Server
	info   *storage.RoomInfo
	user   id.UserID
	mark   *Mark
	events map[id.EventID]*storage.Event
	commit storage.Commit
	public changedReceipts
}

func (w *receiptWriter) build(ctx context.Context) error {
	own, err := w.server.db.UserSubject(ctx, storage.User, w.user)
	if err != nil {
		return err
	}
	old, err := w.server.db.Latest().Receipts(ctx, w.info.NID, w.user)
	if err != nil {
		return err
	}
	if w.mark.FullyRead != "" {
		content := append(appendString([]byte(`{"event_id":`), string(w.mark.FullyRead)), '}')
		w.write((&storage.AccountData{User: w.user, Room: w.info.NID, Type: typeFullyRead, Content: content}).At(w.next()))
	}
	if r := w.receipt(storage.PublicReceipt, w.mark.Read, old); r != nil {
		w.write(r)
		w.public = append(w.public, r)
		w.commit.Touch = append(w.commit.Touch, storage.Subject{Kind: storage.RoomReceipts, ID: int64(w.info.NID)})
		w.commit.Attachment = w.public
	}
	if r := w.receipt(storage.PrivateReceipt, w.mark.Private, old); r != nil {
		w.write(r)
	}
	w.commit.Touch = append(w.commit.Touch, own)
	return nil
}

func (w *receiptWriter) write(row storage.Row) { w.commit.Write = append(w.commit.Write, row) }

// next is the next of the commit's positions.
func (w *receiptWriter) next() int {
	w.commit.Positions++
	return w.commit.Positions - 1
}

// receipt is a receipt to write; nil when it would not move forward.
func (w *receiptWriter) receipt(kind storage.ReceiptKind, read id.EventID, old []*storage.Receipt) *storage.Receipt {
	if read == "" {
		return nil
	}
	r := &storage.Receipt{
		Room: w.info.NID, User: w.user, Kind: kind, Thread: w.mark.Thread, EventID: read, Timestamp: w.server.now().UnixMilli(), Local: true,
	}
	if e := w.events[read]; e != nil {
		r.Read = e.Pos
	}
	for _, o := range old {
		if o.Kind == kind && o.Thread == r.Thread && (o.EventID == read || o.Read >= r.Read && r.Read != 0) {
			return nil
		}
	}
	return r.At(w.next())
}

// receiptsAtOnce bounds a commit of receipts.
const receiptsAtOnce = 200

// AddReceipts stores public receipts of users of other servers, who are in the
// rooms that they are for.
//
// Spec: server-server-api/#receipts
func (s *Server) AddReceipts(ctx context.Context, receipts []storage.Receipt) error {
	for chunk := range slices.Chunk(receipts, receiptsAtOnce) {
		c := storage.Commit{Positions: len(chunk)}
		var written changedReceipts
		for i, r := range chunk {
			r.Kind, r.Local = storage.PublicReceipt, false
			c.Write = append(c.Write, r.At(i))
			written = append(written, &r)
			if t := (storage.Subject{Kind: storage.RoomReceipts, ID: int64(r.Room)}); !slices.Contains(c.Touch, t) {
				c.Touch = append(c.Touch, t)
			}
		}
		c.Attachment = written
		if _, err := s.db.Commit(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// receiptsChangedLocked adds what this node committed, or forgets what it had.
func (s *Server) receiptsChangedLocked(l *line, c *storage.Applied) {
	l.receiptPos = max(l.receiptPos, c.Last)
	changed, ok := c.Attachment.(changedReceipts)
	if !ok {
		l.receiptFrom, l.receipts = c.Last, nil
	}
	for _, r := range changed {
		if r.Room != l.nid {
			continue
		}
		placed := *r
		placed.Place(c.First)
		l.receipts = append(l.receipts, &placed)
	}
	if over := len(l.receipts) - ringReceipts; over > 0 {
		l.receiptFrom = l.receipts[over-1].Pos
		l.receipts = l.receipts[over:]
	}
	s.wakeRoomLocked(l)
}

// maxReceipts bounds the receipts of a room in one answer that tells all.
const maxReceipts = 5000

// receiptsSince lists the receipts that the reader is to learn of: public ones,
// and their own private ones.
func (c *composer) receiptsSince(v *view, arrived bool) ([]*storage.Receipt, error) {
	from := c.from()
	if arrived {
		from = 0
	}
	var out []*storage.Receipt
	switch {
	case v.receiptPos <= from:
	case from >= v.receiptFrom:
		for _, r := range v.receipts {
			if r.Pos > from && r.Pos <= c.until {
				out = append(out, r)
			}
		}
	default:
		var err error
		if out, err = c.server.db.Latest().RoomReceipts(c.ctx, v.Room, from, c.until, maxReceipts); err != nil {
			return nil, err
		}
	}
	for _, r := range v.read {
		if r.Kind == storage.PrivateReceipt && r.Pos > from {
			out = append(out, r)
		}
	}
	return out, nil
}

// appendEphemeral appends receipts and typing.
func (c *composer) appendEphemeral(dst []byte, v *view, info *storage.RoomInfo, arrived bool) ([]byte, error) {
	f := &c.filter.Room.Ephemeral
	begun := false
	begin := func() {
		if begun {
			dst = append(dst, ',')
		} else {
			dst = append(dst, `,"ephemeral":{"events":[`...)
		}
		begun = true
	}
	if admitsIn(f, info, typeReceipt) {
		receipts, err := c.receiptsSince(v, arrived)
		if err != nil {
			return nil, err
		}
		if receipts = slices.DeleteFunc(receipts, func(r *storage.Receipt) bool { return c.ignored[r.User] }); len(receipts) > 0 {
			begin()
			dst = appendReceipts(dst, receipts)
		}
	}
	if v.tellsTyping && admitsIn(f, info, typeTyping) {
		begin()
		dst = appendTyping(dst, slices.DeleteFunc(v.typing, func(user id.UserID) bool { return c.ignored[user] }))
	}
	if begun {
		dst = append(dst, `]}`...)
	}
	return dst, nil
}

var receiptNames = [...]string{storage.PublicReceipt: "m.read", storage.PrivateReceipt: "m.read.private"}

// appendReceipts appends an m.receipt, the only one of its room. A user can
// have more than one receipt for an event, in several threads, of which the
// format holds one: then the one for the whole room stands, or the latest.
//
// Spec: client-server-api/#mreceipt
func appendReceipts(dst []byte, receipts []*storage.Receipt) []byte {
	slices.SortFunc(receipts, func(a, b *storage.Receipt) int {
		return cmp.Or(cmp.Compare(a.EventID, b.EventID), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.User, b.User),
			cmp.Compare(min(len(a.Thread), 1), min(len(b.Thread), 1)), cmp.Compare(b.Pos, a.Pos))
	})
	dst = append(dst, `{"content":{`...)
	for i, r := range receipts {
		var last *storage.Receipt
		if i > 0 {
			last = receipts[i-1]
		}
		switch {
		case last == nil:
			dst = append(appendString(dst, string(r.EventID)), `:{"`...)
		case last.EventID != r.EventID:
			dst = append(appendString(append(dst, `}},`...), string(r.EventID)), `:{"`...)
		case last.Kind != r.Kind:
			dst = append(dst, `},"`...)
		case last.User == r.User:
			continue
		default:
			dst = append(dst, ',')
		}
		if last == nil || last.EventID != r.EventID || last.Kind != r.Kind {
			dst = append(append(dst, receiptNames[r.Kind]...), `":{`...)
		}
		dst = append(appendString(dst, string(r.User)), `:{"ts":`...)
		dst = strconv.AppendInt(dst, r.Timestamp, 10)
		if r.Thread != "" {
			dst = appendString(append(dst, `,"thread_id":`...), r.Thread)
		}
		dst = append(dst, '}')
	}
	return append(dst, `}}},"type":"m.receipt"}`...)
}
