/*
 * Says when its session asks a silent peer whether it is there, in ways that are wrong, and then in
 * one that is right. Says when the session is there, and when its peer is missed.
 *
 *     ./keepalive ADDRESS PORT SOCKET
 */
#include "client.h"

/* Whether the entity can be asked for with these times. */
static int may(struct vmsgr_endpoint *endpoint, uint32_t after_ms, uint32_t patience_ms,
               vmsgr_entity_id *entity) {
    struct vmsgr_entity_options osd;

    vmsgr_entity_options_init(&osd);
    if (osd.keepalive_ms != 0 || osd.keepalive_patience_ms != 0)
        die("other defaults");
    osd.policy = VMSGR_LOSSLESS_CLIENT;
    osd.id = "0";
    osd.keepalive_ms = after_ms;
    osd.keepalive_patience_ms = patience_ms;
    if (vmsgr_entity(endpoint, &osd, entity) == 0)
        return 1;
    if (errno != EINVAL)
        die("refused for another reason");
    return 0;
}

int main(int argc, char **argv) {
    static const uint32_t wrong[][2] = {{0, 100},
                                        {100, 0},
                                        {99, 100},
                                        {100, 99},
                                        {86400001, 100},
                                        {100, 86400001},
                                        {VMSGR_NO_KEEPALIVE, 100},
                                        {100, VMSGR_NO_KEEPALIVE},
                                        {0, VMSGR_NO_KEEPALIVE}};
    static const uint32_t right[][2] = {
        {0, 0}, {VMSGR_NO_KEEPALIVE, 0}, {86400000, 100}, {100, 86400000}, {100, 300}};
    struct vmsgr_endpoint *endpoint;
    struct vmsgr_message message;
    struct vmsgr_event event;
    vmsgr_entity_id entity;
    vmsgr_job job;
    size_t i;

    endpoint = attached("keepalive", argc, argv);
    for (i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (may(endpoint, wrong[i][0], wrong[i][1], &entity))
            die("times out of their range are taken");
    for (i = 0; i < sizeof right / sizeof *right; i++)
        if (!may(endpoint, right[i][0], right[i][1], &entity))
            die("times within their range are refused");
    /* The last of them. */
    if (vmsgr_connect_as(endpoint, entity, peer, sizeof address, 4, &job) < 0)
        die("cannot connect");
    for (;;) {
        while (vmsgr_next_event(endpoint, &event) == 1) {
            if (event.kind == VMSGR_CONNECTED) {
                printf("open\n");
                fflush(stdout);
            } else if (event.kind != VMSGR_READABLE) {
                fprintf(stderr, "keepalive: event %u instead\n", event.kind);
                return 1;
            }
            while (vmsgr_next_message(endpoint, event.connection, &message) == 1) {
                if (message.what == VMSGR_STREAM_LOST) {
                    printf("missed\n");
                    vmsgr_leave(endpoint);
                    return 0;
                }
                vmsgr_consume_message(endpoint, event.connection);
            }
        }
        if (vmsgr_wait(endpoint, 1000) < 0)
            die("wait");
    }
}
