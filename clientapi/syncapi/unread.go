package syncapi

import (
	"slices"
	"strconv"

	"entente/accounts"
	"entente/accounts/pushmatch"
	"entente/roomserver/auth"
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

const relThread = "m.thread"

// unreadScan bounds the events that are judged by push rules when counting
// begins; of what is older, those count that the default rules notify of.
const unreadScan = 300

// maxUnread bounds the notifications that are remembered one by one.
const maxUnread = 2 * unreadScan

// unread is what a reader has not read of a room. Counting is never stored: it
// begins when the reader first asks, and goes on with each event that they get.
type unread struct {
	rules *accounts.PushRules
	// low is the position of what was read when counting began, upto how far
	// it has come.
	low, upto storage.Position
	// items are the notifications after oldest, in order; older counts those
	// between low and oldest, whatever their thread.
	items  []notification
	older  counts
	oldest storage.Position
}

type notification struct {
	pos       storage.Position
	thread    string
	highlight bool
}

// counts are the unread notifications of a room or a thread.
type counts struct{ notify, highlight int64 }

// shownName is what a member is called, by the membership that says so.
type shownName struct {
	event event.NID
	name  string
}

// ruleset is compiled push rules.
type ruleset struct {
	of       *accounts.PushRules
	compiled *pushmatch.Rules
}

// appendUnread appends the counts of a room of which there is something to
// tell, or whose counts the reader has changed.
//
// Spec: client-server-api/#receiving-notifications
func (c *composer) appendUnread(dst []byte, v *view, info *storage.RoomInfo, tells bool) ([]byte, error) {
	from := c.from()
	if !tells && !slices.ContainsFunc(v.read, func(r *storage.Receipt) bool { return r.Pos > from }) {
		return dst, nil
	}
	k := &counter{composer: c, view: v, info: info}
	threads, err := k.count()
	if err != nil {
		return nil, err
	}
	if !c.filter.Room.Timeline.UnreadThreadNotifications {
		var all counts
		for _, t := range threads {
			all.notify += t.notify
			all.highlight += t.highlight
		}
		return appendCounts(append(dst, `,"unread_notifications":`...), all), nil
	}
	dst = appendCounts(append(dst, `,"unread_notifications":`...), threads[mainThread])
	begun := false
	for thread, n := range threads {
		if thread == mainThread || n == (counts{}) {
			continue
		}
		if begun {
			dst = append(dst, ',')
		} else {
			dst = append(dst, `,"unread_thread_notifications":{`...)
		}
		begun = true
		dst = appendCounts(append(appendString(dst, thread), ':'), n)
	}
	if begun {
		dst = append(dst, '}')
	}
	return dst, nil
}

func appendCounts(dst []byte, n counts) []byte {
	dst = append(dst, `{"highlight_count":`...)
	dst = strconv.AppendInt(dst, n.highlight, 10)
	dst = append(dst, `,"notification_count":`...)
	dst = strconv.AppendInt(dst, n.notify, 10)
	return append(dst, '}')
}

// counter counts a reader's unread notifications in a room. It is the room
// that push rules ask about.
type counter struct {
	*composer
	view  *view
	info  *storage.RoomInfo
	marks map[string]storage.Position // how far is read, by thread; the empty one is the whole room
}

// threadOf is the thread that an event is in.
//
// Spec: client-server-api/#threading
func threadOf(e *storage.Event) string {
	if e.RelType == relThread {
		return string(e.RelTo)
	}
	return mainThread
}

// count counts by thread.
func (k *counter) count() (map[string]counts, error) {
	rules, err := k.server.pushRules(k.ctx, k.req.User)
	if err != nil {
		return nil, err
	}
	k.marks = make(map[string]storage.Position, len(k.view.read))
	for _, r := range k.view.read {
		k.marks[r.Thread] = max(k.marks[r.Thread], r.Read)
	}
	k.reader.counting.Lock() // the user's devices count together
	defer k.reader.counting.Unlock()
	u := k.reader.unread[k.view.Room]
	if u == nil || u.rules != rules || u.older.notify > 0 && k.marks[""] > u.low || u.upto < k.view.Pos && k.arrivedAfter(u.upto) {
		u, err = k.begin(rules)
	} else {
		u, err = k.extend(u)
	}
	if err != nil {
		delete(k.reader.unread, k.view.Room) // it may be counted in part
		return nil, err
	}
	k.prune(u)
	if k.reader.unread == nil {
		k.reader.unread = map[storage.RoomNID]*unread{}
	}
	k.reader.unread[k.view.Room] = u
	out := map[string]counts{mainThread: u.older}
	for _, n := range u.items {
		t := out[n.thread]
		t.notify++
		if n.highlight {
			t.highlight++
		}
		out[n.thread] = t
	}
	return out, nil
}

// arrivedAfter reports whether the reader joined the room after a position.
func (k *counter) arrivedAfter(at storage.Position) bool {
	joined, err := k.joinedAt()
	return err == nil && joined > at
}

// joinedAt is when the reader's membership began; what was before is not
// unread.
func (k *counter) joinedAt() (storage.Position, error) {
	at := storage.Position(0)
	for next := k.view.Event; next != noEvent; {
		found, err := k.server.rooms.Events(k.ctx, k.info, []event.NID{next})
		if err != nil {
			return 0, err
		}
		e := found[0]
		if e.PDU.Membership() != "join" {
			break
		}
		at, next = e.Pos, e.Replaces
	}
	return at, nil
}

// begin counts from what was read last.
func (k *counter) begin(rules *accounts.PushRules) (*unread, error) {
	low, err := k.joinedAt()
	if err != nil {
		return nil, err
	}
	u := &unread{rules: rules, low: max(low, k.marks[""]), upto: k.until}
	u.oldest = u.low
	if k.view.pos <= u.low {
		return u, nil
	}
	events, more, err := k.latest(u.low)
	if err != nil {
		return nil, err
	}
	spoke := false
	for _, e := range events {
		said, err := k.judge(u, e)
		if err != nil {
			return nil, err
		}
		spoke = spoke || said
	}
	if more && !spoke {
		u.oldest = events[0].Pos - 1
		u.older.notify, err = k.server.db.Latest().UnreadCount(k.ctx, k.view.Room, k.req.User, u.low, u.oldest)
	}
	return u, err
}

// extend counts what came since; if that is much, it begins again.
func (k *counter) extend(u *unread) (*unread, error) {
	if k.until <= u.upto {
		return u, nil
	}
	if k.view.pos > u.upto {
		events, more, err := k.latest(u.upto)
		if err != nil {
			return nil, err
		}
		if more {
			return k.begin(u.rules)
		}
		for _, e := range events {
			if _, err := k.judge(u, e); err != nil {
				return nil, err
			}
		}
	}
	u.upto = k.until
	return u, nil
}

// latest are the latest events after low, in order; more says that there are
// others before them.
func (k *counter) latest(low storage.Position) (events []*storage.Event, more bool, err error) {
	if low >= k.view.from {
		for _, e := range k.view.ring {
			if e.Pos > low && e.Pos <= k.until {
				events = append(events, e.Event)
			}
		}
		return events, false, nil
	}
	events, err = k.server.db.Latest().Timeline(k.ctx, k.info, low, k.until, unreadScan)
	slices.Reverse(events)
	return events, len(events) == unreadScan, err
}

// judge adds an event to what is unread, or when the reader sent it themselves
// takes it as a sign that they have read the rest.
//
// Spec: client-server-api/#receiving-notifications
func (k *counter) judge(u *unread, e *storage.Event) (spoke bool, err error) {
	if e.PDU.Sender() == k.req.User {
		if e.PDU.Type() == typeMember {
			return false, nil
		}
		thread := threadOf(e)
		u.items = slices.DeleteFunc(u.items, func(n notification) bool { return n.thread == thread })
		if thread == mainThread {
			u.older = counts{}
		}
		return true, nil
	}
	if k.ignored[e.PDU.Sender()] || e.RedactedBy != 0 {
		return false, nil
	}
	outcome, err := k.reader.compiled(u.rules).Decide(e.PDU, &ruleRoom{counter: k, at: e})
	if err == nil && outcome.Notify {
		u.items = append(u.items, notification{e.Pos, threadOf(e), outcome.Highlight})
	}
	return false, err
}

// prune drops what has been read.
func (k *counter) prune(u *unread) {
	whole := k.marks[""]
	isRead := func(n notification) bool { return n.pos <= max(whole, k.marks[n.thread]) }
	u.items = slices.DeleteFunc(u.items, isRead)
	if max(whole, k.marks[mainThread]) >= u.oldest {
		u.older = counts{}
	}
	if len(u.items) > maxUnread {
		u.fold(len(u.items) - maxUnread/2)
	}
}

// fold counts the first n notifications as older ones.
func (u *unread) fold(n int) {
	for _, item := range u.items[:n] {
		u.older.notify++
		if item.highlight {
			u.older.highlight++
		}
	}
	u.oldest = u.items[n-1].pos
	u.items = slices.Delete(u.items, 0, n)
}

// compiled are the rules, ready to decide by.
func (r *reader) compiled(rules *accounts.PushRules) *pushmatch.Rules {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rules == nil || r.rules.of != rules {
		r.rules = &ruleset{rules, pushmatch.Compile(rules.Global)}
	}
	return r.rules.compiled
}

// ruleRoom is what push rules ask about the room of an event.
type ruleRoom struct {
	*counter
	at *storage.Event
}

// Members is how many have joined the room.
func (r *ruleRoom) Members() (int64, error) {
	l := r.view.line
	r.server.mu.Lock()
	count, at, changed := l.joined, l.joinedAt, l.memberPos
	r.server.mu.Unlock()
	if at != 0 && at >= changed {
		return count, nil
	}
	head, err := r.server.db.Latest().Head(r.ctx, r.view.Room)
	if err != nil || head == nil {
		return 0, err
	}
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	l.joined, l.joinedAt = head.Joined, r.until
	return head.Joined, nil
}

// DisplayName is what the reader is called in the room.
func (r *ruleRoom) DisplayName() (string, error) {
	k := r.reader
	k.mu.Lock()
	kept, ok := k.shownNames[r.view.Room]
	k.mu.Unlock()
	if ok && kept.event == r.view.Event {
		return kept.name, nil
	}
	found, err := r.server.rooms.Events(r.ctx, r.info, []event.NID{r.view.Event})
	if err != nil {
		return "", err
	}
	name, _ := event.Value(found[0].PDU.Content()).Get("displayname").Str()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.shownNames == nil {
		k.shownNames = map[storage.RoomNID]shownName{}
	}
	k.shownNames[r.view.Room] = shownName{r.view.Event, name}
	return name, nil
}

// MayNotify reports whether a sender may notify the whole room, by the state
// before the event.
func (r *ruleRoom) MayNotify(sender id.UserID) (bool, error) {
	if r.at.Before == storage.UnknownRoot {
		return false, nil
	}
	found, err := r.server.rooms.StateEvents(r.ctx, r.info, r.at.Before, []event.Key{{Type: typeCreate}, {Type: typePowerLevels}})
	if err != nil || found[0] == nil {
		return false, err
	}
	var levels *event.PDU
	if found[1] != nil {
		levels = found[1].PDU
	}
	parsed, err := auth.ParsePowerLevels(found[0].PDU, levels)
	if err != nil {
		return false, nil // nobody may, by levels that cannot be read
	}
	return parsed.CanNotifyRoom(sender), nil
}
