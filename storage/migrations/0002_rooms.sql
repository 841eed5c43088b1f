-- Rooms: events, state, heads and their projections.

-- room: every room that this server has heard of.
CREATE TABLE room (
    nid       BIGINT PRIMARY KEY,
    room_id   TEXT NOT NULL UNIQUE,
    version   TEXT NOT NULL,                 -- room version
    published BOOLEAN NOT NULL DEFAULT FALSE -- listed in the room directory
);

-- room_head: where a room stands; moved by compare-and-set on version.
CREATE TABLE room_head (
    room       BIGINT PRIMARY KEY,
    version    BIGINT NOT NULL, -- a number that no other head ever has
    collection BIGINT NOT NULL, -- gc epoch: raised when state nodes are collected
    pos        BIGINT NOT NULL, -- position of the latest event
    depth      BIGINT NOT NULL, -- highest depth of the live timeline
    root       BIGINT NOT NULL, -- current state
    latest     BYTEA NOT NULL,  -- forward extremities: packed event numbers
    joined     BIGINT NOT NULL, -- members joined
    invited    BIGINT NOT NULL, -- members invited
    dests      BIGINT NOT NULL  -- set of servers joined, without this one
);

-- event: persistent data units.
CREATE TABLE event (
    nid          BIGINT PRIMARY KEY, -- identity, no order
    room         BIGINT NOT NULL,
    event_id     TEXT NOT NULL,
    pos          BIGINT,             -- place in the live timeline; null: not in it
    status       BIGINT NOT NULL,    -- 0 outlier, 1 accepted, 2 soft-failed, 3 rejected
    type         BIGINT NOT NULL,    -- number of the event type
    state_key    TEXT,               -- null: not a state event
    sender       BIGINT NOT NULL,    -- number of the user
    depth        BIGINT NOT NULL,
    ts           BIGINT NOT NULL,    -- origin_server_ts
    top          BIGINT NOT NULL,    -- highest depth of the live timeline before this event
    before_root  BIGINT,             -- state before the event; null: not known
    after_root   BIGINT,             -- state after the event; null: not known
    prev         BYTEA NOT NULL,     -- packed numbers of the known prev_events
    auth         BYTEA NOT NULL,     -- packed numbers of the auth_events
    chain        BIGINT NOT NULL,    -- chain-cover index: the chain; 0: none
    chain_seq    BIGINT NOT NULL,    -- chain-cover index: rank in the graph of auth events
    chain_prev   BIGINT NOT NULL,    -- chain-cover index: rank of the event below it in its chain; 0: it is the first
    rel_type     TEXT,               -- m.relates_to: rel_type
    rel_to       TEXT,               -- m.relates_to: event_id
    redacts      TEXT,               -- m.room.redaction: the event that it names
    redacted_by  BIGINT,             -- number of the redaction that was applied
    replaces     BIGINT,             -- number of the state event that this one replaced
    flags        BIGINT NOT NULL,    -- bits: 1 notifies, 2 encrypted, 4 contains a room mention
    dests        BIGINT,             -- set of servers that we must send it to; null: none
    reason       TEXT,               -- why it was rejected or soft-failed
    json         BYTEA NOT NULL,     -- codec byte and canonical JSON
    UNIQUE (event_id, room)
);
CREATE INDEX event_pos ON event (room, pos) WHERE pos IS NOT NULL;
CREATE INDEX event_depth ON event (room, depth, nid) WHERE status = 1;
CREATE INDEX event_dests ON event (pos, dests) WHERE dests IS NOT NULL;
CREATE INDEX event_redacts ON event (room, redacts) WHERE redacts IS NOT NULL;
CREATE INDEX event_relation ON event (room, rel_to) WHERE rel_to IS NOT NULL;
CREATE INDEX event_chain ON event (room, chain, chain_seq) WHERE chain <> 0;
-- a chain does not fork
CREATE UNIQUE INDEX event_chain_prev ON event (room, chain, chain_prev) WHERE chain <> 0;

-- chain_link: the chain-cover index's links: an event at from (or, without a chain, just at key) cites the one at to.
CREATE TABLE chain_link (
    room       BIGINT NOT NULL,
    to_chain   BIGINT NOT NULL,
    to_seq     BIGINT NOT NULL,
    from_chain BIGINT NOT NULL, -- 0: the citing event has no chain
    from_seq   BIGINT NOT NULL,
    num        BIGINT NOT NULL, -- number of the citing event's state key
    PRIMARY KEY (room, to_chain, to_seq, from_chain, num)
);
CREATE INDEX chain_link_from ON chain_link (room, from_chain, from_seq) WHERE from_chain <> 0;

-- missing_prev: backward extremities: events cited that we do not have.
CREATE TABLE missing_prev (
    room     BIGINT NOT NULL,
    event_id TEXT NOT NULL,   -- the missing event
    cited_by BIGINT NOT NULL, -- number of an event that cites it
    PRIMARY KEY (room, event_id, cited_by)
);

-- state_key: the state keys of a room, numbered in order of appearance.
CREATE TABLE state_key (
    room      BIGINT NOT NULL,
    num       BIGINT NOT NULL,
    type      BIGINT NOT NULL, -- number of the event type
    state_key TEXT NOT NULL,
    PRIMARY KEY (room, num),
    UNIQUE (room, type, state_key)
);

-- state_node: rows of the persistent state map; never changed, ids never reused.
CREATE TABLE state_node (
    room BIGINT NOT NULL,
    id   BIGINT NOT NULL,
    data BYTEA NOT NULL,
    PRIMARY KEY (room, id)
);

-- state_delta: every change of a room's current state.
CREATE TABLE state_delta (
    room BIGINT NOT NULL,
    pos  BIGINT NOT NULL,
    num  BIGINT NOT NULL, -- the state key
    old  BIGINT,          -- number of the event before; null: none
    new  BIGINT,          -- number of the event after; null: none
    root BIGINT NOT NULL, -- state after the change
    PRIMARY KEY (room, pos, num)
);

-- member: memberships of the current state, and of local users in rooms that we are not in.
CREATE TABLE member (
    room       BIGINT NOT NULL,
    user_nid   BIGINT NOT NULL,
    membership BIGINT NOT NULL,                -- 0 leave, 1 join, 2 invite, 3 knock, 4 ban
    event      BIGINT NOT NULL,                -- number of the m.room.member event
    pos        BIGINT NOT NULL,                -- when it became so
    sender     BIGINT NOT NULL,                -- who sent it
    local      BOOLEAN NOT NULL,               -- the user is ours
    forgotten  BOOLEAN NOT NULL DEFAULT FALSE, -- the user has forgotten the room
    stripped   BYTEA,                          -- stripped state of an invite or knock, a JSON array
    PRIMARY KEY (room, user_nid)
);
CREATE INDEX member_local ON member (user_nid, membership) WHERE local;
CREATE INDEX member_room ON member (room, membership);

-- room_server: how many members of a room each server has joined.
CREATE TABLE room_server (
    room   BIGINT NOT NULL,
    server BIGINT NOT NULL,
    joined BIGINT NOT NULL,
    PRIMARY KEY (room, server)
);

-- alias: local room aliases.
CREATE TABLE alias (
    alias   TEXT PRIMARY KEY,
    room    BIGINT NOT NULL,
    creator BIGINT NOT NULL, -- number of the user
    at      BIGINT NOT NULL
);
CREATE INDEX alias_room ON alias (room);
