"""Every limit on what arrives, each with its reason. Lengths are characters unless in bytes."""

from __future__ import annotations

from mesoslite.model import DAY_MS

#: Told in the first word of each stream. Raised when an older peer could not go on with a newer
#: one; new optional fields do not need that.
PROTOCOL = 1

# --- messages -------------------------------------------------------------------------------------

#: What is sent is split at this size (docs/decisions.md D18): a message holds up a stream for long.
MESSAGE_BYTES_MAX = 1024 * 1024
#: What gRPC is told to take: room for a peer that counts otherwise, and a bound for any other.
GRPC_MESSAGE_BYTES_MAX = 4 * 1024 * 1024
#: Words in a message: calls or events, with each of those that are said together, each launch of an
#: accept and each result of its answer. The sender splits what is more. One may take 3 bytes, or
#: none (results are a count), so without this one message could be a million of them.
ITEMS_MAX = 20_000
#: Ids and references in one call. The sender splits longer lists into LIST_PIECE each.
LIST_MAX = 10_000
#: About 200 KB of offers: several pieces fill a message well.
LIST_PIECE = 1_000
#: Launches of one accept: what a message holds of the smallest useful tasks.
OPERATIONS_MAX = 10_000
#: An offer or a launch carries one of these and must fit into a message with its ids.
AGENT_INFO_BYTES_MAX = 512 * 1024
TASK_BYTES_MAX = 512 * 1024
#: A request is kept, and looked at again and again: scalars, some ports, a `where`.
REQUEST_BYTES_MAX = 16 * 1024
#: Bytes between a framework and its task: four of them fit into a message.
TASK_MESSAGE_BYTES_MAX = 256 * 1024
#: A text for people, in bytes: longer ones are cut by who sends them.
TEXT_BYTES_MAX = 4 * 1024

# --- a registration, which is put together from many messages -------------------------------------

REGISTRATION_TASKS_MAX = 100_000  # 2 us each to take in; a real agent holds some hundreds
REGISTRATION_FRAMEWORKS_MAX = 10_000  # as many as a master holds
REGISTRATION_BYTES_MAX = 64 * 1024 * 1024  # on the wire; several times that as objects

# --- times and numbers ----------------------------------------------------------------------------

DURATION_MS_MAX = 365 * DAY_MS  # longer means "never", which has a spelling of its own
KILL_GRACE_MS_MAX = 3_600_000  # an hour: a kill that waits longer looks like one that failed
TIMESTAMP_MS_MAX = 253_402_300_799_999  # the last of the year 9999: what datetime can show
INT64_MAX = 2**63 - 1
EXIT_CODE_MAX = 255  # wait(2) gives eight bits
SIGNAL_MAX = 64  # SIGRTMAX on Linux
PIDS_LIMIT_MAX = 2**22  # PID_MAX_LIMIT of 64-bit Linux

# --- names ----------------------------------------------------------------------------------------

NAME_MAX = 255  # of a framework, a task, a host, a principal: a file's name is as long
VERSION_MAX = 64
ROLES_MAX = 100  # each is a place in the allocator's order
DOMAIN_MAX = 64  # a region or zone; they are repeated in each offer
CONTAINERIZERS_MAX = 16  # there are two; they are repeated in each offer

# --- a task ---------------------------------------------------------------------------------------

COMMAND_WORDS_MAX = 1_000
COMMAND_BYTES_MAX = 128 * 1024  # MAX_ARG_STRLEN: Linux takes no longer word
ENVIRONMENT_ENTRIES_MAX = 1_000
ENVIRONMENT_BYTES_MAX = 128 * 1024  # with the command an eighth of what execve takes (ARG_MAX)
URIS_MAX = 256  # Cassandra is 101 jars; each takes about 200 bytes
URI_LENGTH_MAX = 4_096  # PATH_MAX; servers take about 8,000
OUTPUT_FILE_LENGTH_MAX = 255  # NAME_MAX
IMAGE_LENGTH_MAX = 4_096  # PATH_MAX
LABELS_MAX = 100
LABELS_BYTES_MAX = 64 * 1024  # they are kept and shown, nothing more

# --- what is kept between messages ----------------------------------------------------------------

#: Agents whose part of an offer is kept encoded, 300 bytes each; one more costs 10 us an offer.
OFFER_AGENTS_MAX = 20_000
