/*
 * What the clients here begin with: `./NAME ADDRESS PORT SOCKET`, an endpoint of that daemon, and the
 * address of the peer.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vmsgr.h>

static const char *program;
static struct sockaddr_in address = {.sin_family = AF_INET};
static const struct sockaddr *const peer = (const struct sockaddr *)&address;

static void die(const char *what) {
    fprintf(stderr, "%s: %s: %s\n", program, what, vmsgr_error());
    exit(1);
}

/* Attaches as this program. */
static struct vmsgr_endpoint *attached(const char *name, int argc, char **argv) {
    struct vmsgr_options options;
    struct vmsgr_endpoint *endpoint;

    program = name;
    if (argc != 4 || inet_pton(AF_INET, argv[1], &address.sin_addr) != 1)
        exit(2);
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    vmsgr_options_init(&options);
    options.name = name;
    options.socket = argv[3];
    endpoint = vmsgr_attach(&options);
    if (!endpoint)
        die("cannot attach");
    return endpoint;
}
