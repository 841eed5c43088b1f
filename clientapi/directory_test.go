package clientapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"

	"entente/clientapi"
)

// Aliases are made by members, found by everybody, and removed by those who
// made them or may say what the room is called.
func TestAliases(t *testing.T) {
	each(t, func(w *world) {
		alice, bob, carol := w.person("alice"), w.person("bob"), w.person("carol")
		r := alice.create(object{"preset": "public_chat"})
		bob.post(room(r)+"/join", object{}).ok()
		path := func(alias string) string { return "/directory/room/" + esc("#"+alias) }
		alice.put(path("one:test"), object{"room_id": r}).ok()
		alice.put(path("one:test"), object{"room_id": r}).refused(409, "M_UNKNOWN")
		bob.put(path("two:test"), object{"room_id": r}).ok()
		carol.put(path("three:test"), object{"room_id": r}).refused(403, "M_FORBIDDEN")
		carol.put(path("three:test"), object{"room_id": "!none"}).refused(403, "M_FORBIDDEN")
		alice.put(path("three:elsewhere"), object{"room_id": r}).refused(400, "M_INVALID_PARAM")
		alice.put(path("three"), object{"room_id": r}).refused(400, "M_INVALID_PARAM")
		alice.put(path("three:test"), object{"room_id": "three"}).refused(400, "M_INVALID_PARAM")
		found := w.call("GET", path("one:test"), "", nil).ok()
		if found.str("room_id") != string(r) || fmt.Sprint(found.at("servers")) != "[test]" {
			t.Errorf("the alias points to %s", found.raw)
		}
		if got := bob.get(room(r) + "/aliases").ok(); fmt.Sprint(got.at("aliases")) != "[#one:test #two:test]" {
			t.Errorf("the aliases are %s", got.raw)
		}
		carol.get(room(r)+"/aliases").refused(403, "M_FORBIDDEN")
		carol.get(path("none:test")).refused(404, "M_NOT_FOUND")
		carol.get(path("none:elsewhere")).refused(404, "M_NOT_FOUND")
		bob.call("DELETE", path("one:test"), bob.token, nil).refused(403, "M_FORBIDDEN")
		carol.call("DELETE", path("one:test"), carol.token, nil).refused(403, "M_FORBIDDEN")
		alice.call("DELETE", path("two:test"), alice.token, nil).ok()
		alice.call("DELETE", path("two:test"), alice.token, nil).refused(404, "M_NOT_FOUND")
		alice.call("DELETE", path("one:elsewhere"), alice.token, nil).refused(404, "M_NOT_FOUND")
		alice.post("/createRoom", object{"room_alias_name": "one"}).refused(400, "M_ROOM_IN_USE")
	})
}

// A canonical alias must point to the room, unless it is named already.
func TestCanonicalAlias(t *testing.T) {
	each(t, func(w *world) {
		alice := w.person("alice")
		r, other := alice.create(object{}), alice.create(object{"room_alias_name": "other"})
		path := room(r) + "/state/m.room.canonical_alias"
		alice.put("/directory/room/"+esc("#one:test"), object{"room_id": r}).ok()
		alice.put(path, object{"alias": "#one:test", "alt_aliases": []string{"#one:test"}}).ok()
		for alias, errcode := range map[string]string{
			"#other:test": "M_BAD_ALIAS", "#none:test": "M_BAD_ALIAS", "nonsense": "M_INVALID_PARAM", "#none:elsewhere": "M_BAD_ALIAS",
		} {
			alice.put(path, object{"alias": alias}).refused(400, errcode)
			alice.put(path, object{"alias": "#one:test", "alt_aliases": []string{alias}}).refused(400, errcode)
		}
		alice.put(path, object{"alias": 7}).refused(400, "M_BAD_JSON")
		alice.call("DELETE", "/directory/room/"+esc("#one:test"), alice.token, nil).ok()
		alice.put(path, object{"alias": "#one:test", "more": true}).ok()
		alice.put(path, object{}).ok()
		alice.put(path, object{"alias": "#one:test"}).refused(400, "M_BAD_ALIAS")
		_ = other
	})
}

