package accounts

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix/id"

	"entente/internal/fault"
	"entente/storage"
)

const (
	pushRulesType = "m.push_rules"
	fullyReadType = "m.fully_read"
	tagsType      = "m.tag"

	maxAccountData     = 256 << 10
	maxAccountDataType = 255
	maxTag             = 255
)

// AccountData reads what a client kept, for a room unless it is empty.
//
// Spec: client-server-api/#get_matrixclientv3useruseridaccount_datatype
func (a *Accounts) AccountData(ctx context.Context, user id.UserID, room id.RoomID, kind string) (json.RawMessage, error) {
	if room == "" && kind == pushRulesType {
		rules, err := a.PushRules(ctx, user)
		if err != nil {
			return nil, err
		}
		return rules.JSON, nil
	}
	nid, err := a.room(ctx, room)
	if err != nil {
		return nil, err
	}
	data, err := a.db.Latest().AccountData(ctx, user, nid, kind)
	if err != nil {
		return nil, err
	}
	if data == nil {
		return nil, fault.New(fault.NotFound, "There is no such account data")
	}
	return data.Content, nil
}

// SetAccountData keeps a JSON object for a user's clients, for a room unless
// it is empty. What the server manages itself is refused.
//
// Spec: client-server-api/#server-behaviour-1
func (a *Accounts) SetAccountData(ctx context.Context, user id.UserID, room id.RoomID, kind string, content json.RawMessage) error {
	switch {
	case kind == pushRulesType || kind == fullyReadType:
		return fault.New(fault.ServerManaged, "%s cannot be set through this API", kind)
	case len(kind) > maxAccountDataType:
		return fault.New(fault.InvalidParam, "The type is longer than %d bytes", maxAccountDataType)
	case len(content) > maxAccountData:
		return fault.New(fault.TooLarge, "The account data is larger than %d bytes", maxAccountData)
	}
	nid, err := a.room(ctx, room)
	if err != nil {
		return err
	}
	touch, err := a.touch(ctx, storage.User, user)
	if err != nil {
		return err
	}
	return a.commit(ctx, storage.Commit{
		Positions: 1, Touch: touch,
		Write: []storage.Row{
			&storage.Revise{User: user},
			(&storage.AccountData{User: user, Room: nid, Type: kind, Content: content}).At(0),
		},
	})
}

// room is the number of a room that this server knows; zero for none.
func (a *Accounts) room(ctx context.Context, room id.RoomID) (storage.RoomNID, error) {
	if room == "" {
		return 0, nil
	}
	info, err := a.db.Latest().Room(ctx, room)
	if err != nil {
		return 0, err
	}
	if info == nil {
		return 0, fault.New(fault.NotFound, "This server does not know the room")
	}
	return info.NID, nil
}

// reviseAccountData changes account data from what it is; content is nil when
// there is none, and a nil answer leaves it as it is.
func (a *Accounts) reviseAccountData(ctx context.Context, user id.UserID, room storage.RoomNID, kind string, change func(content []byte) ([]byte, error)) error {
	touch, err := a.touch(ctx, storage.User, user)
	if err != nil {
		return err
	}
	return a.revise(ctx, func() (*storage.Commit, error) {
		account, err := a.account(ctx, user)
		if err != nil {
			return nil, err
		}
		data, err := a.db.Latest().AccountData(ctx, user, room, kind)
		if err != nil {
			return nil, err
		}
		var content []byte
		if data != nil {
			content = data.Content
		}
		if content, err = change(content); content == nil || err != nil {
			return nil, err
		}
		if len(content) > maxAccountData {
			return nil, fault.New(fault.TooLarge, "The account data would be larger than %d bytes", maxAccountData)
		}
		return &storage.Commit{
			Positions: 1, Expect: []storage.Precondition{storage.AccountRevision(user, account.Revision)}, Touch: touch,
			Write: []storage.Row{
				&storage.Revise{User: user}, (&storage.AccountData{User: user, Room: room, Type: kind, Content: content}).At(0),
			},
		}, nil
	})
}

// Tags reads the tags that a user gave a room, by name.
//
// Spec: client-server-api/#get_matrixclientv3useruseridroomsroomidtags
func (a *Accounts) Tags(ctx context.Context, user id.UserID, room id.RoomID) (map[string]json.RawMessage, error) {
	content, err := a.AccountData(ctx, user, room, tagsType)
	if fault.Is(err, fault.NotFound) {
		return map[string]json.RawMessage{}, nil
	}
	if err != nil {
		return nil, err
	}
	_, tags := readTags(content)
	return tags, nil
}

// SetTag gives a room a tag; content is a JSON object.
//
// Spec: client-server-api/#put_matrixclientv3useruseridroomsroomidtagstag
func (a *Accounts) SetTag(ctx context.Context, user id.UserID, room id.RoomID, tag string, content json.RawMessage) error {
	if len(tag) > maxTag {
		return fault.New(fault.InvalidParam, "The tag is longer than %d bytes", maxTag)
	}
	return a.reviseTags(ctx, user, room, func(tags map[string]json.RawMessage) bool {
		tags[tag] = content
		return true
	})
}

// DeleteTag takes a tag from a room, if it has it.
//
// Spec: client-server-api/#delete_matrixclientv3useruseridroomsroomidtagstag
func (a *Accounts) DeleteTag(ctx context.Context, user id.UserID, room id.RoomID, tag string) error {
	return a.reviseTags(ctx, user, room, func(tags map[string]json.RawMessage) bool {
		_, has := tags[tag]
		delete(tags, tag)
		return has
	})
}

func (a *Accounts) reviseTags(ctx context.Context, user id.UserID, room id.RoomID, change func(map[string]json.RawMessage) bool) error {
	nid, err := a.room(ctx, room)
	if err != nil {
		return err
	}
	return a.reviseAccountData(ctx, user, nid, tagsType, func(content []byte) ([]byte, error) {
		all, tags := readTags(content)
		if !change(tags) {
			return nil, nil
		}
		encoded, err := json.Marshal(tags)
		if err != nil {
			return nil, err
		}
		all["tags"] = encoded
		return json.Marshal(all)
	})
}

// readTags reads the content of m.tag. What a client once put there instead of
// tags counts as none.
func readTags(content []byte) (all, tags map[string]json.RawMessage) {
	if json.Unmarshal(content, &all) != nil || all == nil {
		all = map[string]json.RawMessage{}
	}
	if json.Unmarshal(all["tags"], &tags) != nil || tags == nil {
		tags = map[string]json.RawMessage{}
	}
	return all, tags
}
