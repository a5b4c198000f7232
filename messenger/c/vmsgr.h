/*
 * vmsgr: connections that a daemon, vmsgrd, holds for this process.
 *
 * A process attaches to vmsgrd, asks it to listen and to connect, and reads and writes the bytes of
 * its connections in memory that both share. The daemon owns the sockets; this process makes a
 * system call only to wake a core of the daemon's that sleeps, and to sleep itself.
 *
 *     cc server.c $(pkg-config --cflags --libs vmsgr)
 *
 * An ENDPOINT is an attachment. It is used by one thread at a time; a process may have any number,
 * and one for each thread is the usual. Its loop takes events until there are none, then waits:
 *
 *     struct vmsgr_event event;
 *     for (;;) {
 *         while (vmsgr_next_event(endpoint, &event) == 1)
 *             act(&event);
 *         if (vmsgr_wait(endpoint, -1) < 0)
 *             break;
 *     }
 *
 * or, in a loop that polls other descriptors too:
 *
 *     for (;;) {
 *         while (vmsgr_next_event(endpoint, &event) == 1)
 *             act(&event);
 *         if (vmsgr_fall_asleep(endpoint) != 1)
 *             continue;
 *         poll(...);                        // vmsgr_doorbell(endpoint), POLLIN, among others
 *         vmsgr_woke_up(endpoint);          // whatever it was that woke us
 *         ...
 *     }
 *
 * A CONNECTION is a number that events tell, never 0, and never again that of another connection of
 * the endpoint. A function that is given one which is closed, or never was, fails with EBADF.
 *
 * An event tells that there is something NEW, once, as an edge-triggered poll does. So read until
 * there is nothing (EAGAIN), or remember that there is something. A send that found no room is told
 * when there is some.
 *
 * ERRORS are told as the C library does. Functions that return a pointer return NULL, others -1, and
 * errno says what it was; vmsgr_error() says it in words. Each function may fail with EINVAL for an
 * argument that cannot be, with EBADF as above, and where it says so with ENOTCONN: the daemon is
 * gone. Nothing here blocks but vmsgr_attach, vmsgr_reattach and vmsgr_wait. Nothing sends a signal.
 *
 * AFTER A CRASH the daemon sends what was committed, and keeps connections and listeners for the
 * linger time. A process of the same user that attaches under the same name is told of each
 * connection (VMSGR_RESUMED), and finds unread bytes, unsent bytes, positions and cookie as they
 * were.
 */
#ifndef VMSGR_H
#define VMSGR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Kinds of events. */

/* Connections are accepted: job, address (with the port that was really bound). */
#define VMSGR_LISTENING 1
/* A listener has ended, as asked: job. Its connections go on. */
#define VMSGR_UNLISTENED 2
/* A job could not be done: job, error. */
#define VMSGR_FAILED 3
/* Somebody has connected: connection, job, address (theirs). */
#define VMSGR_ACCEPTED 4
/* A connection was made: connection, job, address (theirs). */
#define VMSGR_CONNECTED 5
/* After a takeover, a connection that was left behind: connection, job, address (theirs). */
#define VMSGR_RESUMED 6
/* There are new bytes to read: connection. */
#define VMSGR_READABLE 7
/* A send found no room, and now there is some: connection. */
#define VMSGR_WRITABLE 8
/* The peer will send nothing more; what it has sent may still lie unread: connection. */
#define VMSGR_PEER_ENDED 9
/* It is over: connection, error (0: both directions came to their end). What lies unread can still
   be read; then it wants a vmsgr_close, which makes its place free for another. */
#define VMSGR_CLOSED 10
/* The daemon has gone, and all connections with it; told once. See vmsgr_reattach. */
#define VMSGR_DETACHED 11

/* What an entity and its peers expect of each other when a stream is lost. */

