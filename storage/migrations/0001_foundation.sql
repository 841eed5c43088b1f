-- Identity, clock, log, and the names that are interned.

-- instance: whose database this is.
CREATE TABLE instance (
    id          BIGINT PRIMARY KEY CHECK (id = 1), -- there is one
    server_name TEXT NOT NULL,                     -- the Matrix server name, for good
    epoch       BIGINT NOT NULL,                   -- raised by restoring a backup; part of every token
    secret      BYTEA NOT NULL                     -- key of hashes that stay inside the database
);

-- The one clock. SQLite has one writer, and goes on where the log ends.
-- only: postgres
CREATE SEQUENCE clock_pos;
-- end

-- log: one row for each group commit, applied in order by every node.
CREATE TABLE log (
    pos      BIGINT PRIMARY KEY, -- last position of the group
    first    BIGINT NOT NULL,    -- first position of the group
    prev     BIGINT NOT NULL,    -- pos of the row before this one
    node     TEXT NOT NULL,      -- the node that wrote it
    at       BIGINT NOT NULL,    -- when, in milliseconds; for trimming
    subjects BYTEA NOT NULL      -- what was touched: kind byte and varint number, repeated
);

-- counter: numbers are taken from here in blocks.
CREATE TABLE counter (
    name TEXT PRIMARY KEY, -- what is numbered
    next BIGINT NOT NULL   -- the first number that is free
);

-- user_name: Matrix user IDs, local and remote.
CREATE TABLE user_name (
    nid     BIGINT PRIMARY KEY,
    user_id TEXT NOT NULL UNIQUE
);

-- server_name: server names.
CREATE TABLE server_name (
    nid  BIGINT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- event_type: event types.
CREATE TABLE event_type (
    nid  BIGINT PRIMARY KEY,
    type TEXT NOT NULL UNIQUE
);

-- server_set: sets of servers that events are sent to.
CREATE TABLE server_set (
    nid     BIGINT PRIMARY KEY,
    members TEXT NOT NULL UNIQUE -- server names, sorted, joined by line feeds
);

-- client_txn: transaction keys of clients, so that a repeated request makes one event.
CREATE TABLE client_txn (
    key      TEXT PRIMARY KEY, -- hash of user, device, method and path
    event_id TEXT NOT NULL,    -- what the first request made
    at       BIGINT NOT NULL   -- when, in milliseconds
);

-- policy_version: raised by every change of the policy.
CREATE TABLE policy_version (
    id      BIGINT PRIMARY KEY CHECK (id = 1), -- there is one
    version BIGINT NOT NULL
);
INSERT INTO policy_version (id, version) VALUES (1, 1);

-- audit: the hash-chained audit log; rows are only ever inserted.
CREATE TABLE audit (
    seq  BIGINT PRIMARY KEY, -- from 1, without gaps
    at   BIGINT NOT NULL,    -- when, in milliseconds
    body BYTEA NOT NULL,     -- canonical JSON
    hash BYTEA NOT NULL      -- over the hash before, seq, at and body
);
