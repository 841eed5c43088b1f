-- Sync: receipts, and indexes for what sync asks.

-- receipt: how far users have read.
CREATE TABLE receipt (
    room     BIGINT NOT NULL,
    user_nid BIGINT NOT NULL,
    kind     BIGINT NOT NULL,  -- 0 m.read, 1 m.read.private
    thread   TEXT NOT NULL,    -- main, the event ID of a thread's root, or empty: the whole room
    event_id TEXT NOT NULL,    -- read up to this event
    ts       BIGINT NOT NULL,  -- when, by the user's server, in milliseconds
    read     BIGINT NOT NULL,  -- position of the event; 0: it is not in the live timeline
    local    BOOLEAN NOT NULL, -- the user is ours
    pos      BIGINT NOT NULL,  -- when it changed
    PRIMARY KEY (room, user_nid, kind, thread)
);
CREATE INDEX receipt_pos ON receipt (room, pos);
CREATE INDEX receipt_user ON receipt (user_nid, pos) WHERE local;

-- a user's memberships that changed of late
CREATE INDEX member_user ON member (user_nid, pos) WHERE local;
-- a room's first members
CREATE INDEX member_first ON member (room, membership, pos);
-- events that may be unread notifications
CREATE INDEX event_unread ON event (room, pos, flags, sender) WHERE flags <> 0;
