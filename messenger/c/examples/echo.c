/*
 * An echo whose sockets are vmsgrd's.
 *
 *     cc echo.c -o echo $(pkg-config --cflags --libs vmsgr)
 *     ./echo 127.0.0.1 7500 [SOCKET]
 *
 * Ends in order on SIGTERM or SIGINT. Killed with SIGKILL and started again, it goes on with its
 * connections where they were.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vmsgr.h>

static volatile sig_atomic_t ends;

static void end(int signal) {
    (void)signal;
    ends = 1;
}

static void die(const char *what) {
    fprintf(stderr, "echo: %s: %s\n", what, vmsgr_error());
    exit(1);
}

/* What has come is sent back; if there is no room for all of it, VMSGR_WRITABLE brings us here. */
static void send_back(struct vmsgr_endpoint *endpoint, vmsgr_connection connection) {
    if (vmsgr_forward(endpoint, connection, SIZE_MAX) < 0) {
        if (errno == EBADF)
            return; /* An event that came before its end. */
        die("forward");
    }
    if (vmsgr_peer_has_ended(endpoint, connection) == 1 && vmsgr_unread(endpoint, connection) == 0)
        vmsgr_close(endpoint, connection);
}

static void act(struct vmsgr_endpoint *endpoint, const struct vmsgr_event *event) {
    const struct sockaddr_in *address = (const struct sockaddr_in *)&event->address;
    char text[INET_ADDRSTRLEN];

    switch (event->kind) {
    case VMSGR_LISTENING:
        inet_ntop(AF_INET, &address->sin_addr, text, sizeof text);
        printf("listening on %s:%d\n", text, ntohs(address->sin_port));
        fflush(stdout);
        break;
    case VMSGR_FAILED:
        fprintf(stderr, "echo: cannot listen: %s\n", strerror(event->error));
        exit(1);
    case VMSGR_RESUMED:
    case VMSGR_READABLE:
    case VMSGR_WRITABLE:
    case VMSGR_PEER_ENDED:
        send_back(endpoint, event->connection);
        break;
    case VMSGR_CLOSED:
        vmsgr_close(endpoint, event->connection);
        break;
    case VMSGR_DETACHED:
        fprintf(stderr, "echo: the daemon has gone\n");
        exit(1);
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct sigaction action = {.sa_handler = end};
    struct vmsgr_options options;
    struct vmsgr_endpoint *endpoint;
    struct vmsgr_event event;

    if (argc < 3 || inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) {
        fprintf(stderr, "usage: echo ADDRESS PORT [SOCKET]\n");
        return 2;
    }
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);

    vmsgr_options_init(&options);
    options.name = "echo.c";
    options.socket = argc > 3 ? argv[3] : NULL;
    endpoint = vmsgr_attach(&options);
    if (!endpoint)
        die("cannot attach");
    if (vmsgr_listen(endpoint, (struct sockaddr *)&address, sizeof address, 0, NULL) < 0)
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