/* It connects, and with the stream the session ends: a client of OSDs. */
#define VMSGR_LOSSY_CLIENT 0
/* It connects, and messages arrive once: a client of metadata servers. */
#define VMSGR_LOSSLESS_CLIENT 1
/* It is connected to by lossy clients: an OSD. */
#define VMSGR_STATELESS_SERVER 2
/* It is connected to by lossless clients: a metadata server. */
#define VMSGR_STATEFUL_SERVER 3
/* Either connects, and messages arrive once: OSDs among themselves. */
#define VMSGR_LOSSLESS_PEER 4

/* As keepalive_ms: peers that are silent are not asked whether they are there. */
#define VMSGR_NO_KEEPALIVE 4294967295

/* What comes in a session. */

/* A message. */
#define VMSGR_MESSAGE 0
/* A notice: the peer has forgotten the session, and has not got so many of our messages: lost. Not told of a
 * session that it may never have heard of, unless messages are lost. */
#define VMSGR_FORGOTTEN 1
/* A notice: the stream is lost, and will be made again; what is sent waits until then. */
#define VMSGR_STREAM_LOST 2
/* A notice: there is a stream again. */
#define VMSGR_STREAM_BACK 3

struct vmsgr_endpoint;

/* Names a connection; never 0. */
typedef uint64_t vmsgr_connection;

/* Names a listener, or a connection that is being made; never 0. */
typedef uint64_t vmsgr_job;

/* Names an entity; never 0. VMSGR_FAILED names it as a job if the daemon cannot have it. */
typedef uint64_t vmsgr_entity_id;

/* What to ask for. Call vmsgr_options_init first. */
struct vmsgr_options {
    /* At most 64 characters of A-Z a-z 0-9 . _ / -; no two endpoints of a user have the same at a
       time. NULL or "": no name, and nothing can be taken over. */
    const char *name;
    /* The daemon's Unix socket. NULL: $XDG_RUNTIME_DIR/vmsgr/vmsgrd.sock, then
       /run/vmsgr/vmsgrd.sock. */
    const char *socket;
    /* Connections at the same time, 1 to 65536; 1024. */
    uint32_t slots;
    /* Bytes of the rings of each connection, powers of two from 4096 to 16777216; 65536. */
    uint32_t receive_ring;
    uint32_t send_ring;
    /* How long connections are kept for who comes after a crash, at most an hour; 30000. */
    uint32_t linger_ms;
    /* How long attaching may wait for the daemon; 5000. */
    uint32_t patience_ms;
    /* How long vmsgr_wait looks again before it sleeps, at most; it adapts itself. 0: not at all. */
    uint32_t spin_us;
    /* 0. */
    uint64_t reserved[4];
};

/* Something that has happened. What its kind does not name is 0; address is untouched then. */
struct vmsgr_event {
    uint32_t kind;
    int32_t error;
    vmsgr_connection connection;
    vmsgr_job job;
    struct sockaddr_storage address;
};

/* How far a connection is, in bytes since it began. */
struct vmsgr_positions {
    /* Bytes that came, and those of them that were consumed. */
    uint64_t received;
    uint64_t consumed;
    /* Bytes that are to be sent, and those of them that the daemon's socket has taken. */
    uint64_t committed;
    uint64_t sent;
};

/* What an endpoint has done since it attached. */
struct vmsgr_counters {
    /* Entries that were taken from the ready rings. */
    uint64_t ready;
    /* Doorbells that were rung: system calls; and those that did not have to be. */
    uint64_t doorbells_rung;
    uint64_t doorbells_saved;
    /* Times that vmsgr_wait slept, and that it did not have to, since it looked again. */
    uint64_t sleeps;
    uint64_t sleeps_saved;
};

