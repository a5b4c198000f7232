/*
 * A client whose messages are larger than its ring: one it abandons when a part of it has been sent,
 * one it sends whole. Then it looks at every byte of the answer. Says what it was told.
 *
 *     ./larger ADDRESS PORT SOCKET
 */
#include "client.h"

#define KIND 1000
/* Bytes of data; it may be built with more. */
#ifndef LARGE
#define LARGE (8u << 20)
#endif
#define TOO_LARGE ((128u << 20) + 1)
/* Where the first piece of the data ends. */
#define SPLIT 12345

/* Most of it is never touched. */
static unsigned char data[TOO_LARGE];
static struct vmsgr_endpoint *endpoint;
static vmsgr_connection connection;

/* Waits for an event of one kind, of our connection if that is known. */
static void await(uint32_t kind, struct vmsgr_event *event) {
    for (;;) {
        while (vmsgr_next_event(endpoint, event) == 1) {
            if (event->kind == kind)
                return;
            if (event->kind == VMSGR_FAILED || event->kind == VMSGR_CLOSED) {
                fprintf(stderr, "larger: event %u: %s\n", event->kind, strerror(event->error));
                exit(1);
            }
        }
        if (vmsgr_wait(endpoint, 30000) != 1) {
            fprintf(stderr, "larger: event %u does not come\n", kind);
            exit(1);
        }
    }
}

static struct vmsgr_message message(uint64_t tid, size_t bytes) {
    static char front[] = "larger than its ring";
    struct vmsgr_message made;
    size_t split = bytes < SPLIT ? bytes : SPLIT;

    memset(&made, 0, sizeof made);
    made.type = KIND;
    made.tid = tid;
    made.front[0].iov_base = front;
    made.front[0].iov_len = sizeof front - 1;
    made.data[0].iov_base = data;
    made.data[0].iov_len = split;
    made.data[1].iov_base = data + split;
    made.data[1].iov_len = bytes - split;
    return made;
}

/* Sends as much of a message as there is room for: 0, or what errno says. */
static int try(uint64_t tid, size_t bytes) {
    struct vmsgr_message made = message(tid, bytes);
    return vmsgr_send_message(endpoint, connection, &made) < 0 ? errno : 0;
}

static const char *name(int error) {
    return error == 0          ? "sent"
           : error == EAGAIN   ? "EAGAIN"
           : error == EBUSY    ? "EBUSY"
           : error == EMSGSIZE ? "EMSGSIZE"
                               : strerror(error);
}

/* FNV-1a, over pieces. */
static uint64_t checksum(uint64_t sum, const struct iovec pieces[2]) {
    for (int n = 0; n < 2; n++)
        for (size_t i = 0; i < pieces[n].iov_len; i++)
            sum = (sum ^ ((const unsigned char *)pieces[n].iov_base)[i]) * 0x100000001b3u;
    return sum;
}

int main(int argc, char **argv) {
    struct vmsgr_entity_options client;
    struct vmsgr_peer_entity who;
    struct vmsgr_message reply;
    struct vmsgr_event event;
    vmsgr_entity_id entity;
    vmsgr_job job;
    uint64_t sum;
    int error, came;

    for (uint32_t i = 0; i < LARGE; i++)
        data[i] = (unsigned char)((i * 2654435761u) >> 24);
    endpoint = attached("larger", argc, argv);
    vmsgr_entity_options_init(&client);
    client.type = 8;
    client.policy = VMSGR_LOSSY_CLIENT;
    client.id = "admin";
    if (vmsgr_entity(endpoint, &client, &entity) < 0)
        die("cannot be client.admin");
    if (vmsgr_connect_as(endpoint, entity, peer, sizeof address, 4, &job) < 0)
        die("cannot connect");
    await(VMSGR_CONNECTED, &event);
    if (event.job != job)
        die("another job");
    connection = event.connection;
    if (vmsgr_has_messages(endpoint, connection) != 1 || vmsgr_who(endpoint, connection, &who) != 1)
        die("no peer");
    printf("connected to number %llu of type %u\n", (unsigned long long)who.number, who.type);

    printf("too large: %s\n", name(try(1, TOO_LARGE)));
    printf("in part: %s\n", name(try(2, LARGE)));
    printf("another: %s\n", name(try(3, 1)));
    if (vmsgr_abandon_message(endpoint, connection) < 0)
        die("cannot abandon");
    while ((error = try(4, 1)) == EAGAIN)
        await(VMSGR_WRITABLE, &event);
    printf("small: %s\n", name(error));
    while ((error = try(5, LARGE)) == EAGAIN)
        await(VMSGR_WRITABLE, &event);
    printf("large: %s\n", name(error));

    while ((came = vmsgr_next_message(endpoint, connection, &reply)) == 0)
        await(VMSGR_READABLE, &event);
    if (came < 0)
        die("no reply");
    sum = checksum(checksum(0xcbf29ce484222325u, reply.front), reply.data);
    printf("reply to %llu: %zu bytes, %016llx\n", (unsigned long long)reply.tid,
           reply.data[0].iov_len + reply.data[1].iov_len, (unsigned long long)sum);
    if (vmsgr_consume_message(endpoint, connection) < 0)
        die("cannot consume");
    if (vmsgr_consume_message(endpoint, connection) == 0 || errno != ENOMSG)
        die("consumed twice");
    vmsgr_leave(endpoint);
    return 0;
}
