package storage

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"maunium.net/go/mautrix/id"
)

// check is a query of a group's transaction, read before anything is written.
type check struct {
	sql  string
	args []any
	scan func(rows rowScanner) error
}

// observed is what the preconditions of a group are compared with; members
// that were let through change it for those behind them.
type observed struct {
	heads       map[RoomNID]int64
	collections map[RoomNID]int64
	once        map[string]*Duplicate
	onceInGroup map[string]*Ticket
	events      map[eventName]bool
	accounts    map[string]int64
	policy      int64
	audit       auditTail
}

type eventName struct {
	room RoomNID
	id   string
}

// question is something that a group's preconditions are compared with. All
// questions of a group are one statement, since each statement costs about as
// much as a row. Every answer has the same columns: which question, three
// numbers, two texts.
type question int

const (
	askPrev question = iota
	askPolicy
	askHeads
	askOnce
	askEvents
	askAccounts
	questions // how many there are
)

// asked are the questions' statements; their parameters count from 1 in each.
var asked = [questions]string{
	askPrev:     `SELECT 0, COALESCE(MAX(pos), 0), 0, 0, '', '' FROM log`,
	askPolicy:   `SELECT 1, version, 0, 0, '', '' FROM policy_version`,
	askHeads:    `SELECT 2, room, version, collection, '', '' FROM room_head WHERE room = ANY($1)`,
	askOnce:     `SELECT 3, 0, 0, 0, key, event_id FROM client_txn WHERE key = ANY($1)`,
	askEvents:   `SELECT 4, room, 0, 0, event_id, '' FROM event WHERE event_id = ANY($1) AND room = ANY($2)`,
	askAccounts: `SELECT 5, a.revision, 0, 0, u.user_id, '' FROM account a JOIN user_name u ON u.nid = a.user_nid WHERE u.user_id = ANY($1)`,
}

const (
	selectPolicy = `SELECT version FROM policy_version`
	selectPrev   = `SELECT COALESCE(MAX(pos), 0) FROM log`
)

// united holds the statements of sets of questions, by their bits.
var united sync.Map

// unite is one statement for all questions that have arguments.
func unite(args [questions][]any) (sql string, all []any) {
	key := 0
	for q, a := range args {
		if a != nil {
			key |= 1 << q
			all = append(all, a...)
		}
	}
	if text, ok := united.Load(key); ok {
		return text.(string), all
	}
	var parts []string
	n := 0
	for q, a := range args {
		if a == nil {
			continue
		}
		first := n
		parts = append(parts, parameter.ReplaceAllStringFunc(asked[q], func(p string) string {
			i, _ := strconv.Atoi(p[1:]) // the pattern has digits only
			return fmt.Sprintf("$%d", first+i)
		}))
		n += len(a)
	}
	text := strings.Join(parts, " UNION ALL ")
	united.Store(key, text)
	return text, all
}

// checks lists the queries that the group's preconditions need.
func (g *groupWrite) checks() []check {
	g.seen = observed{
		heads: map[RoomNID]int64{}, collections: map[RoomNID]int64{},
		once: map[string]*Duplicate{}, onceInGroup: map[string]*Ticket{}, events: map[eventName]bool{}, accounts: map[string]int64{},
	}
	var out []check
	if sql, args := unite(g.questions()); sql != "" {
		out = append(out, check{sql, args, g.answer})
	}
	if g.audits() {
		out = append(out, check{selectAuditTail, nil, g.seen.audit.scan})
	}
	return out
}

// questions are what the group asks, with arguments; nil is not asked.
func (g *groupWrite) questions() (ask [questions][]any) {
	var rooms, eventRooms []int64
	var keys, events, accounts []string
	for _, t := range g.group {
		for _, p := range t.commit.Expect {
			switch p.kind {
			case expectHead, expectCollection:
				if n := len(rooms); n == 0 || rooms[n-1] != int64(p.room) {
					rooms = append(rooms, int64(p.room))
				}
			case expectOnce:
				keys = append(keys, p.key)
			case expectNewEvent:
				events, eventRooms = append(events, p.key), append(eventRooms, int64(p.room))
			case expectPolicy:
				ask[askPolicy] = []any{}
			case expectAccount:
				accounts = append(accounts, p.key)
			}
		}
	}
	if g.positions > 0 {
		ask[askPrev] = []any{}
	}
	if rooms != nil {
		ask[askHeads] = []any{rooms}
	}
	if keys != nil {
		ask[askOnce] = []any{keys}
	}
	if events != nil {
		ask[askEvents] = []any{events, eventRooms}
	}
	if accounts != nil {
		ask[askAccounts] = []any{accounts}
	}
	return ask
}

// answer takes one row of what the questions found.
func (g *groupWrite) answer(r rowScanner) error {
	var q, a, b, c int64
	var s, u string
	if err := r.Scan(&q, &a, &b, &c, &s, &u); err != nil {
		return err
	}
	o := &g.seen
	switch question(q) {
	case askPrev:
		g.prev = Position(a)
	case askPolicy:
		o.policy = a
	case askHeads:
		o.heads[RoomNID(a)], o.collections[RoomNID(a)] = b, c
	case askOnce:
		o.once[s] = &Duplicate{EventID: id.EventID(u)}
	case askEvents:
		o.events[eventName{RoomNID(a), s}] = true
	case askAccounts:
		o.accounts[s] = a
	}
	return nil
}

// judge decides whether t's preconditions hold, and notes what t changes.
func (o *observed) judge(t *Ticket) error {
	for _, p := range t.commit.Expect {
		ok := true
		switch p.kind {
		case expectHead:
			ok = o.heads[p.room] == p.want
		case expectCollection:
			ok = o.collections[p.room] == p.want
		case expectPolicy:
			ok = o.policy == p.want
		case expectAccount:
			ok = o.accounts[p.key] == p.want
		case expectNewEvent:
			ok = !o.events[eventName{p.room, p.key}]
		case expectOnce:
			if d := o.once[p.key]; d != nil {
				return d
			}
			if w := o.onceInGroup[p.key]; w != nil {
				t.winner = w
				return nil
			}
		}
		if !ok {
			return conflict{p}
		}
	}
	for _, p := range t.commit.Expect {
		switch p.kind {
		case expectOnce:
			o.onceInGroup[p.key] = t
		case expectNewEvent:
			o.events[eventName{p.room, p.key}] = true
		}
	}
	for _, row := range t.commit.Write {
		switch r := row.(type) {
		case *Head:
			o.heads[r.Room] = int64(r.Version)
		case *CollectionEpoch:
			o.collections[r.Room] = r.Epoch
		case *PolicyBump:
			o.policy++
		case *Account:
			o.accounts[string(r.User)] = 1
		case *Revise:
			o.accounts[string(r.User)]++
		}
	}
	return nil
}