/* What a process is to its msgr2 peers. Call vmsgr_entity_options_init first. */
struct vmsgr_entity_options {
    /* 1 mon, 2 mds, 4 osd, 8 client, 16 mgr; 4. */
    uint32_t type;
    /* VMSGR_LOSSY_CLIENT and its like; VMSGR_STATELESS_SERVER. */
    uint32_t policy;
    /* The name without the type, "0" of osd.0: 1 to 32 characters of A-Z a-z 0-9 . _ -; NULL, which
       is none: it has to be set. */
    const char *id;
    /* How much of a session may have come and not be consumed, before its peer has to wait: messages,
       1024, and bytes of front, middle and data, in whole KiB, 104857600. Not 0. */
    uint64_t throttle_messages;
    uint64_t throttle_bytes;
    /* The largest message, received or sent: bytes of front, middle and data together, at most
       134217728, which it is. */
    uint32_t largest_message;
    /* After how many milliseconds of silence of its peer a session asks whether that is there, and for
       how many it waits for a sign of life then, before its stream is lost: each 100 to 86400000. A
       lossy session ends with that, a lossless one has VMSGR_STREAM_LOST and tries to get another. Who
       takes nothing for so long cannot be told from who is gone. Both 0, which they are: 15000 and
       30000 of lossless sessions, and none of lossy ones. VMSGR_NO_KEEPALIVE and 0: none. Where the
       daemon closes connections that are idle, all sessions ask in time. */
    uint32_t keepalive_ms;
    uint32_t keepalive_patience_ms;
    /* 0. */
    uint32_t unused;
    /* 0. */
    uint64_t reserved[3];
};

/* Who is at the other end of a session, as it says itself. */
struct vmsgr_peer_entity {
    /* 1 mon, 2 mds, 4 osd, 8 client, 16 mgr. */
    uint32_t type;
    /* Tells its process from others at the same address. */
    uint32_t nonce;
    /* Its number among its kind: 3 of osd.3; of a client the number that its monitors gave it. */
    uint64_t number;
    /* Where it listens, with port 0 if it does not; ss_family is 0 if it has not said. */
    struct sockaddr_storage address;
};

/* A message or notice that has come, or a message to be sent. */
struct vmsgr_message {
    /* VMSGR_MESSAGE, or which notice it is. All else but lost means nothing in a notice. */
    uint32_t what;
    /* What kind of message it is. */
    uint16_t type;
    /* The higher the sooner, where the receiver has several to choose from. */
    uint16_t priority;
    /* Version of the front's encoding, and of the oldest decoder that understands it. */
    uint16_t version;
    uint16_t compat_version;
    /* Offset of the data in its page or object, as the sender sees it. */
    uint16_t data_off;
    /* CEPH_MSG_FLAGs. */
    uint8_t flags;
    /* 0. */
    uint8_t unused;
    /* Place in the session; given by it when the message is sent. */
    uint64_t seq;
    /* Which request it is or answers. */
    uint64_t tid;
    /* VMSGR_FORGOTTEN: so many messages. */
    uint64_t lost;
    /* What it says, more of that, and what it carries; each in one piece or two, one behind the
       other. Of what has come they are not to be written. */
    struct iovec front[2];
    struct iovec middle[2];
    struct iovec data[2];
};

/* What the last failure of a function here was in this thread, in words; never NULL. It stays until
   the next failure. */
const char *vmsgr_error(void);

/* Attaching. */

/* Fills in the defaults. */
void vmsgr_options_init(struct vmsgr_options *options);

/* Attaches to the daemon. If one of the same user and name has left something behind, this one takes
   it over: VMSGR_RESUMED is told first, once for each connection. NULL: ENOENT or ECONNREFUSED, no
   daemon is there; ETIMEDOUT, it does not answer; EACCES, it may not; EBUSY, the name is attached;
   EPROTO, it is of another version; EINVAL, an option is out of its range. */
struct vmsgr_endpoint *vmsgr_attach(const struct vmsgr_options *options);

/* Attaches again, with the same options, after VMSGR_DETACHED; listeners are asked for again. Fails
   as vmsgr_attach does, and can be tried again. 0 if it is attached. */
int vmsgr_reattach(struct vmsgr_endpoint *endpoint);

