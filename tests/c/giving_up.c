/*
 * Asks for two sessions with somebody who never says anything: one it gives up, the other gets its
 * time. Says what it is told of each.
 *
 *     ./giving_up ADDRESS PORT SOCKET
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include <vmsgr.h>

static void die(const char *what) {
    fprintf(stderr, "giving_up: %s: %s\n", what, vmsgr_error());
    exit(1);
}

/* Waits until a job has failed, and says so. */
static void fails(struct vmsgr_endpoint *endpoint, vmsgr_job job, const char *what) {
    struct vmsgr_event event;

    for (;;) {
        while (vmsgr_next_event(endpoint, &event) == 1) {
            if (event.kind != VMSGR_FAILED || event.job != job) {
                fprintf(stderr, "giving_up: event %u instead\n", event.kind);
                exit(1);
            }
            printf("%s: %s\n", what,
                   event.error == ECANCELED   ? "ECANCELED"
                   : event.error == ETIMEDOUT ? "ETIMEDOUT"
                                              : "another error");
            return;
        }
        if (vmsgr_wait(endpoint, 1000) < 0)
            die("wait");
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    const struct sockaddr *mute = (struct sockaddr *)&address;
    struct vmsgr_entity_options client;
    struct vmsgr_options options;
    struct vmsgr_endpoint *endpoint;
    vmsgr_entity_id entity;
    vmsgr_job given_up, timed;

    if (argc != 4 || inet_pton(AF_INET, argv[1], &address.sin_addr) != 1)
        return 2;
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    vmsgr_options_init(&options);
    options.name = "giving_up.c";
    options.socket = argv[3];
    endpoint = vmsgr_attach(&options);
    if (!endpoint)
        die("cannot attach");
    vmsgr_entity_options_init(&client);
    client.type = 8;
    client.policy = VMSGR_LOSSLESS_CLIENT;
    client.id = "admin";
    if (vmsgr_entity(endpoint, &client, &entity) < 0)
        die("cannot be client.admin");

    if (vmsgr_connect_as_within(endpoint, entity, mute, sizeof address, 4, -1, &given_up) < 0)
        die("cannot connect");
    if (vmsgr_cancel(endpoint, given_up) < 0)
        die("cannot give up");
    fails(endpoint, given_up, "given up");
    if (vmsgr_connect_as_within(endpoint, entity, mute, sizeof address, 4, 300, &timed) < 0)
        die("cannot connect");
    fails(endpoint, timed, "timed");

    /* Neither has an endpoint, or a time that is any. */
    if (vmsgr_cancel(NULL, timed) == 0 || errno != EINVAL)
        die("no endpoint, and given up");
    if (vmsgr_connect_as_within(NULL, entity, mute, sizeof address, 4, 1, &timed) == 0)
        die("no endpoint, and connected");
    vmsgr_leave(endpoint);
    return 0;
}
