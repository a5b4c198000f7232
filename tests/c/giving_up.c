/*
 * Asks for two sessions with somebody who never says anything: one it gives up, the other gets its
 * time. Says what it is told of each.
 *
 *     ./giving_up ADDRESS PORT SOCKET
 */
#include "client.h"

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
    struct vmsgr_entity_options client;
    struct vmsgr_endpoint *endpoint;
    vmsgr_entity_id entity;
    vmsgr_job given_up, timed;

    endpoint = attached("giving_up", argc, argv);
    vmsgr_entity_options_init(&client);
    client.type = 8;
    client.policy = VMSGR_LOSSLESS_CLIENT;
    client.id = "admin";
    if (vmsgr_entity(endpoint, &client, &entity) < 0)
        die("cannot be client.admin");

    if (vmsgr_connect_as_within(endpoint, entity, peer, sizeof address, 4, -1, &given_up) < 0)
        die("cannot connect");
    if (vmsgr_cancel(endpoint, given_up) < 0)
        die("cannot give up");
    fails(endpoint, given_up, "given up");
    if (vmsgr_connect_as_within(endpoint, entity, peer, sizeof address, 4, 300, &timed) < 0)
        die("cannot connect");
    fails(endpoint, timed, "timed");

    /* Neither has an endpoint, or a time that is any. */
    if (vmsgr_cancel(NULL, timed) == 0 || errno != EINVAL)
        die("no endpoint, and given up");
    if (vmsgr_connect_as_within(NULL, entity, peer, sizeof address, 4, 1, &timed) == 0)
        die("no endpoint, and connected");
    vmsgr_leave(endpoint);
    return 0;
}
