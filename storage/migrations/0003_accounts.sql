-- Accounts: users, devices, sessions, profiles, account data, filters.

-- account: the users of this server.
CREATE TABLE account (
    user_nid    BIGINT PRIMARY KEY,
    password    TEXT NOT NULL,                  -- hash in PHC format; empty: no login by password
    admin       BOOLEAN NOT NULL,               -- administers this server
    deactivated BOOLEAN NOT NULL DEFAULT FALSE, -- can never log in again
    appservice  TEXT NOT NULL,                  -- application service that made the account; empty: none
    created     BIGINT NOT NULL,                -- when, in milliseconds
    revision    BIGINT NOT NULL                 -- raised by every change that must not cross another
);
CREATE INDEX account_admin ON account (user_nid) WHERE admin AND NOT deactivated;

-- admin_code: codes with which the first administrator registers.
CREATE TABLE admin_code (
    hash    BYTEA PRIMARY KEY, -- SHA-256 of the code
    expires BIGINT NOT NULL    -- in milliseconds
);

-- device: the devices of our users.
CREATE TABLE device (
    user_nid  BIGINT NOT NULL,
    device    TEXT NOT NULL,   -- device ID
    name      TEXT,            -- display name; null: none
    created   BIGINT NOT NULL, -- when, in milliseconds
    seen      BIGINT NOT NULL, -- last use, in milliseconds, give or take a minute
    seen_from TEXT NOT NULL,   -- address of the last use
    agent     TEXT NOT NULL,   -- user agent of the last use
    PRIMARY KEY (user_nid, device)
);

-- session: access tokens and refresh tokens. A refresh begins a new row of the same family.
CREATE TABLE session (
    nid             BIGINT PRIMARY KEY,
    user_nid        BIGINT NOT NULL,
    device          TEXT NOT NULL,   -- device ID; empty: none
    access          BYTEA NOT NULL,  -- SHA-256 of the access token
    refresh         BYTEA,           -- SHA-256 of the refresh token; null: none
    family          BIGINT NOT NULL, -- nid of the login that it descends from
    generation      BIGINT NOT NULL, -- how many refreshes lie between
    state           BIGINT NOT NULL, -- 0 live, 1 not used yet since its refresh, 2 spent, 3 logged out softly
    kind            BIGINT NOT NULL, -- 0 password, 1 OAuth, 2 application service, 3 admin
    client          TEXT NOT NULL,   -- OAuth client; empty: none
    scope           TEXT NOT NULL,   -- OAuth scope; empty: everything
    created         BIGINT NOT NULL, -- when, in milliseconds
    expires         BIGINT NOT NULL, -- when the access token expires, in milliseconds; 0: never
    refresh_expires BIGINT NOT NULL  -- when the refresh token expires, in milliseconds; 0: never
);
CREATE UNIQUE INDEX session_access ON session (access);
CREATE UNIQUE INDEX session_refresh ON session (refresh) WHERE refresh IS NOT NULL;
CREATE INDEX session_owner ON session (user_nid, device);
CREATE INDEX session_family ON session (family, generation);

-- profile: the profile fields of our users.
CREATE TABLE profile (
    user_nid BIGINT NOT NULL,
    field    TEXT NOT NULL,   -- displayname, avatar_url, or another
    value    BYTEA NOT NULL,  -- JSON
    folded   TEXT,            -- display name in lower case, for searching; null in other fields
    pos      BIGINT NOT NULL, -- when it changed
    PRIMARY KEY (user_nid, field)
);

-- account_data: what clients keep for their user.
CREATE TABLE account_data (
    user_nid BIGINT NOT NULL,
    room     BIGINT NOT NULL, -- 0: global
    type     TEXT NOT NULL,
    content  BYTEA NOT NULL,  -- JSON object
    pos      BIGINT NOT NULL, -- when it changed
    PRIMARY KEY (user_nid, room, type)
);
CREATE INDEX account_data_pos ON account_data (user_nid, pos);

-- filter: filters that clients made; never changed.
CREATE TABLE filter (
    user_nid  BIGINT NOT NULL,
    filter_id TEXT NOT NULL,  -- hash of the body
    body      BYTEA NOT NULL, -- JSON object
    PRIMARY KEY (user_nid, filter_id)
);