/* An orderly end: connections are closed behind what was sent. Frees the endpoint. */
void vmsgr_leave(struct vmsgr_endpoint *endpoint);

/* Leaves everything behind, as a crash does, for who attaches next under this name. Frees the
   endpoint. */
void vmsgr_detach(struct vmsgr_endpoint *endpoint);

/* 1 if connections of an earlier one were taken over, else 0. */
int vmsgr_has_taken_over(struct vmsgr_endpoint *endpoint);

/* What was counted. */
int vmsgr_count(struct vmsgr_endpoint *endpoint, struct vmsgr_counters *counters);

/* Jobs. What becomes of them is told by events; their numbers go to *job, if that is not NULL.
   EAGAIN: too many wait. EAFNOSUPPORT: neither AF_INET nor AF_INET6. ENOTCONN. */

/* Asks for a listener: VMSGR_LISTENING or VMSGR_FAILED. Port 0 is any; backlog 0 is the daemon's.
   Endpoints may listen on the same address, and share what comes. After a takeover, asking for an
   address where the one before listened gives its job. */
int vmsgr_listen(struct vmsgr_endpoint *endpoint, const struct sockaddr *address, socklen_t length,
                 uint32_t backlog, vmsgr_job *job);

/* Asks for a connection: VMSGR_CONNECTED or VMSGR_FAILED. */
int vmsgr_connect(struct vmsgr_endpoint *endpoint, const struct sockaddr *address, socklen_t length,
                  vmsgr_job *job);

/* Ends a listener: VMSGR_UNLISTENED. */
int vmsgr_unlisten(struct vmsgr_endpoint *endpoint, vmsgr_job job);

/* Gives up the connection that this job asked for. If it is not there yet the job is told as
   VMSGR_FAILED, with ECANCELED; else as if nobody had called this, and is to be closed. EAGAIN,
   ENOTCONN. */
int vmsgr_cancel(struct vmsgr_endpoint *endpoint, vmsgr_job job);

/* Events and sleep. */

/* The next event: 1, or 0 if there is none; then what was sent is flushed. */
int vmsgr_next_event(struct vmsgr_endpoint *endpoint, struct vmsgr_event *event);

/* Wakes those cores of the daemon's that sleep and have something to do. It happens by itself when
   there are no events, and before a sleep; do it in between where those are far. */
int vmsgr_flush(struct vmsgr_endpoint *endpoint);

/* Sleeps until something happens, at most so long (-1: for as long as it takes): 1 if there may be an
   event, 0 if time is over or a signal came. ENOTCONN. */
int vmsgr_wait(struct vmsgr_endpoint *endpoint, int timeout_ms);

/* A descriptor that becomes readable when something happens while this thread sleeps. Only to be
   polled; it is another one after vmsgr_reattach. */
int vmsgr_doorbell(struct vmsgr_endpoint *endpoint);

/* Flushes, and declares that this thread is going to sleep: 1, or 0 if there is an event. */
int vmsgr_fall_asleep(struct vmsgr_endpoint *endpoint);

/* This thread is awake. */
int vmsgr_woke_up(struct vmsgr_endpoint *endpoint);

/* Connections. */

/* Where it lies: below the number of slots, and no other's while it lasts. An index for a table. */
uint32_t vmsgr_slot(vmsgr_connection connection);

/* Reads at most n bytes: how many, 0 at the end. EAGAIN: there are none now. Else the error with
   which it was closed. */
ssize_t vmsgr_recv(struct vmsgr_endpoint *endpoint, vmsgr_connection connection, void *into, size_t n);

/* Sends at most n bytes: how many. EAGAIN: there is no room; VMSGR_WRITABLE tells when there is, also
   if fewer than n were taken. EPIPE: its direction has ended. */
ssize_t vmsgr_send(struct vmsgr_endpoint *endpoint, vmsgr_connection connection, const void *bytes,
                   size_t n);

