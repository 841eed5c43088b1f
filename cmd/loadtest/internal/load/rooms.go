package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix/id"
)

func roomPath(room id.RoomID, rest string) string {
	return "/_matrix/client/v3/rooms/" + url.PathEscape(string(room)) + rest
}

// CreateRoom makes a public room and returns its ID. An empty version is the
// server's default.
func (c *Client) CreateRoom(ctx context.Context, name, version string) (id.RoomID, error) {
	request := map[string]any{"preset": "public_chat", "name": name, "topic": "A room of a load test"}
	if version != "" {
		request["room_version"] = version
	}
	body, err := json.Marshal(request)
	if err != nil {
		return "", err
	}
	var buf bytes.Buffer
	if err := c.server.patient(ctx, http.MethodPost, "/_matrix/client/v3/createRoom", c.token, body, &buf); err != nil {
		return "", err
	}
	return id.RoomID(gjson.GetBytes(buf.Bytes(), "room_id").String()), nil
}

// Join joins a room, through another server when via is not empty.
func (c *Client) Join(ctx context.Context, room id.RoomID, via string) error {
	path := "/_matrix/client/v3/join/" + url.PathEscape(string(room))
	if via != "" {
		// Servers before version 1.12 of the specification know server_name.
		path += "?via=" + url.QueryEscape(via) + "&server_name=" + url.QueryEscape(via)
	}
	var buf bytes.Buffer
	return c.server.patient(ctx, http.MethodPost, path, c.token, []byte("{}"), &buf)
}

// SetState sends a state event.
func (c *Client) SetState(ctx context.Context, room id.RoomID, kind, key string, content []byte) error {
	var buf bytes.Buffer
	path := roomPath(room, "/state/"+url.PathEscape(kind)+"/"+url.PathEscape(key))
	return c.server.patient(ctx, http.MethodPut, path, c.token, content, &buf)
}

// StateCount counts the state events of a room.
func (c *Client) StateCount(ctx context.Context, room id.RoomID) (int, error) {
	var buf bytes.Buffer
	if err := c.server.patient(ctx, http.MethodGet, roomPath(room, "/state"), c.token, nil, &buf); err != nil {
		return 0, err
	}
	return int(gjson.GetBytes(buf.Bytes(), "#").Int()), nil
}

// Send sends a message and returns when the server acknowledged it. It does
// not retry: what it measures is the server.
func (c *Client) Send(ctx context.Context, room id.RoomID, content []byte, buf *bytes.Buffer) error {
	path := roomPath(room, "/send/m.room.message/"+strconv.FormatInt(c.txn.Add(1), 10))
	return c.server.call(ctx, http.MethodPut, path, c.token, content, buf)
}

// message is the content of a message of some 150 bytes. The run and number
// let a receiver recognise it.
func message(buf []byte, run string, n int) []byte {
	buf = append(buf[:0], `{"msgtype":"m.text","body":"The quick brown fox jumps over the lazy dog, and a message of a load test is about as long as this.","run":"`...)
	buf = append(buf, run...)
	buf = append(buf, `","n":`...)
	buf = strconv.AppendInt(buf, int64(n), 10)
	return append(buf, '}')
}

// Sync asks for what is new since a token, waiting up to timeout. The answer
// is in buf until the next call; the token it ends with is returned.
func (c *Client) Sync(ctx context.Context, since, filter string, timeout time.Duration, buf *bytes.Buffer) (string, error) {
	path := "/_matrix/client/v3/sync?timeout=" + strconv.FormatInt(timeout.Milliseconds(), 10) + "&filter=" + url.QueryEscape(filter)
	if since != "" {
		path += "&since=" + url.QueryEscape(since)
	}
	if err := c.server.call(ctx, http.MethodGet, path, c.token, nil, buf); err != nil {
		return "", err
	}
	next := gjson.GetBytes(buf.Bytes(), "next_batch").String()
	if next == "" {
		return "", fmt.Errorf("the sync of %s has no next_batch", c.User)
	}
	return next, nil
}

// Back reads one page of history before a token; the answer is in buf.
func (c *Client) Back(ctx context.Context, room id.RoomID, from string, buf *bytes.Buffer) error {
	path := roomPath(room, "/messages?dir=b&limit=100&from="+url.QueryEscape(from))
	return c.server.call(ctx, http.MethodGet, path, c.token, nil, buf)
}
