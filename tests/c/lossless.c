/*
 * A peer of a lossless session: connects, and exchanges numbered messages with the other side until
 * that says that it is enough. Each has to come once, in order and whole, whatever becomes of the
 * stream. Says how many have come, and how often it was told that the stream was lost.
 *
 *     ./lossless ADDRESS PORT SOCKET
 */
#include "client.h"

#define KIND 1000
/* The last of a side. */
#define LAST 1001
/* The most data of a message. */
#define MOST 5000

static struct vmsgr_endpoint *endpoint;
static vmsgr_connection connection;
static uint64_t sent, taken, lost;
/* Both sides' last messages. */
static int last_taken, last_sent;

static void fail(const char *what) {
    fprintf(stderr, "lossless: %s: %llu sent, %llu taken\n", what, (unsigned long long)sent,
            (unsigned long long)taken);
    exit(1);
}

/* What the message with this number carries, and how many bytes that is. */
static size_t content(uint64_t number, unsigned char data[MOST]) {
    uint32_t from = (uint32_t)number * 2654435761u;
    size_t bytes = from % (MOST + 1);

    for (size_t i = 0; i < bytes; i++)
        data[i] = (unsigned char)(((from + (uint32_t)i) * 2654435761u) >> 24);
    return bytes;
}

/* Looks at the next message. */
static void check(const struct vmsgr_message *came) {
    static unsigned char data[MOST];
    size_t bytes = content(taken, data), first = came->data[0].iov_len;

    if (came->tid != taken)
        fail("a message is lost, doubled or out of its turn");
    if (came->type != KIND && came->type != LAST)
        fail("another type");
    if (came->front[0].iov_len + came->front[1].iov_len != 0)
        fail("a front");
    if (first + came->data[1].iov_len != bytes || memcmp(came->data[0].iov_base, data, first) ||
        memcmp(came->data[1].iov_base, data + first, bytes - first))
        fail("other data");
    if (last_taken)
        fail("a message behind the last");
    taken++;
    last_taken = came->type == LAST;
}

static void take(void) {
    struct vmsgr_message came;

    while (vmsgr_next_message(endpoint, connection, &came) == 1) {
        if (came.what == VMSGR_MESSAGE)
            check(&came);
        else if (came.what == VMSGR_STREAM_LOST)
            lost++;
        else if (came.what != VMSGR_STREAM_BACK)
            fail("the peer has forgotten the session");
        if (vmsgr_consume_message(endpoint, connection) < 0)
            die("cannot consume");
    }
}

/* Sends as many messages as there is room for. Each says how many were taken. */
static void send_more(void) {
    static unsigned char data[MOST];
    struct vmsgr_message next;

    while (!last_sent) {
        memset(&next, 0, sizeof next);
        next.type = last_taken ? LAST : KIND;
        next.tid = sent;
        next.front[0].iov_base = &taken;
        next.front[0].iov_len = sizeof taken;
        next.data[0].iov_base = data;
        next.data[0].iov_len = content(sent, data);
        if (vmsgr_send_message(endpoint, connection, &next) < 0) {
            if (errno != EAGAIN)
                die("cannot send");
            return;
        }
        sent++;
        last_sent = last_taken;
    }
}

int main(int argc, char **argv) {
    struct vmsgr_entity_options osd;
    struct vmsgr_event event;
    vmsgr_entity_id entity;

    endpoint = attached("lossless", argc, argv);
    vmsgr_entity_options_init(&osd);
    osd.policy = VMSGR_LOSSLESS_PEER;
    osd.id = "9";
    if (vmsgr_entity(endpoint, &osd, &entity) < 0)
        die("cannot be osd.9");
    if (vmsgr_connect_as(endpoint, entity, peer, sizeof address, 4, NULL) < 0)
        die("cannot connect");
    while (!last_sent) {
        while (vmsgr_next_event(endpoint, &event) == 1) {
            if (event.kind == VMSGR_CONNECTED && !connection)
                connection = event.connection;
            else if (event.kind != VMSGR_READABLE && event.kind != VMSGR_WRITABLE)
                fail("the session is over, or another");
        }
        if (connection) {
            take();
            send_more();
        }
        if (!last_sent && vmsgr_wait(endpoint, 1000) < 0)
            die("wait");
    }
    printf("%llu came, and the stream was lost %llu times\n", (unsigned long long)taken,
           (unsigned long long)lost);
    vmsgr_leave(endpoint);
    return 0;
}