/* The unread bytes where they lie, not to be written: one piece, or two if they go round the end of
   the ring. Returns how many. They stay until they are consumed, or the connection or endpoint is
   closed. */
ssize_t vmsgr_peek(struct vmsgr_endpoint *endpoint, vmsgr_connection connection,
                   struct iovec pieces[2]);

/* The first n unread bytes are done with. */
int vmsgr_consume(struct vmsgr_endpoint *endpoint, vmsgr_connection connection, size_t n);

/* Room for n bytes where they are sent from, to be filled and committed, in one piece or two. Returns
   how many: fewer, or 0, if there is less; then VMSGR_WRITABLE tells when there is room for all. What
   was reserved before, or not committed at the next send, is given up. */
ssize_t vmsgr_reserve(struct vmsgr_endpoint *endpoint, vmsgr_connection connection, size_t n,
                      struct iovec pieces[2]);

/* The first n bytes of what was reserved are to be sent. */
int vmsgr_commit(struct vmsgr_endpoint *endpoint, vmsgr_connection connection, size_t n);

/* Consumes and commits in one step: whenever the process is killed, both have happened or neither. So
   that requests are answered exactly once. */
int vmsgr_reply(struct vmsgr_endpoint *endpoint, vmsgr_connection connection, size_t consume,
                size_t commit);

/* Sends back at most n of the unread bytes, in one such step: how many. If there was no room for
   some, VMSGR_WRITABLE tells when there is. */
ssize_t vmsgr_forward(struct vmsgr_endpoint *endpoint, vmsgr_connection connection, size_t n);

/* How many bytes lie unread. */
ssize_t vmsgr_unread(struct vmsgr_endpoint *endpoint, vmsgr_connection connection);

/* How many bytes can be sent now. */
ssize_t vmsgr_room(struct vmsgr_endpoint *endpoint, vmsgr_connection connection);

/* 1 if the peer will send nothing more, as far as events tell or are about to; else 0. */
int vmsgr_peer_has_ended(struct vmsgr_endpoint *endpoint, vmsgr_connection connection);

/* Our direction ends behind what was sent; the peer's goes on. */
int vmsgr_shutdown(struct vmsgr_endpoint *endpoint, vmsgr_connection connection);

/* Done with it: what was sent goes out, what comes is forgotten, nothing more is told. */
int vmsgr_close(struct vmsgr_endpoint *endpoint, vmsgr_connection connection);

/* Cuts it off: what was not sent yet is lost, and the peer sees a reset. */
int vmsgr_reset(struct vmsgr_endpoint *endpoint, vmsgr_connection connection);

/* How far it is. */
int vmsgr_where(struct vmsgr_endpoint *endpoint, vmsgr_connection connection,
                struct vmsgr_positions *positions);

/* Who is at the other end, and our end; as getpeername(2) and getsockname(2). */
int vmsgr_peer(struct vmsgr_endpoint *endpoint, vmsgr_connection connection, struct sockaddr *into,
               socklen_t *length);
int vmsgr_local(struct vmsgr_endpoint *endpoint, vmsgr_connection connection, struct sockaddr *into,
                socklen_t *length);

/* A number of the process's own for the connection: 0 at first, kept across a crash. */
int vmsgr_cookie(struct vmsgr_endpoint *endpoint, vmsgr_connection connection, uint64_t *cookie);
int vmsgr_set_cookie(struct vmsgr_endpoint *endpoint, vmsgr_connection connection, uint64_t cookie);

/* Messages: connections that were accepted or made as an entity are sessions of msgr2, Ceph's
   protocol, and have messages, not bytes. What deals in bytes fails there with EOPNOTSUPP, and what is
   here does on all others. */

/* Fills in the defaults. */
void vmsgr_entity_options_init(struct vmsgr_entity_options *options);

