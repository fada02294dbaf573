//! Every limit of the system, in one place, unit last in the name.
//!
//! A limit that a person may configure has its default here; everything else is fixed.

/// Largest encoded record; every payload of the built-in kinds is bounded below it.
pub const RECORD_MAX_BYTES: usize = 128 * 1024;
/// Largest encoded frame.
pub const FRAME_MAX_BYTES: usize = 512 * 1024;
/// Most records in one frame.
pub const FRAME_MAX_RECORDS: usize = 1024;
/// Longest owner's address in a claim frame.
pub const OWNER_MAX_BYTES: usize = 512;
/// Bytes that one sync of the embedded log covers at most.
pub const FLUSH_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Size to which a segment of the embedded log is reserved.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Appends waiting for the embedded log's writer.
pub const LOG_QUEUE_MAX: usize = 4_096;
/// Appends and claims waiting for one partition's writer of a log on a broker.
pub const BROKER_QUEUE_MAX: usize = 64;
/// How long one request to a broker is waited for, in milliseconds.
pub const BROKER_REQUEST_MS: u64 = 2_000;
/// How long the outcome of one append to a broker is looked for before it is called unknown, in milliseconds.
pub const BROKER_OUTCOME_MS: u64 = 10_000;
/// How long opening a log on a broker waits for the broker, in milliseconds.
pub const BROKER_OPEN_MS: u64 = 30_000;
/// Messages asked for in one read from a broker.
pub const BROKER_READ_MESSAGES: u64 = 256;
/// Bytes asked for in one read from a broker, at least and at most.
pub const BROKER_READ_BYTES: (usize, usize) = (64 * 1024, 4 * 1024 * 1024);
/// Single frames asked for at once when records are read by place.
pub const BROKER_READS_AT_ONCE: usize = 32;
/// Consumers that read a log on Kafka at once.
pub const BROKER_READERS_MAX: usize = 4;
/// How often a lease on JetStream is renewed until its servers take it, while it reads as ours.
pub const BROKER_RENEWAL_ATTEMPTS: u32 = 6;
/// First and longest pause between two questions to a log on Kafka about the same thing, in milliseconds.
pub const BROKER_PAUSE_MS: (u64, u64) = (2, 200);
/// Memory for the newest records of a log on a broker, all partitions together.
pub const BROKER_RECENT_BYTES: usize = 64 * 1024 * 1024;
/// Frames whose place in the stream is remembered, a partition.
pub const BROKER_MARKS_MAX: usize = 2_048;
/// Durable records that wait to be indexed before a flush is due: small flushes touch the same pages again and
/// again, so a record costs about three times as much in flushes of 1,000.
pub const INDEX_TAIL_RECORDS: usize = 8_192;
/// Longest that a durable record waits to be indexed while fewer wait.
pub const INDEX_FLUSH_MS: u64 = 1_000;
/// Largest value: a model's answer, a tool's result, an upload.
pub const VALUE_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Largest value as JSON text, which is what is sealed: room for escapes, and for what stands around a text.
pub const VALUE_ENCODED_MAX_BYTES: usize = 2 * VALUE_MAX_BYTES + 64 * 1024;
/// Largest value that stands in its record, as JSON text; a larger one is stored once, beside the log, and named by its
/// record. A blob costs a second sync before the record's, a value in the record a third more bytes (base64) in every
/// event, reaction and snapshot that holds it.
pub const VALUE_INLINE_MAX_BYTES: usize = 2 * 1024;
/// Largest value where there is no store that all nodes of a log share: it stands in its record, whatever that costs.
pub const VALUE_UNSHARED_MAX_BYTES: usize = 66 * 1024;
/// Largest value that answers and feeds show in place; a larger one is named, and fetched by itself.
pub const VALUE_SHOWN_MAX_BYTES: usize = 64 * 1024 + 64;
/// Values that one decision looks into, together.
pub const NEEDS_MAX_BYTES: usize = 1024 * 1024 + 4 * 1024;
/// Values that one entity refers to at a time, together.
pub const ENTITY_VALUES_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Largest blob: a sealed value with what names its subject.
pub const BLOB_MAX_BYTES: usize = VALUE_ENCODED_MAX_BYTES + 1024;
/// Largest blob of a directory that is a row of its one file: above it, a file of its own is as fast, and is written once.
pub const BLOB_PACKED_MAX_BYTES: usize = 64 * 1024;
/// How long another process may hold that file, milliseconds.
pub const BLOB_BUSY_MS: u64 = 10_000;
/// Stores and deletions that wait for the writer of a directory of blobs.
pub const BLOB_QUEUE_MAX: usize = 1_024;
/// Bytes of blobs past which a directory's writer syncs before it takes more.
pub const BLOB_GROUP_BYTES: usize = 16 * 1024 * 1024;
/// Connections on which a directory of blobs is read.
pub const BLOB_READERS: usize = 4;
/// Blobs listed at once.
pub const BLOB_PAGE_MAX: usize = 1_000;
/// How long one request to a blob store on other machines is waited for, milliseconds.
pub const BLOB_REQUEST_MS: u64 = 20_000;
/// Times that a request to a bucket is sent while the server says that it cannot answer just now.
pub const BLOB_REQUEST_ATTEMPTS: u32 = 4;
/// Wait before the second of them, in milliseconds; doubled before each further one.
pub const BLOB_REQUEST_AGAIN_MS: u64 = 100;
/// How often blobs that no record names are looked for, milliseconds.
pub const BLOB_SWEEP_EVERY_MS: u64 = 24 * 60 * 60 * 1000;
/// Age at which a blob that no record names may be deleted, milliseconds. An upload must be used before.
pub const BLOB_GRACE_MS: u64 = 24 * 60 * 60 * 1000;
/// Partitions of a new log.
pub const PARTITIONS_DEFAULT: u16 = 16;
/// Largest HTTP request body, uploads of values excepted: a message and its escapes.
pub const BODY_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of a larger request body that are read and thrown away, so that its sender sees the refusal.
pub const BODY_DISCARD_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Largest command in its stored form, without values that are kept beside the log (must fit a record with room for its
/// header).
pub const COMMAND_MAX_BYTES: usize = 96 * 1024;
/// Longest entity, org, principal and message id.
pub const ID_MAX_CHARS: usize = 64;
/// Longest command id.
pub const COMMAND_ID_MAX_CHARS: usize = 128;
/// Deepest nesting of free-form JSON.
pub const JSON_MAX_DEPTH: usize = 32;
/// Largest agent directive.
pub const DIRECTIVE_MAX_BYTES: usize = 32 * 1024;
/// Longest display name or title.
pub const NAME_MAX_CHARS: usize = 200;
/// Most directive versions of one agent.
pub const DIRECTIVES_MAX: usize = 1_000;
/// Longest reason that people give or read.
pub const REASON_MAX_CHARS: usize = 500;
/// Most settings of one org.
pub const SETTINGS_MAX: usize = 100;
/// Largest value of one setting, as JSON text.
pub const SETTING_MAX_BYTES: usize = 4 * 1024;
/// Most messages of one conversation (their ids are kept in its state).
pub const MESSAGES_MAX: usize = 100_000;
/// Ended turns that a conversation remembers, to answer late claims and posts.
pub const TURNS_REMEMBERED: usize = 64;
/// Most conditions that a claim names.
pub const CLAIM_CONDITIONS_MAX: usize = 20;
/// Longest claim window.
pub const CLAIM_WINDOW_MAX_MS: u64 = 60_000;
/// Largest message body that a client posts; an agent's answer may be as large as any value.
pub const MESSAGE_MAX_BYTES: usize = 1024 * 1024;
/// Most participants of one conversation.
pub const PARTICIPANTS_MAX: usize = 500;
/// Most members of one org.
pub const MEMBERS_MAX: usize = 10_000;
/// Most tools granted to one agent.
pub const TOOLS_MAX: usize = 64;
/// Turn claim window when several agents are eligible.
pub const CLAIM_WINDOW_MS: u64 = 500;
/// A person's handoff expires when nobody accepts it.
pub const HANDOFF_TTL_MS: u64 = 24 * 60 * 60 * 1000;
/// Most nodes of a run definition.
pub const NODES_MAX: usize = 200;
/// Most edges of a run definition.
pub const EDGES_MAX: usize = 1_000;
/// Largest run definition.
pub const DEFINITION_MAX_BYTES: usize = 64 * 1024;
/// Most run definitions that a process keeps read and planned (those of awake runs stay besides).
pub const DEFINITIONS_KEPT_MAX: usize = 64;
/// Most bytes of their text; in memory a definition takes some ten times as much.
pub const DEFINITIONS_KEPT_MAX_BYTES: usize = 1024 * 1024;
/// Inputs that a paused run queues before it answers 429.
pub const RUN_INPUT_QUEUE_MAX: usize = 1_000;
/// Total bytes of a run's queued inputs.
pub const RUN_INPUT_QUEUE_MAX_BYTES: usize = 1024 * 1024;
/// What the inputs, a signal, or the outputs of one node of a run take in their record: the values that stand there, and the names
/// of those that do not.
pub const RUN_VALUE_MAX_BYTES: usize = RESPONSE_KEEP_BYTES + 4 * 1024;
/// Bytes that the name of a value takes in a record, at most as a rule.
pub const VALUE_NAME_BYTES: usize = 256;
/// Subjects of one value, at most: what was computed from values of more is refused.
pub const VALUE_SUBJECTS_MAX: usize = 16;
/// Bytes of events and reactions past which a run goes on in a decision of its own.
pub const RUN_DECISION_MAX_BYTES: usize = 40 * 1024;
/// Steps that a run takes in one decision before it goes on in another.
pub const RUN_DECISION_MAX_STEPS: usize = 100;
/// Signals that arrived before the node that waits for them.
pub const RUN_SIGNALS_MAX: usize = 100;
/// Attempts of an effect unless its node says otherwise.
pub const RETRY_ATTEMPTS_DEFAULT: u32 = 3;
/// First backoff of a retried effect.
pub const RETRY_BACKOFF_MS: u64 = 1_000;
/// Longest backoff of a retried effect.
pub const RETRY_BACKOFF_MAX_MS: u64 = 60_000;
/// Longest durable timer.
pub const TIMER_MAX_MS: u64 = 366 * 24 * 60 * 60 * 1000;
/// Expression source.
pub const EXPRESSION_MAX_BYTES: usize = 4 * 1024;
/// Expression nesting.
pub const EXPRESSION_MAX_DEPTH: usize = 32;
/// Tokens of one expression.
pub const EXPRESSION_MAX_TOKENS: usize = 512;
/// Height of an expression's tree (chains of operators and fields count, brackets do too).
pub const EXPRESSION_MAX_HEIGHT: usize = 128;
/// JSON text of the variables that one evaluation may look at.
pub const EXPRESSION_MAX_INPUT_BYTES: usize = NEEDS_MAX_BYTES + 256 * 1024;
/// Nested comprehensions in one expression.
pub const EXPRESSION_MAX_COMPREHENSIONS: usize = 3;
/// Evaluation steps of one expression.
pub const EXPRESSION_MAX_STEPS: u64 = 100_000;
/// Bytes of values that one evaluation may build.
pub const EXPRESSION_MAX_VALUE_BYTES: usize = 256 * 1024;
/// Model calls of one agent turn, unless its guard says otherwise.
pub const TURN_MAX_ITERATIONS: u32 = 200;
/// Model calls of one turn that a guard may allow.
pub const TURN_ITERATIONS_LIMIT: u32 = 1_000;
/// Tool fingerprints that the runaway guard remembers.
pub const RUNAWAY_WINDOW_CALLS: usize = 20;
/// Equal fingerprints in the window that suspend an agent.
pub const RUNAWAY_REPEATS: usize = 5;
/// Response body of a tool that is kept for the model.
pub const TOOL_RESULT_MAX_BYTES: usize = VALUE_MAX_BYTES;
/// Response body that an HTTP effect keeps.
pub const RESPONSE_KEEP_BYTES: usize = 32 * 1024;
/// Bytes of a response body that are read, and decoded, to keep [`RESPONSE_KEEP_BYTES`] of JSON or text.
pub const RESPONSE_READ_BYTES: usize = 4 * RESPONSE_KEEP_BYTES;
/// Bytes of a response body that are counted, so that a cut one tells its full size; a larger one is only known to be larger.
pub const RESPONSE_COUNT_MAX_BYTES: u64 = 8 * 1024 * 1024;
/// One effect attempt.
pub const EFFECT_TIMEOUT_MS: u64 = 60_000;
/// Pending reactions that a partition's outbox keeps in memory; the rest waits in the index.
pub const OUTBOX_LOADED_MAX: usize = 10_000;
/// Effects of one partition under way at a time. Alone, an org takes half of them and a destination a third.
pub const OUTBOX_RUNNING_MAX: usize = 128;
/// Commands from entity to entity that one partition has on their way at a time, shared in the same way.
pub const OUTBOX_DISPATCHING_MAX: usize = 512;
/// First and longest pause before the outbox sends again what could not be stored, or reads again what could not be
/// read, milliseconds.
pub const OUTBOX_RESEND_MS: (u64, u64) = (50, 5_000);
/// Pause between two looks at orgs whose work waits in the index, milliseconds.
pub const OUTBOX_LOOK_MS: u64 = 1_000;
/// When the outbox looks again for reactions of streams that could not be read, milliseconds.
pub const OUTBOX_UNREAD_MS: u64 = 60_000;
/// Crashes of one kernel command before it is parked.
pub const POISON_CRASHES: u32 = 3;
/// Commands waiting for one entity.
pub const ENTITY_QUEUE_MAX: usize = 256;
/// Commands in the node.
pub const NODE_QUEUE_MAX: usize = 16_384;
/// Bytes of commands in the node.
pub const NODE_QUEUE_MAX_BYTES: usize = 128 * 1024 * 1024;
/// Timers that one node fires at a time.
pub const TIMERS_FIRING_MAX: usize = 256;
/// Timers that could not be fired whose pauses one node remembers; the others are tried again sooner.
pub const TIMERS_PAUSED_MAX: usize = 10_000;
/// How long the wall clock must have been ahead before a node's time follows it, in milliseconds.
pub const CLOCK_HOLD_MS: u64 = 60_000;
/// How far the wall clock may differ from a node's time, or stand behind its records, before health says so, in
/// milliseconds.
pub const CLOCK_OFF_MAX_MS: u64 = 2_000;
/// Orgs whose status and roles a node keeps in memory.
pub const AUTHORITY_ORGS_MAX: usize = 4_096;
/// Members of all orgs that a node keeps in memory.
pub const AUTHORITY_MEMBERS_MAX: usize = 500_000;
/// Entities that one node reads back from the log at a time.
pub const RECOVERIES_MAX: usize = 32;
/// How long the recovery of an entity waits for its last records to be stored and indexed, in milliseconds.
pub const RECOVERY_WAIT_MS: u64 = 30_000;
/// Entities put to sleep in one go, unless more are awake than may be.
pub const PASSIVATIONS_MAX: usize = 256;
/// Staleness of the authority view past which commands are refused.
pub const AUTHORITY_STALE_MS: u64 = 5_000;
/// Rows of a page.
pub const PAGE_MAX_ROWS: usize = 1_000;
/// Rows of a page unless asked.
pub const PAGE_DEFAULT_ROWS: usize = 50;
/// Longest wait for `min_position`.
pub const MIN_POSITION_WAIT_MS: u64 = 10_000;
/// Idle time after which an entity is passivated.
pub const PASSIVATE_AFTER_MS: u64 = 60_000;
/// Active entities past which the least recently used is passivated.
pub const ACTIVE_ENTITIES_MAX: usize = 50_000;
/// Events between snapshots of one entity, at the least: a larger one is written after an eighth of its version, so that
/// writing them costs the same for each event however old the entity is.
pub const SNAPSHOT_EVERY_EVENTS: u64 = 200;
/// Longest timeout that an HTTP effect may ask for.
pub const EFFECT_TIMEOUT_MAX_MS: u64 = 10 * 60 * 1000;
/// One attempt of a webhook.
pub const WEBHOOK_TIMEOUT_MS: u64 = 20_000;
/// Establishing a connection (name, TCP, TLS).
pub const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// Redirects that an HTTP effect follows.
pub const REDIRECTS_MAX: usize = 5;
/// Longest `Retry-After` that is honoured.
pub const RETRY_AFTER_MAX_MS: u64 = 15 * 60 * 1000;
/// First piece of a model's answer.
pub const LLM_FIRST_BYTE_TIMEOUT_MS: u64 = 60_000;
/// Silence in the middle of a model's answer.
pub const LLM_IDLE_TIMEOUT_MS: u64 = 30_000;
/// A model's whole answer.
pub const LLM_TOTAL_TIMEOUT_MS: u64 = 10 * 60 * 1000;
/// Text and tool arguments of one answer.
pub const LLM_ANSWER_MAX_BYTES: usize = VALUE_MAX_BYTES;
/// Tool calls of one answer.
pub const LLM_TOOL_CALLS_MAX: usize = 64;
/// Encoded messages of one prompt; older ones of a conversation are left out.
pub const PROMPT_MAX_BYTES: usize = 4 * 1024 * 1024;
/// One server-sent event of a provider.
pub const SSE_EVENT_MAX_BYTES: usize = 256 * 1024;
/// Failures in a row that open a destination's breaker.
pub const BREAKER_FAILURES: u32 = 5;
/// How long an open breaker refuses.
pub const BREAKER_COOL_DOWN_MS: u64 = 30_000;
/// Probes that close a half-open breaker.
pub const BREAKER_SUCCESSES: u32 = 2;
/// When to ask again while a probe is under way.
pub const BREAKER_PROBE_WAIT_MS: u64 = 1_000;
/// Destinations whose breakers are remembered.
pub const BREAKER_DESTINATIONS_MAX: usize = 4_096;
/// Volatile events that wait for one listener.
pub const VOLATILE_QUEUE_MAX: usize = 1_024;
/// All headers of one HTTP request.
pub const HEADERS_MAX_BYTES: usize = 32 * 1024;
/// Time to send the headers of one HTTP request.
pub const HEADERS_READ_MS: u64 = 10_000;
/// Longest path and query of one HTTP request.
pub const URI_MAX_BYTES: usize = 8 * 1024;
/// One HTTP request, streams excepted; a little over the longest wait inside it.
pub const REQUEST_TIMEOUT_MS: u64 = 30_000;
/// Time for the body of one HTTP request to arrive; well under [`REQUEST_TIMEOUT_MS`], which covers the work as well.
pub const BODY_READ_MS: u64 = 20_000;
/// HTTP requests at work at once; a further one gets 503.
pub const REQUESTS_MAX: usize = 4_096;
/// Open HTTP connections.
pub const CONNECTIONS_MAX: usize = 8_192;
/// Open feeds and live channels; a further one gets 503.
pub const STREAMS_MAX: usize = 1_024;
/// Bytes of records that the hub keeps for feeds that are live, all together; whoever falls further behind reads the log.
pub const FEED_KEPT_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of records that one feed holds for its reader.
pub const FEED_HELD_BYTES: usize = 256 * 1024;
/// Bytes that a feed reads from the log at a time.
pub const FEED_READ_BYTES: usize = 256 * 1024;
/// Records that a feed of few streams reads at a time.
pub const FEED_PAGE_RECORDS: usize = 128;
/// Streams of a kind up to which a feed of that kind catches up from the index.
pub const FEED_STREAMS_MAX: usize = 16;
/// Feeds that read the log at a time; others that have to catch up wait for their turn.
pub const FEED_READERS_MAX: usize = 4;
/// How often all live feeds of an org together look for what is new, a second: many take more at a time.
pub const FEED_LOOKS_PER_S: usize = 20_000;
/// Time without progress in writing an answer, after which the connection is closed.
pub const WRITE_IDLE_MS: u64 = 30_000;
/// Bytes that reads at work, and answers that are not written yet, hold in a node.
pub const READ_BUDGET_BYTES: usize = 128 * 1024 * 1024;
/// Bytes that one read may hold.
pub const READ_REQUEST_MAX_BYTES: usize = 32 * 1024 * 1024;
/// How long a read waits for others to give memory back before it is refused.
pub const READ_WAIT_MS: u64 = 5_000;
/// Records of a stream that are looked up at a time.
pub const READ_PAGE_RECORDS: usize = 128;
/// Bytes of a stream that are read at a time.
pub const READ_PAGE_BYTES: usize = 256 * 1024;
/// Bytes of rows or records past which a page of an answer ends, though more were asked for.
pub const PAGE_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of agents' directives that a node keeps at hand.
pub const DIRECTIVES_KEPT_BYTES: usize = 8 * 1024 * 1024;
/// Silence on a feed before a heartbeat.
pub const HEARTBEAT_MS: u64 = 15_000;
/// Events between two cursors of an NDJSON feed.
pub const CURSOR_EVERY_EVENTS: u32 = 256;
/// Life of a partition's lease from its last renewal, milliseconds: an unplanned takeover waits for its end. Kafka's brokers
/// refuse shorter sessions unless told otherwise (`group.min.session.timeout.ms`).
pub const LEASE_MS: u64 = 6_000;
/// A command in stored form on its way between nodes.
pub const FORWARD_MAX_BYTES: usize = 4 * 1024 * 1024;
/// How long the node that a command is forwarded to may take to be connected, milliseconds.
pub const FORWARD_CONNECT_MS: u64 = 2_000;
/// How long a command that was forwarded to its owner is waited for, milliseconds.
pub const FORWARD_MS: u64 = 15_000;
/// How long a command waits for its partition to change hands before it is refused, milliseconds: longer than a takeover
/// after [`LEASE_MS`].
pub const HANDOFF_WAIT_MS: u64 = 10_000;
/// Volatile events in one message between nodes.
pub const VOLATILE_BATCH_MAX: usize = 256;
/// Volatile events of a node on their way to other nodes; more are lost.
pub const VOLATILE_ABROAD_MAX: usize = 4_096;
/// A node looks this often for records of partitions that it does not own, also where nothing told it of them, milliseconds.
pub const SHADOW_LOOK_MS: u64 = 1_000;
/// Pause after a partition could not be owned, milliseconds.
pub const OWNERSHIP_REST_MS: u64 = 1_000;
/// Longest time that a node may be told to go on serving after it said that it is not ready any more.
pub const SHUTDOWN_DELAY_MAX_MS: u64 = 10 * 60 * 1000;
/// How long a stop waits for model calls that are under way, milliseconds, as a part of [`DRAIN_MS`]; then they are ended.
pub const MODEL_CALL_STOP_MS: u64 = 20_000;
/// How long a stop waits for the record of a model call that it has ended, milliseconds.
pub const STOP_RECORD_MS: u64 = 2_000;
/// Longest drain of a graceful stop.
pub const DRAIN_MS: u64 = 30_000;
/// Longest correlation id and environment label.
pub const LABEL_MAX_CHARS: usize = 128;
/// Log bytes that a projector reads for one batch of a partition.
pub const VIEW_BATCH_MAX_BYTES: usize = 512 * 1024;
/// Chain ends that a partition's projector remembers.
pub const VIEW_TIPS_MAX: usize = 1_024;
/// When to ask again views that are being built, seconds.
pub const VIEW_BUILDING_RETRY_S: u32 = 1;
/// Records that views are behind from which they count as degraded.
pub const VIEW_LAG_DEGRADED_RECORDS: u64 = 10_000;
/// Time that a record waits for the views from which they count as degraded.
pub const VIEW_LAG_DEGRADED_MS: u64 = 30_000;
/// Reader connections of a view store.
pub const VIEW_READERS: usize = 4;
/// Most reader connections of a view store on a server.
pub const VIEW_READERS_MAX: usize = 64;
/// Time to connect to a view store's server, or to wait for a free connection.
pub const VIEW_CONNECT_MS: u64 = 5_000;
/// One query of a view store's server.
pub const VIEW_READ_MS: u64 = 20_000;
/// One transaction that writes to a view store's server.
pub const VIEW_WRITE_MS: u64 = 60_000;
/// Attempts of a client at one command that is answered 429 or 503.
pub const CLIENT_ATTEMPTS: u32 = 6;
/// First pause of a client between attempts; it doubles.
pub const CLIENT_PAUSE_MS: u64 = 200;
/// Longest pause of a client between attempts.
pub const CLIENT_PAUSE_MAX_MS: u64 = 5_000;
/// Longest line of a feed that a client takes.
pub const FEED_LINE_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Conversations that an import sends at a time.
pub const IMPORT_PARALLEL: usize = 16;
/// Longest line of an imported file.
pub const IMPORT_LINE_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Calls over the bus that a node has at work; more are answered 503.
pub const BUS_CALLS_MAX: usize = 1_024;
/// Largest body of a command over the bus.
pub const BUS_COMMAND_MAX_BYTES: usize = 256 * 1024;
/// Queued commands that the node which decides them holds, each in the order of its entity.
pub const BUS_QUEUE_AHEAD: usize = 1_024;
/// Queued commands that are at work at a time, each of another entity.
pub const BUS_LANES_MAX: usize = 64;
/// Bytes of commands that wait in the bus; a publisher of more is refused.
pub const BUS_QUEUE_MAX_BYTES: i64 = 256 * 1024 * 1024;
/// Commands that wait in the bus; a publisher of more is refused.
pub const BUS_QUEUE_MAX_MESSAGES: i64 = 1_000_000;
/// Seconds after which a command that nobody decided leaves the bus.
pub const BUS_QUEUE_AGE_S: u64 = 7 * 24 * 60 * 60;
/// Seconds after which a receipt leaves the bus.
pub const BUS_RECEIPT_AGE_S: u64 = 24 * 60 * 60;
/// Bytes of receipts in the bus; the oldest make room.
pub const BUS_RECEIPTS_MAX_BYTES: i64 = 256 * 1024 * 1024;
/// Days after which an event leaves the feed of the bus.
pub const BUS_FEED_DAYS: u32 = 3;
/// Most days that may be asked for.
pub const BUS_FEED_DAYS_MAX: u32 = 365;
/// Bytes of the feed in the bus; where they are used up, the relay waits.
pub const BUS_FEED_MAX_BYTES: i64 = 1024 * 1024 * 1024;
/// Events on their way to the bus at a time, each of another entity.
pub const BUS_FEED_IN_FLIGHT: usize = 256;
/// Seconds within which the bus drops a message whose id it has seen.
pub const BUS_DUPLICATE_WINDOW_S: u64 = 120;
/// First and longest pause before something that the bus or the node refused for now is tried again; it doubles.
pub const BUS_PAUSE_MS: (u64, u64) = (50, 5_000);
/// Days that a command waits in a topic of the bus.
pub const BUS_COMMAND_TOPIC_DAYS: u32 = 3;
/// Bytes of one closed file of the topic of marks: what is newer is not compacted yet, and is read again at a takeover.
pub const BUS_MARKS_SEGMENT_BYTES: u32 = 4 * 1024 * 1024;
/// How often topics of an org's own are looked for, in milliseconds.
pub const BUS_TOPICS_LOOK_MS: u64 = 10_000;
/// After how long without a word the consumer group gives away what a node consumed, in milliseconds; the least that brokers
/// take by default.
pub const BUS_SESSION_MS: u64 = 6_000;
/// Pause between two commits of what is answered, in milliseconds.
pub const BUS_COMMIT_MS: u64 = 250;
/// Pause between two notes of how far the relay is.
pub const BUS_MARK_MS: u64 = 1_000;
/// How long the relay may have work before health calls it behind.
pub const BUS_BEHIND_MS: u64 = 5_000;
/// Pause before a task of the node that crashed is started again, milliseconds.
pub const TASK_PAUSE_MS: u64 = 1_000;
/// How long health names a task that crashed, milliseconds.
pub const TASK_TROUBLE_MS: u64 = 5 * 60 * 1000;
/// How long failed model calls and failed turns degrade health, milliseconds.
pub const TROUBLE_RECENT_MS: u64 = 5 * 60 * 1000;
/// Failures of one kind whose times a node remembers; health counts at most so many.
pub const TROUBLE_KEPT_MAX: usize = 1_000;
/// A timer that is due for longer than this is late, and degrades health, milliseconds.
pub const TIMER_LATE_MS: u64 = 5_000;
/// Due timers of a partition that metrics and health count.
pub const TIMERS_COUNTED_MAX: usize = 1_000;
/// Pending and dead effects of a partition, of each, that metrics and health count.
pub const OUTBOX_COUNTED_MAX: usize = 10_000;
/// How long these counts are used again before the index is asked anew, milliseconds.
pub const COUNTS_KEPT_MS: u64 = 1_000;
/// An append that waits longer than this for the storage degrades health, milliseconds.
pub const APPEND_SLOW_MS: u64 = 3_000;
/// Least limit on a node's address space under which it starts; its stacks and arenas reserve most of this and use little.
pub const ADDRESS_SPACE_MIN_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Bytes of the log that are read again a second to find damage that nobody has met.
pub const SCRUB_BYTES_PER_SECOND: usize = 2 * 1024 * 1024;
/// Pause after the whole log was read again, milliseconds.
pub const SCRUB_REST_MS: u64 = 60 * 60 * 1000;
/// Index entries that one step of a flush moves.
pub const INDEX_FLUSH_STEP: usize = 256;
