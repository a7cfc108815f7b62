package local

// schemaVersion is SQLite's user_version of the schema below. A folder with a
// higher one was written by a newer lowrank and is refused.
const schemaVersion = 1

// schema creates everything at once. Times are integers of Unix micro- (…_us) or
// milliseconds (…_ms). Keys of blobs and documents compare as bytes.
const schema = `
CREATE TABLE secrets (
	name  TEXT PRIMARY KEY,
	value BLOB NOT NULL
);

CREATE TABLE blobs (
	seq          INTEGER PRIMARY KEY AUTOINCREMENT,
	key          TEXT NOT NULL,
	generation   TEXT NOT NULL UNIQUE,
	current      INTEGER NOT NULL,
	size         INTEGER NOT NULL,
	etag         TEXT NOT NULL,
	sha256       TEXT NOT NULL,
	content_type TEXT NOT NULL,
	metadata     TEXT NOT NULL,
	modified_us  INTEGER NOT NULL
);
CREATE INDEX blobs_key ON blobs (key);
CREATE UNIQUE INDEX blobs_current ON blobs (key) WHERE current = 1;

CREATE TABLE messages (
	seq         INTEGER PRIMARY KEY AUTOINCREMENT,
	id          TEXT NOT NULL,
	queue       TEXT NOT NULL,
	dead        INTEGER NOT NULL DEFAULT 0,
	sent_ms     INTEGER NOT NULL,
	visible_ms  INTEGER NOT NULL,
	received_ms INTEGER NOT NULL DEFAULT 0,
	receives    INTEGER NOT NULL DEFAULT 0,
	receipt     TEXT,
	body        BLOB NOT NULL
);
CREATE INDEX messages_queue ON messages (queue, dead, seq);
CREATE UNIQUE INDEX messages_receipt ON messages (receipt) WHERE receipt IS NOT NULL;

CREATE TABLE records (
	id         TEXT PRIMARY KEY,
	version    INTEGER NOT NULL,
	owner      TEXT NOT NULL,
	kind       TEXT NOT NULL,
	created_us INTEGER NOT NULL,
	status     TEXT NOT NULL,
	open       INTEGER NOT NULL,
	upload_key TEXT,
	due_ms     INTEGER,
	payload    BLOB NOT NULL
);
CREATE INDEX records_owner ON records (owner, created_us, id);
CREATE INDEX records_owner_kind ON records (owner, kind, created_us, id);
CREATE INDEX records_open ON records (owner) WHERE open = 1;
CREATE INDEX records_upload ON records (upload_key) WHERE upload_key IS NOT NULL;
CREATE INDEX records_due ON records (due_ms, id) WHERE due_ms IS NOT NULL;

CREATE TABLE changes (
	seq   INTEGER PRIMARY KEY AUTOINCREMENT,
	at_ms INTEGER NOT NULL,
	id    TEXT NOT NULL,
	old   BLOB,
	new   BLOB
);
CREATE TABLE consumers (
	name TEXT PRIMARY KEY,
	seq  INTEGER NOT NULL
);

CREATE TABLE log_chunks (
	id     TEXT NOT NULL,
	offset INTEGER NOT NULL,
	data   BLOB NOT NULL,
	PRIMARY KEY (id, offset)
);

CREATE TABLE documents (
	collection TEXT NOT NULL,
	key        BLOB NOT NULL,
	version    INTEGER NOT NULL,
	value      BLOB NOT NULL,
	PRIMARY KEY (collection, key)
);
`