/* The process is this entity from now on; its number goes to *entity. If the daemon cannot have it
   that is told by VMSGR_FAILED. After a takeover, an entity that is what one of the process before was
   is that one, with its sessions; one that is not asked for again within a minute ends, and its
   listeners and sessions with it, sooner if another listens where it does. EINVAL: an option is out of its range. EAGAIN, ENOTCONN. */
int vmsgr_entity(struct vmsgr_endpoint *endpoint, const struct vmsgr_entity_options *options,
                 vmsgr_entity_id *entity);

/* As vmsgr_listen and vmsgr_connect, as an entity. Of an address there is one entity. A peer_type that
   is not 0 is what the peer has to be. */
int vmsgr_listen_as(struct vmsgr_endpoint *endpoint, vmsgr_entity_id entity,
                    const struct sockaddr *address, socklen_t length, vmsgr_job *job);
int vmsgr_connect_as(struct vmsgr_endpoint *endpoint, vmsgr_entity_id entity,
                     const struct sockaddr *address, socklen_t length, uint32_t peer_type,
                     vmsgr_job *job);

/* As vmsgr_connect_as. A lossless session is tried again and again until it is open for the first time:
   there for at most a minute, here for time_ms milliseconds (0 is one), or until then if that is negative.
   Then it has failed, with the error of the last attempt. */
int vmsgr_connect_as_within(struct vmsgr_endpoint *endpoint, vmsgr_entity_id entity,
                            const struct sockaddr *address, socklen_t length, uint32_t peer_type,
                            int time_ms, vmsgr_job *job);

/* 1 if the connection has messages, 0 if it has bytes. */
int vmsgr_has_messages(struct vmsgr_endpoint *endpoint, vmsgr_connection connection);

/* Who is at the other end of a connection with messages: 1 and *peer, or 0 if it has bytes, or has not
   been open yet. EBADF. */
int vmsgr_who(struct vmsgr_endpoint *endpoint, vmsgr_connection connection,
              struct vmsgr_peer_entity *peer);

/* The next message or notice: 1, or 0 if there is none yet, and VMSGR_READABLE tells when more has
   come. It stays the next, and its bytes where they are, until it is consumed or answered, or the
   connection or endpoint is closed. One that with 64 bytes of headers takes at most half of the receive
   ring lies in that; a larger one, up to 128 MiB, comes in parts and is put together. */
int vmsgr_next_message(struct vmsgr_endpoint *endpoint, vmsgr_connection connection,
                       struct vmsgr_message *message);

/* What vmsgr_next_message has shown is done with. ENOMSG: it has shown nothing. */
int vmsgr_consume_message(struct vmsgr_endpoint *endpoint, vmsgr_connection connection);

/* Sends a message; seq and lost are not looked at. EAGAIN: there is no room; call it again, with the
   same message, when VMSGR_WRITABLE tells that there is. Nothing was sent then, unless the message is
   larger than the send ring: of such a one as much was sent as there was room for, and before it is
   finished or abandoned any other fails with EBUSY. EMSGSIZE: it is larger than the entity's may be.
   EPIPE: the direction has ended. */
int vmsgr_send_message(struct vmsgr_endpoint *endpoint, vmsgr_connection connection,
                       const struct vmsgr_message *message);

/* Gives up the message that was sent in part: the peer sees nothing of it. */
int vmsgr_abandon_message(struct vmsgr_endpoint *endpoint, vmsgr_connection connection);

/* Consumes the message that vmsgr_next_message shows, and sends the answer, in one step: whenever the
   process is killed, both have happened or neither. So that messages are answered exactly once; but for
   those that were put together from parts, which are gone with the process. EAGAIN, EMSGSIZE and EPIPE
   as above, and nothing has happened; EMSGSIZE also if it is larger than the send ring. ENOMSG: there
   is no message. */
int vmsgr_reply_message(struct vmsgr_endpoint *endpoint, vmsgr_connection connection,
                        const struct vmsgr_message *answer);

#ifdef __cplusplus
}
#endif

#endif
