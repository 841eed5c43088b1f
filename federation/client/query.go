package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"entente/federation/keys"
	"maunium.net/go/mautrix/id"
)

const (
	queryLimit     = 1 << 20
	directoryLimit = 16 << 20
)

// DirectoryAnswer is what a room alias stands for.
type DirectoryAnswer struct {
	RoomID id.RoomID `json:"room_id"`
	// Servers are likely to be in the room.
	Servers []string `json:"servers"`
}

// QueryDirectory asks a room alias's server for its room.
//
// Spec: server-server-api/#get_matrixfederationv1querydirectory
func (c *Client) QueryDirectory(ctx context.Context, server string, alias id.RoomAlias) (DirectoryAnswer, error) {
	var answer DirectoryAnswer
	err := c.do(ctx, call{
		server: server, method: http.MethodGet, limit: queryLimit,
		uri: withQuery(federationV1+"/query/directory", url.Values{"room_alias": {string(alias)}}),
	}, &answer)
	return answer, err
}

// QueryProfile asks a user's server for the profile, or for one field of it
// when field is not empty.
//
// Spec: server-server-api/#get_matrixfederationv1queryprofile
func (c *Client) QueryProfile(ctx context.Context, server string, user id.UserID, field string) (map[string]json.RawMessage, error) {
	query := url.Values{"user_id": {string(user)}}
	if field != "" {
		query.Set("field", field)
	}
	var answer map[string]json.RawMessage
	err := c.do(ctx, call{
		server: server, method: http.MethodGet, limit: queryLimit, uri: withQuery(federationV1+"/query/profile", query),
	}, &answer)
	return answer, err
}

// PublicRoomsRequest asks for a page of a server's published rooms.
type PublicRoomsRequest struct {
	Limit int    `json:"limit,omitempty"` // zero for no limit
	Since string `json:"since,omitempty"`
	// Filter narrows the rooms down, when there is one.
	Filter               json.RawMessage `json:"filter,omitempty"`
	IncludeAllNetworks   bool            `json:"include_all_networks,omitempty"`
	ThirdPartyInstanceID string          `json:"third_party_instance_id,omitempty"`
}

// PublicRooms is a page of a server's published rooms.
type PublicRooms struct {
	Chunk     []json.RawMessage `json:"chunk"`
	NextBatch string            `json:"next_batch,omitempty"`
	PrevBatch string            `json:"prev_batch,omitempty"`
	// Total is the server's estimate; nil when it gave none.
	Total *int64 `json:"total_room_count_estimate,omitempty"`
}

// PublicRooms gets a page of a server's published rooms.
//
// Spec: server-server-api/#post_matrixfederationv1publicrooms
func (c *Client) PublicRooms(ctx context.Context, server string, req PublicRoomsRequest) (PublicRooms, error) {
	q := call{server: server, method: http.MethodGet, limit: directoryLimit}
	if len(req.Filter) > 0 {
		body, err := canonical(req)
		if err != nil {
			return PublicRooms{}, err
		}
		q.method, q.uri, q.body = http.MethodPost, federationV1+"/publicRooms", body
	} else {
		q.uri = withQuery(federationV1+"/publicRooms", req.query())
	}
	var answer PublicRooms
	err := c.do(ctx, q, &answer)
	return answer, err
}

func (r *PublicRoomsRequest) query() url.Values {
	query := url.Values{}
	if r.Limit > 0 {
		query.Set("limit", strconv.Itoa(r.Limit))
	}
	if r.Since != "" {
		query.Set("since", r.Since)
	}
	if r.IncludeAllNetworks {
		query.Set("include_all_networks", "true")
	}
	if r.ThirdPartyInstanceID != "" {
		query.Set("third_party_instance_id", r.ThirdPartyInstanceID)
	}
	return query
}

// Version gets the name and version of a server's software.
//
// Spec: server-server-api/#get_matrixfederationv1version
func (c *Client) Version(ctx context.Context, server string) (name, version string, err error) {
	var answer struct {
		Server struct {
			Name    string `json:"name"`
			Version string `json:"version"`
		} `json:"server"`
	}
	err = c.do(ctx, call{
		server: server, method: http.MethodGet, limit: queryLimit, anonymous: true, uri: federationV1 + "/version",
	}, &answer)
	return printable(answer.Server.Name, maxKey), printable(answer.Server.Version, maxKey), err
}

// ServerKeys gets a server's own key document, for a keys.Ring.
//
// Spec: server-server-api/#get_matrixkeyv2server
func (c *Client) ServerKeys(ctx context.Context, server string) (document []byte, err error) {
	q := call{server: server, method: http.MethodGet, limit: keys.MaxDocument, anonymous: true, uri: keyV2 + "/server"}
	err = c.open(ctx, q, func(body io.Reader) error {
		if document, err = io.ReadAll(body); err != nil {
			return unreachable(server, err)
		}
		return nil
	})
	return document, err
}

// QueryKeys asks a notary for a server's key documents, for a keys.Ring.
//
// Spec: server-server-api/#get_matrixkeyv2queryservername
func (c *Client) QueryKeys(ctx context.Context, notary, server string, minValidUntil int64) ([][]byte, error) {
	var answer keys.Answer
	err := c.do(ctx, call{
		server: notary, method: http.MethodGet, limit: queryLimit, anonymous: true,
		uri: withQuery(path(keyV2+"/query", server), url.Values{"minimum_valid_until_ts": {strconv.FormatInt(minValidUntil, 10)}}),
	}, &answer)
	if err != nil {
		return nil, err
	}
	documents := make([][]byte, len(answer.ServerKeys))
	for i := range documents {
		documents[i] = answer.ServerKeys[i]
	}
	return documents, nil
}
