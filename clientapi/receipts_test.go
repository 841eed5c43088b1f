package clientapi_test

import (
	"testing"

	"maunium.net/go/mautrix/id"
)

// Typing ends when it is said to, and by itself.
func TestTyping(t *testing.T) {
	each(t, func(w *world) {
		alice, bob, eve := w.person("alice"), w.person("bob"), w.person("eve")
		roomID := alice.create(object{"preset": "public_chat"})
		bob.post("/join/"+esc(roomID), object{}).ok()
		d := bob.device()
		d.sync()
		typing := func() any {
			t.Helper()
			d.sync()
			for _, e := range list(d.joined(roomID), "ephemeral", "events") {
				if e["type"] == "m.typing" {
					return len(dig(e, "content", "user_ids").([]any))
				}
			}
			return nil
		}
		path := room(roomID) + "/typing/"
		alice.put(path+esc(alice.user), object{"typing": true, "timeout": 1000}).ok()
		if got := typing(); got != 1 {
			t.Errorf("%v type, want 1", got)
		}
		alice.put(path+esc(alice.user), object{"typing": true, "timeout": 1000}).ok()
		if got := typing(); got != nil {
			t.Errorf("typing on is told again: %v", got)
		}
		alice.put(path+esc(alice.user), object{"typing": false}).ok()
		if got := typing(); got != 0 {
			t.Errorf("%v type, want 0", got)
		}
		eve.put(path+esc(eve.user), object{"typing": true}).refused(403, "M_FORBIDDEN")
		alice.put(path+esc(bob.user), object{"typing": true}).refused(403, "M_FORBIDDEN")
		alice.put(path+esc(alice.user), object{}).refused(400, "M_MISSING_PARAM")
		alice.put("/rooms/!none:test/typing/"+esc(alice.user), object{"typing": true}).refused(403, "M_FORBIDDEN")
	})
}

// Receipts reach the room, private ones only their user, and both end what is
// unread; a thread has its own.
func TestReceipts(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		roomID := alice.create(object{"preset": "public_chat"})
		bob.post("/join/"+esc(roomID), object{}).ok()
		da, db := alice.device(), bob.device()
		da.sync()
		db.sync()
		one, two := alice.say(roomID, "one"), alice.say(roomID, "two")
		receipts := func(d *device, kind string, e id.EventID) any {
			t.Helper()
			for _, r := range list(d.joined(roomID), "ephemeral", "events") {
				if r["type"] == "m.receipt" {
					return dig(r, "content", string(e), kind, string(bob.user))
				}
			}
			return nil
		}
		unread := func() any { return dig(db.joined(roomID), "unread_notifications", "notification_count") }
		if db.sync(); unread() != 2.0 {
			t.Errorf("%v unread, want 2", unread())
		}
		bob.post(room(roomID)+"/receipt/m.read/"+esc(one), object{}).ok()
		da.sync()
		db.sync()
		if receipts(da, "m.read", one) == nil || receipts(db, "m.read", one) == nil || unread() != 1.0 {
			t.Errorf("alice is told %v, bob %v, %v unread", da.last.raw, db.last.raw, unread())
		}
		bob.post(room(roomID)+"/receipt/m.read.private/"+esc(two), object{}).ok()
		da.sync()
		db.sync()
		if receipts(da, "m.read.private", two) != nil || receipts(db, "m.read.private", two) == nil || unread() != 0.0 {
			t.Errorf("alice is told %v, bob %v, %v unread", da.last.raw, db.last.raw, unread())
		}
		bob.post(room(roomID)+"/read_markers", object{"m.fully_read": one, "m.read": two}).ok()
		db.sync()
		data := list(db.joined(roomID), "account_data", "events")
		if len(data) != 1 || dig(data[0], "content", "event_id") != string(one) || receipts(db, "m.read", two) == nil {
			t.Errorf("read markers: %s", db.last.raw)
		}
		bob.post(room(roomID)+"/receipt/m.read/"+esc(one), object{}).ok()
		if db.sync(); db.last.at("rooms") != nil {
			t.Errorf("a receipt went back: %s", db.last.raw)
		}
		alice.send(roomID, "m.room.message", object{"msgtype": "m.text", "body": "in it", "m.relates_to": object{"rel_type": "m.thread", "event_id": one}})
		db.filter = `{"room":{"timeline":{"unread_thread_notifications":true}}}`
		db.sync()
		if got := dig(db.joined(roomID), "unread_thread_notifications", string(one), "notification_count"); got != 1.0 || unread() != 0.0 {
			t.Errorf("%v unread in the thread, %v outside", got, unread())
		}
		fresh := bob.device()
		fresh.sync()
		if receipts(fresh, "m.read", two) == nil || receipts(fresh, "m.read.private", two) == nil {
			t.Errorf("a first sync lacks receipts: %s", fresh.last.raw)
		}
		path := room(roomID) + "/receipt/"
		bob.post(path+"m.unheard/"+esc(one), object{}).refused(400, "M_INVALID_PARAM")
		bob.post(path+"m.read/"+esc(one), object{"thread_id": ""}).refused(400, "M_INVALID_PARAM")
		bob.post(path+"m.fully_read/"+esc(one), object{"thread_id": "main"}).refused(400, "M_INVALID_PARAM")
		bob.post(path+"m.read/"+esc(one), object{"thread_id": "nonsense"}).refused(400, "M_INVALID_PARAM")
		bob.post(room(roomID)+"/read_markers", object{"m.fully_read": "$elsewhere"}).refused(404, "M_NOT_FOUND")
		w.person("eve").post(path+"m.read/"+esc(one), object{}).refused(403, "M_FORBIDDEN")
	})
}

