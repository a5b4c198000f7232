/*
 * An OSD, as far as pings go: its sockets and sessions are vmsgrd's, and it answers each ping (type 2)
 * with one, and nothing else.
 *
 *     cc pong.c -o pong $(pkg-config --cflags --libs vmsgr)
 *     ./pong 127.0.0.1 6800 [SOCKET]
 *
 * Ends in order on SIGTERM or SIGINT. Killed with SIGKILL and started again, it answers what was not
 * answered, once.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vmsgr.h>

#define PING 2

static volatile sig_atomic_t ends;

static void end(int signal) {
    (void)signal;
    ends = 1;
}

static void die(const char *what) {
    fprintf(stderr, "pong: %s: %s\n", what, vmsgr_error());
    exit(1);
}

/* Answers what lies there; if there is no room for an answer, VMSGR_WRITABLE brings us here again. */
static void answer(struct vmsgr_endpoint *endpoint, vmsgr_connection connection) {
    static char text[] = "\x14\0\0\0{\"service\":\"pong.c\"}";
    struct vmsgr_message message, pong;

    while (vmsgr_next_message(endpoint, connection, &message) == 1) {
        if (message.what != VMSGR_MESSAGE || message.type != PING) {
            vmsgr_consume_message(endpoint, connection);
            continue;
        }
        memset(&pong, 0, sizeof pong);
        pong.type = PING;
        pong.tid = message.tid;
        pong.priority = message.priority;
        pong.version = 1;
        pong.compat_version = 1;
        pong.flags = message.flags;
        pong.front[0].iov_base = text;
        pong.front[0].iov_len = sizeof text - 1;
        if (vmsgr_reply_message(endpoint, connection, &pong) < 0) {
            if (errno != EAGAIN)
                die("answer");
            return;
        }
    }
}

static void act(struct vmsgr_endpoint *endpoint, const struct vmsgr_event *event) {
    const struct sockaddr_in *address = (const struct sockaddr_in *)&event->address;
    char text[INET_ADDRSTRLEN];
    struct vmsgr_peer_entity peer;

    switch (event->kind) {
    case VMSGR_LISTENING:
        inet_ntop(AF_INET, &address->sin_addr, text, sizeof text);
        printf("listening on %s:%d\n", text, ntohs(address->sin_port));
        fflush(stdout);
        break;
    case VMSGR_ACCEPTED:
        if (vmsgr_who(endpoint, event->connection, &peer) == 1) {
            printf("session with number %llu of type %u\n", (unsigned long long)peer.number, peer.type);
            fflush(stdout);
        }
        break;
    case VMSGR_FAILED:
        fprintf(stderr, "pong: cannot listen: %s\n", strerror(event->error));
        exit(1);
    case VMSGR_RESUMED:
    case VMSGR_READABLE:
    case VMSGR_WRITABLE:
        answer(endpoint, event->connection);
        break;
    case VMSGR_PEER_ENDED:
    case VMSGR_CLOSED:
        vmsgr_close(endpoint, event->connection);
        break;
    case VMSGR_DETACHED:
        fprintf(stderr, "pong: the daemon has gone\n");
        exit(1);
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct sigaction action = {.sa_handler = end};
    struct vmsgr_entity_options osd;
    struct vmsgr_options options;
    struct vmsgr_endpoint *endpoint;
    struct vmsgr_event event;
    vmsgr_entity_id entity;

    if (argc < 3 || inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) {
        fprintf(stderr, "usage: pong ADDRESS PORT [SOCKET]\n");
        return 2;
    }
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);

    vmsgr_options_init(&options);
    options.name = "pong.c";
    options.socket = argc > 3 ? argv[3] : NULL;
    endpoint = vmsgr_attach(&options);
    if (!endpoint)
        die("cannot attach");
    vmsgr_entity_options_init(&osd);
    osd.id = "0";
    if (vmsgr_entity(endpoint, &osd, &entity) < 0)
        die("cannot be osd.0");
    if (vmsgr_listen_as(endpoint, entity, (struct sockaddr *)&address, sizeof address, NULL) < 0)
        die("cannot listen");

    while (!ends) {
        while (vmsgr_next_event(endpoint, &event) == 1)
            act(endpoint, &event);
        /* A signal that comes just before this is seen a second later. */
        if (vmsgr_wait(endpoint, 1000) < 0)
            die("wait");
    }
    vmsgr_leave(endpoint);
    return 0;
}