// The directory shows published rooms, largest first, in pages and as its
// filter says; who lists a room needs the power.
func TestDirectory(t *testing.T) {
	each(t, func(w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		small := alice.create(object{"visibility": "public", "name": "Small fish", "topic": "Water"})
		large := alice.create(object{"visibility": "public", "name": "Large", "room_alias_name": "large-fish"})
		space := alice.create(object{"visibility": "public", "name": "Space", "creation_content": object{"type": "m.space"}})
		hidden := alice.create(object{"name": "Hidden fish"})
		bob.post(room(large)+"/join", object{}).ok()
		list := func(a answer) string {
			names := []string{}
			for _, e := range a.ok().events("chunk") {
				names = append(names, e["name"].(string))
			}
			return strings.Join(names, ",")
		}
		got := w.call("GET", "/publicRooms", "", nil)
		if names := list(got); !strings.HasPrefix(names, "Large,") || strings.Contains(names, "Hidden") || got.at("total_room_count_estimate") != 3.0 {
			t.Errorf("the directory is %s", got.raw)
		}
		if one := got.events("chunk")[0]; one["num_joined_members"] != 2.0 || one["canonical_alias"] != "#large-fish:test" || one["join_rule"] != "public" {
			t.Errorf("a room is shown as %v", one)
		}
		for filter, want := range map[string]string{
			`{"generic_search_term":"FISH"}`: "Large,Small fish", `{"generic_search_term":"water"}`: "Small fish", `{"room_types":["m.space"]}`: "Space",
			`{"room_types":[null],"generic_search_term":"fish"}`: "Large,Small fish", `{"room_types":[]}`: "",
		} {
			if names := list(bob.post("/publicRooms", `{"filter":`+filter+`}`)); names != want {
				t.Errorf("%s finds %s, want %s", filter, names, want)
			}
		}
		first := bob.post("/publicRooms", object{"limit": 2}).ok()
		second := bob.post("/publicRooms", object{"limit": 2, "since": first.str("next_batch")}).ok()
		if len(first.events("chunk")) != 2 || len(second.events("chunk")) != 1 || second.str("next_batch") != "" || second.str("prev_batch") == "" {
			t.Errorf("the pages are %s and %s", first.raw, second.raw)
		}
		bob.post("/publicRooms", object{"since": "x"}).refused(400, "M_INVALID_PARAM")
		bob.post("/publicRooms", object{"filter": 1}).refused(400, "M_BAD_JSON")
		bob.post("/publicRooms?server=elsewhere", object{}).refused(502, "M_UNKNOWN")

		listing := func(r id.RoomID) string { return "/directory/list/room/" + esc(r) }
		bob.put(listing(large), object{"visibility": "private"}).refused(403, "M_FORBIDDEN")
		bob.put(listing(hidden), object{}).refused(403, "M_FORBIDDEN")
		alice.put(listing(small), object{"visibility": "private"}).ok()
		alice.put(listing(hidden), object{}).ok()
		alice.put(listing(hidden), object{"visibility": "secret"}).refused(400, "M_INVALID_PARAM")
		if names := list(bob.get("/publicRooms")); !strings.Contains(names, "Hidden") || strings.Contains(names, "Small") {
			t.Errorf("the directory has become %s", names)
		}
		if got := alice.get(listing(small)).ok().str("visibility"); got != "private" {
			t.Errorf("the small room is %s", got)
		}
		if got := w.call("GET", listing(space), "", nil).ok().str("visibility"); got != "public" {
			t.Errorf("the space is %s", got)
		}
	})
}