// Mentions are highlighted, and speaking reads what came before.
func TestUnread(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		roomID := alice.create(object{"preset": "public_chat"})
		alice.say(roomID, "before bob came")
		bob.post("/join/"+esc(roomID), object{}).ok()
		alice.say(roomID, "one")
		alice.send(roomID, "m.room.message", object{"msgtype": "m.text", "body": "bob!", "m.mentions": object{"user_ids": []id.UserID{bob.user}}})
		alice.send(roomID, "m.room.message", object{"msgtype": "m.notice", "body": "quiet"})
		counts := func(d *device) [2]any {
			r := d.joined(roomID)
			return [2]any{dig(r, "unread_notifications", "notification_count"), dig(r, "unread_notifications", "highlight_count")}
		}
		d := bob.device()
		if d.sync(); counts(d) != [2]any{2.0, 1.0} {
			t.Errorf("unread: %v", counts(d))
		}
		bob.say(roomID, "here")
		if d.sync(); counts(d) != [2]any{0.0, 0.0} {
			t.Errorf("unread after speaking: %v", counts(d))
		}
		alice.send(roomID, "m.room.message", object{"msgtype": "m.text", "body": "all", "m.mentions": object{"room": true}})
		if d.sync(); counts(d) != [2]any{1.0, 1.0} {
			t.Errorf("unread after @room: %v", counts(d))
		}
		bob.put("/pushrules/global/room/"+esc(roomID), object{"actions": []any{}}).ok()
		bob.put("/pushrules/global/override/mute", object{"actions": []any{}, "conditions": []object{{"kind": "event_match", "key": "room_id", "pattern": roomID}}}).ok()
		alice.say(roomID, "muted")
		if d.sync(); counts(d) != [2]any{0.0, 0.0} {
			t.Errorf("unread in a muted room: %v", counts(d))
		}
	})
}

// Presence is shown to those who share a room, and ends with the client.
func TestPresence(t *testing.T) {
	each(t, func(w *world) {
		alice, bob, eve := w.person("alice"), w.person("bob"), w.person("eve")
		roomID := alice.create(object{"preset": "public_chat"})
		bob.post("/join/"+esc(roomID), object{}).ok()
		d, far := bob.device(), eve.device()
		d.sync()
		far.sync()
		alice.device().sync()
		alice.put("/presence/"+esc(alice.user)+"/status", object{"presence": "unavailable", "status_msg": "lunch"}).ok()
		d.sync()
		far.sync()
		shown := func(d *device) (out object) {
			for _, e := range list(d.last.body, "presence", "events") {
				if e["sender"] == string(alice.user) {
					out = e["content"].(object)
				}
			}
			return out
		}
		if got := shown(d); got["presence"] != "unavailable" || got["status_msg"] != "lunch" {
			t.Errorf("bob sees %v", got)
		}
		if got := shown(far); got != nil {
			t.Errorf("a stranger sees %v", got)
		}
		if got := bob.get("/presence/" + esc(alice.user) + "/status").ok().str("presence"); got != "unavailable" {
			t.Errorf("bob asks and is told %s", got)
		}
		eve.get("/presence/"+esc(alice.user)+"/status").refused(403, "M_FORBIDDEN")
		alice.put("/presence/"+esc(alice.user)+"/status", object{"presence": "asleep"}).refused(400, "M_INVALID_PARAM")
		bob.put("/presence/"+esc(alice.user)+"/status", object{"presence": "online"}).refused(403, "M_FORBIDDEN")
	})
}

// What is unread stays counted when there is much of it.
func TestManyUnread(t *testing.T) {
	each(t, func(w *world) {
		if testing.Short() {
			t.Skip("it sends many messages")
		}
		alice, bob := w.person("alice"), w.person("bob")
		roomID := alice.create(object{"preset": "public_chat"})
		bob.post("/join/"+esc(roomID), object{}).ok()
		d := bob.device()
		d.sync()
		const many = 650 // more than are remembered one by one
		var last id.EventID
		for range many {
			last = alice.say(roomID, "x")
		}
		unread := func(d *device) any { return dig(d.joined(roomID), "unread_notifications", "notification_count") }
		d.sync()
		late := bob.device()
		late.sync()
		if unread(d) != float64(many) || unread(late) != float64(many) {
			t.Errorf("%v and %v unread, want %d", unread(d), unread(late), many)
		}
		alice.say(roomID, "one more")
		if d.sync(); unread(d) != many+1.0 {
			t.Errorf("%v unread, want %d", unread(d), many+1)
		}
		bob.post(room(roomID)+"/receipt/m.read/"+esc(last), object{}).ok()
		if d.sync(); unread(d) != 1.0 {
			t.Errorf("%v unread after reading, want 1", unread(d))
		}
	})
}
