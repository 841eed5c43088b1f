-- Governance: agreements with peers, the nodes that must have applied them, and how far the audit log was delivered.

-- agreement: what was agreed with another server. Few rows, read whole.
CREATE TABLE agreement (
    peer        TEXT PRIMARY KEY, -- server name, in lower case
    suspended   BOOLEAN NOT NULL, -- traffic is stopped by hand
    valid_from  BIGINT NOT NULL,  -- in milliseconds; 0: has always been valid
    valid_until BIGINT NOT NULL,  -- in milliseconds, not valid any more then; 0: no end
    terms       BYTEA NOT NULL,   -- canonical JSON: keys, ca, invitations, room versions, edus, note
    created     BIGINT NOT NULL,  -- when, in milliseconds
    changed     BIGINT NOT NULL,  -- last change, in milliseconds
    changed_by  TEXT NOT NULL     -- who made the last change
);

-- node: the processes that serve this server name now. A change of the policy waits for them.
CREATE TABLE node (
    node    TEXT PRIMARY KEY, -- drawn at random at each start
    host    TEXT NOT NULL,    -- the machine's name, for people
    policy  BIGINT NOT NULL,  -- policy version that it decides by; nothing under an older one leaves it
    started BIGINT NOT NULL,  -- when, in milliseconds
    seen    BIGINT NOT NULL   -- last sign of life, in milliseconds
);

-- audit_cursor: how far each sink got the audit log.
CREATE TABLE audit_cursor (
    sink TEXT PRIMARY KEY, -- where to, as configured
    seq  BIGINT NOT NULL   -- last record delivered
);