// An upgrade makes a room of the new version with the old one's state, moves
// what it is called there, and closes the old one.
func TestUpgrade(t *testing.T) {
	each(t, func(w *world) {
		alice, bob, carol := w.person("alice"), w.person("bob"), w.person("carol")
		for _, versions := range [][2]string{{"1", "12"}, {"9", "10"}, {"12", "11"}, {"12", "12"}} {
			alias := "#room" + versions[0] + "-" + versions[1] + ":test"
			old := alice.create(object{
				"preset": "public_chat", "room_version": versions[0], "name": "Name", "topic": "Topic", "visibility": "public",
				"room_alias_name": strings.TrimSuffix(alias[1:], ":test"), "creation_content": object{"type": "m.space"},
				"power_level_content_override": object{"users_default": 1, "ban": 77},
			})
			bob.post(room(old)+"/join", object{}).ok()
			bob.post(room(old)+"/upgrade", object{"new_version": versions[1]}).refused(403, "M_FORBIDDEN")
			alice.post(room(old)+"/upgrade", object{"new_version": "99"}).refused(400, "M_UNSUPPORTED_ROOM_VERSION")
			alice.post(room(old)+"/upgrade", object{}).refused(400, "M_MISSING_PARAM")
			replacement := id.RoomID(alice.post(room(old)+"/upgrade", object{
				"new_version": versions[1], "additional_creators": []id.UserID{carol.user},
			}).ok().str("replacement_room"))
			create := alice.get(room(replacement) + "/state/m.room.create").ok()
			if create.at("predecessor", "room_id") != string(old) || create.str("type") != "m.space" || create.str("room_version") != versions[1] {
				t.Errorf("%v: the new room begins with %s", versions, create.raw)
			}
			if want := versions[1] == "12"; (create.at("additional_creators") != nil) != want {
				t.Errorf("%v: the creators are %s", versions, create.raw)
			}
			levels := alice.get(room(replacement) + "/state/m.room.power_levels").ok()
			if levels.at("ban") != 77.0 || (levels.at("users", string(alice.user)) == nil) != (versions[1] == "12") {
				t.Errorf("%v: the power levels are %s", versions, levels.raw)
			}
			if got := alice.get(room(replacement) + "/state/m.room.topic").ok().str("topic"); got != "Topic" {
				t.Errorf("%v: the topic is %s", versions, got)
			}
			if got := alice.get("/directory/room/" + esc(alias)).ok().str("room_id"); got != string(replacement) {
				t.Errorf("%v: the alias points to %s", versions, got)
			}
			if got := alice.get(room(replacement) + "/state/m.room.canonical_alias").ok().str("alias"); got != alias {
				t.Errorf("%v: the canonical alias is %s", versions, got)
			}
			tombstone := bob.get(room(old) + "/state/m.room.tombstone").ok()
			if tombstone.str("replacement_room") != string(replacement) {
				t.Errorf("%v: the tombstone is %s", versions, tombstone.raw)
			}
			bob.put(room(old)+"/send/m.room.message/1", object{"body": "still here"}).refused(403, "M_FORBIDDEN")
			bob.post(room(replacement)+"/join", object{}).ok()
			listed := alice.get("/publicRooms?limit=500").ok().raw
			if strings.Contains(listed, string(old)) || !strings.Contains(listed, string(replacement)) {
				t.Errorf("%v: the directory is %s", versions, listed)
			}
		}
		if rooms, _ := alice.get("/joined_rooms").ok().at("joined_rooms").([]any); len(slices.Compact(rooms)) != 8 {
			t.Errorf("alice is in %v", rooms)
		}
	})
}

// Who may list rooms, and who sees the directory, is for the server to say.
func TestDirectoryIsClosed(t *testing.T) {
	each(t, func(w *world) {
		w.directory = clientapi.Directory{Closed: true, DefaultListed: true}
		w.start()
		alice := w.person("alice")
		w.call("GET", "/publicRooms", "", nil).refused(401, "M_MISSING_TOKEN")
		alice.post("/createRoom", object{"visibility": "public"}).refused(403, "M_FORBIDDEN")
		r := alice.create(object{"preset": "public_chat"})
		alice.put("/directory/list/room/"+esc(r), object{"visibility": "public"}).refused(403, "M_FORBIDDEN")
		alice.put("/directory/list/room/"+esc(r), object{"visibility": "private"}).ok()
		w.directory = clientapi.Directory{DefaultListed: true}
		w.start()
		alice.world = w
		alice.create(object{"preset": "public_chat"})
		alice.create(object{"preset": "private_chat"})
		if got := alice.get("/publicRooms").ok(); len(got.events("chunk")) != 1 {
			t.Errorf("the directory is %s", got.raw)
		}
	})
}
