-- Federation: keys of peers, how far each has our events, what came from them and waits, and leases.

-- server_key: signing keys of other servers.
CREATE TABLE server_key (
    server      BIGINT NOT NULL, -- number of the server
    key_id      TEXT NOT NULL,   -- algorithm and version
    public      BYTEA NOT NULL,
    valid_until BIGINT NOT NULL, -- in milliseconds
    expired     BIGINT NOT NULL, -- when the server stopped using it, in milliseconds; 0: it is current
    fetched     BIGINT NOT NULL, -- when, in milliseconds
    document    BYTEA NOT NULL,  -- the document that it came in, as the server signed it
    PRIMARY KEY (server, key_id)
);

-- destination: how far a peer has what we must send it.
CREATE TABLE destination (
    server    BIGINT PRIMARY KEY, -- number of the server
    cursor    BIGINT NOT NULL,    -- up to this position it has everything, or is not to get it
    newest    BIGINT NOT NULL,    -- position of the last event that it must get
    failures  BIGINT NOT NULL,    -- failed attempts since the last success
    retry_at  BIGINT NOT NULL,    -- no attempt before, in milliseconds
    succeeded BIGINT NOT NULL,    -- last success, in milliseconds; 0: never
    epoch     BIGINT NOT NULL     -- lease under which it was written last
);
CREATE INDEX destination_behind ON destination (server) WHERE cursor < newest;

-- destination_scan: up to where events were looked through for destinations.
CREATE TABLE destination_scan (
    id  BIGINT PRIMARY KEY CHECK (id = 1), -- there is one
    pos BIGINT NOT NULL
);

-- staged: events of peers that wait to be processed.
CREATE TABLE staged (
    pos      BIGINT NOT NULL, -- order of arrival
    num      BIGINT NOT NULL, -- order among those that came together
    room     BIGINT NOT NULL,
    origin   BIGINT NOT NULL, -- number of the server that sent it to us
    event_id TEXT NOT NULL,
    json     BYTEA NOT NULL,  -- codec byte and canonical JSON
    size     BIGINT NOT NULL, -- length of json
    at       BIGINT NOT NULL, -- when it came, in milliseconds
    attempts BIGINT NOT NULL, -- how often it was tried
    retry_at BIGINT NOT NULL, -- not before, in milliseconds
    PRIMARY KEY (pos, num),
    UNIQUE (room, event_id)
);
CREATE INDEX staged_origin ON staged (origin, size);
CREATE INDEX staged_room ON staged (room, pos, num);

-- received_txn: the last transactions of each peer; a ring.
CREATE TABLE received_txn (
    origin BIGINT NOT NULL, -- number of the server
    slot   BIGINT NOT NULL, -- place in the ring
    txn_id TEXT NOT NULL,
    answer BYTEA NOT NULL,  -- what it was answered, JSON
    PRIMARY KEY (origin, slot)
);
CREATE INDEX received_txn_id ON received_txn (origin, txn_id);

-- lease: work that one node does.
CREATE TABLE lease (
    name  TEXT PRIMARY KEY, -- of the work
    node  TEXT NOT NULL,    -- who does it
    epoch BIGINT NOT NULL,  -- raised whenever the work changes hands
    until BIGINT NOT NULL   -- when the lease ends, in milliseconds
);
