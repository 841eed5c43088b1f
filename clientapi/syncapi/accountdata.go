package syncapi

import (
	"entente/roomserver/event"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

const (
	typePushRules = "m.push_rules"
	typeIgnored   = "m.ignored_user_list"
)

// readAccountData reads what changed of the reader's account data.
func (c *composer) readAccountData() error {
	found, err := c.server.db.Latest().AccountDataSince(c.ctx, c.req.User, c.from(), c.until)
	if err != nil {
		return err
	}
	c.data = map[storage.RoomNID][]*storage.AccountData{}
	for _, d := range found {
		c.data[d.Room] = append(c.data[d.Room], d)
	}
	return nil
}

// globalAccountData adds account data that is no room's. Everyone has push
// rules, whether they ever changed them or not.
//
// Spec: client-server-api/#client-config, client-server-api/#push-rules-events
func (c *composer) globalAccountData() error {
	rulesTold := c.since != nil
	for _, d := range c.data[0] {
		if d.Type == typePushRules {
			rulesTold = false
			continue
		}
		c.addGlobal(d.Type, d.Content)
	}
	if rulesTold {
		return nil
	}
	rules, err := c.server.pushRules(c.ctx, c.req.User)
	if err != nil {
		return err
	}
	c.addGlobal(typePushRules, rules.JSON)
	return nil
}

func (c *composer) addGlobal(typ string, content []byte) {
	if !admits(&c.filter.AccountData, typ, "") {
		return
	}
	if c.globalData != nil {
		c.globalData = append(c.globalData, ',')
	}
	c.globalData = appendTyped(c.globalData, typ, content)
	c.tells = true
}

// appendRoomData appends a room's account data: what changed, or to someone who
// has just arrived, all of it.
func (c *composer) appendRoomData(dst []byte, room storage.RoomNID, info *storage.RoomInfo, arrived bool) ([]byte, error) {
	data := c.data[room]
	if arrived && c.since != nil {
		found, err := c.server.db.Latest().AccountDataSince(c.ctx, c.req.User, 0, c.until)
		if err != nil {
			return nil, err
		}
		data = nil
		for _, d := range found {
			if d.Room == room {
				data = append(data, d)
			}
		}
	}
	f := &c.filter.Room.AccountData
	begun := false
	for _, d := range data {
		if !admitsIn(f, info, d.Type) {
			continue
		}
		if begun {
			dst = append(dst, ',')
		} else {
			dst = append(dst, `,"account_data":{"events":[`...)
		}
		begun = true
		dst = appendTyped(dst, d.Type, d.Content)
	}
	if begun {
		dst = append(dst, `]}`...)
	}
	return dst, nil
}

// appendTyped appends an event that is only a type and a content.
func appendTyped(dst []byte, typ string, content []byte) []byte {
	dst = append(dst, `{"content":`...)
	dst = append(dst, content...)
	dst = append(dst, `,"type":`...)
	dst = appendString(dst, typ)
	return append(dst, '}')
}

// readIgnored reads whom the reader ignores, unless that is known already.
//
// Spec: client-server-api/#ignoring-users
func (c *composer) readIgnored() error {
	s, r := c.server, c.reader
	s.mu.Lock()
	changed := r.changed
	s.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ignored == nil || r.ignoredAt < changed {
		data, err := s.db.Latest().AccountData(c.ctx, r.user, 0, typeIgnored)
		if err != nil {
			return err
		}
		r.ignored, r.ignoredAt = map[id.UserID]bool{}, changed
		if data != nil {
			r.ignored = ignoredIn(data.Content, r.user)
		}
	}
	c.ignored = r.ignored
	return nil
}

// ignoredIn reads an m.ignored_user_list. Nobody ignores themselves.
func ignoredIn(content []byte, self id.UserID) map[id.UserID]bool {
	out := map[id.UserID]bool{}
	canonical, err := event.Canonical(content)
	if err != nil {
		return out
	}
	for user := range event.Value(canonical).Get("ignored_users").Members() {
		if id.UserID(user) != self {
			out[id.UserID(user)] = true
		}
	}
	return out
}
