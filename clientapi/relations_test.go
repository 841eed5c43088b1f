package clientapi_test

import (
	"fmt"
	"slices"
	"testing"

	"maunium.net/go/mautrix/id"
)

func related(kind string, to id.EventID, more object) object {
	content := object{"m.relates_to": object{"rel_type": kind, "event_id": to}}
	for key, value := range more {
		content[key] = value
	}
	return content
}

func relations(r id.RoomID, of id.EventID, rest string) string {
	return "/_matrix/client/v1" + room(r) + "/relations/" + esc(of) + rest
}

// The events that relate to one are listed in all three forms, in pages and in
// either order; those that were redacted are not.
func TestRelations(t *testing.T) {
	each(t, func(w *world) {
		alice := w.person("alice")
		r := alice.create(object{})
		of := alice.say(r, "root")
		var all []id.EventID
		for i := range 5 {
			all = append(all, alice.send(r, "m.room.message", related("m.thread", of, object{"body": fmt.Sprint(i)})))
		}
		reaction := alice.send(r, "m.reaction", object{"m.relates_to": object{"rel_type": "m.annotation", "event_id": of, "key": "+"}})
		onReply := alice.send(r, "m.reaction", object{"m.relates_to": object{"rel_type": "m.annotation", "event_id": all[0], "key": "+"}})
		slices.Reverse(all)
		check := func(rest string, want ...id.EventID) {
			t.Helper()
			if got := alice.get(relations(r, of, rest)).ok(); !slices.Equal(got.ids("chunk"), want) {
				t.Errorf("%q lists %v, want %v", rest, got.ids("chunk"), want)
			}
		}
		check("/m.thread", all...)
		check("/m.thread/m.reaction")
		check("/m.annotation/m.reaction", reaction)
		check("", append([]id.EventID{reaction}, all...)...)
		check("?recurse=true&limit=2", onReply, reaction)
		check("?dir=f&limit=2", all[4], all[3])
		first := alice.get(relations(r, of, "/m.thread?limit=2")).ok()
		second := alice.get(relations(r, of, "/m.thread?limit=3&from="+first.str("next_batch"))).ok()
		if !slices.Equal(append(first.ids("chunk"), second.ids("chunk")...), all) || second.str("next_batch") != "" {
			t.Errorf("the pages are %s and %s", first.raw, second.raw)
		}
		alice.put(room(r)+"/redact/"+esc(reaction)+"/x", object{}).ok()
		check("/m.annotation")
		alice.get(relations(r, of, "?recurse=maybe")).refused(400, "M_INVALID_PARAM")
	})
}

// An event carries what is said of it: its latest edit, its thread, and what
// refers to it.
func TestAggregations(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		r := alice.create(object{"preset": "public_chat"})
		bob.post(room(r)+"/join", object{}).ok()
		of := alice.say(r, "root")
		edit := func(p *person, body string) id.EventID {
			return p.send(r, "m.room.message", related("m.replace", of, object{"body": "* " + body, "m.new_content": object{"body": body}}))
		}
		edit(alice, "one")
		latest := edit(alice, "two")
		edit(bob, "forged")
		alice.send(r, "m.room.message", related("m.replace", of, object{"body": "without new content"}))
		bob.send(r, "m.room.message", related("m.thread", of, object{"body": "in thread"}))
		last := bob.send(r, "m.room.message", related("m.thread", of, object{"body": "last in thread"}))
		reference := bob.send(r, "m.room.message", related("m.reference", of, object{"body": "refers"}))
		for _, p := range []*person{alice, bob} {
			got := p.get(room(r) + "/event/" + esc(of)).ok()
			bundle := got.at("unsigned", "m.relations")
			if dig(bundle, "m.replace", "event_id") != string(latest) {
				t.Errorf("the latest edit is %v", dig(bundle, "m.replace"))
			}
			if dig(bundle, "m.thread", "latest_event", "event_id") != string(last) || dig(bundle, "m.thread", "count") != 2.0 {
				t.Errorf("the thread is %v", dig(bundle, "m.thread"))
			}
			if dig(bundle, "m.thread", "current_user_participated") != true {
				t.Errorf("%s has taken part: %v", p.user, dig(bundle, "m.thread"))
			}
			if fmt.Sprint(dig(bundle, "m.reference", "chunk")) != fmt.Sprint([]any{object{"event_id": string(reference)}}) {
				t.Errorf("the references are %v", dig(bundle, "m.reference"))
			}
		}
		page := alice.get(room(r) + "/messages?dir=b&limit=100").ok()
		i := slices.Index(page.ids("chunk"), of)
		if dig(page.events("chunk")[i], "unsigned", "m.relations", "m.thread", "count") != 2.0 {
			t.Errorf("a page shows %v", page.events("chunk")[i])
		}
		alice.put(room(r)+"/redact/"+esc(latest)+"/x", object{}).ok()
		if got := alice.get(room(r) + "/event/" + esc(of)).ok(); got.at("unsigned", "m.relations", "m.replace", "content", "body") != "* one" {
			t.Errorf("after the last edit was redacted the event is %s", got.raw)
		}
		alice.put(room(r)+"/redact/"+esc(of)+"/y", object{}).ok()
		if got := alice.get(room(r) + "/event/" + esc(of)).ok(); got.at("unsigned", "m.relations") != nil {
			t.Errorf("a redacted event still carries %s", got.raw)
		}
	})
}

// Threads are listed with the latest first, in pages, all of them or those
// that one takes part in.
func TestThreads(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		r := alice.create(object{"preset": "public_chat"})
		bob.post(room(r)+"/join", object{}).ok()
		roots := []id.EventID{alice.say(r, "a"), alice.say(r, "b"), alice.say(r, "c")}
		for _, i := range []int{1, 2, 0, 1} {
			alice.send(r, "m.room.message", related("m.thread", roots[i], object{"body": "x"}))
		}
		bob.send(r, "m.room.message", related("m.thread", roots[2], object{"body": "y"}))
		path := "/_matrix/client/v1" + room(r) + "/threads"
		want := []id.EventID{roots[2], roots[1], roots[0]}
		if got := alice.get(path).ok(); !slices.Equal(got.ids("chunk"), want) || got.str("next_batch") != "" {
			t.Errorf("the threads are %s", got.raw)
		}
		if got := bob.get(path + "?include=participated").ok(); !slices.Equal(got.ids("chunk"), want[:1]) {
			t.Errorf("bob's threads are %s", got.raw)
		}
		first := alice.get(path + "?limit=2").ok()
		second := alice.get(path + "?limit=2&from=" + first.str("next_batch")).ok()
		if !slices.Equal(append(first.ids("chunk"), second.ids("chunk")...), want) || second.str("next_batch") != "" {
			t.Errorf("the pages are %s and %s", first.raw, second.raw)
		}
		for _, query := range []string{"?include=some", "?limit=0", "?from=x", "?from=h1.x!.x", "?from=h1.1.!"} {
			alice.get(path+query).refused(400, "M_INVALID_PARAM")
		}
		w.person("carol").get(path).refused(403, "M_FORBIDDEN")
	})
}
