// Load for an HTTP API on a unix socket, the same for every engine measured.
//
//   load SOCKET PATH CONNECTIONS SECONDS
//
// keeps one request under way on each of CONNECTIONS kept connections and prints the answers
// a second. An answer that is not 200 ends the program with a message.

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BUFFER (4 << 20)
#define CONNECTIONS_MAX 256

struct connection {
    int fd;
    size_t filled;
    char *buffer;
};

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

// Length of the complete answer at the start of the buffer, or 0 if more is to come.
static size_t answer_length(struct connection *connection) {
    char *buffer = connection->buffer, *end = buffer + connection->filled;
    *end = 0;
    char *body = memmem(buffer, connection->filled, "\r\n\r\n", 4);
    if (!body) return 0;
    if (strncmp(buffer, "HTTP/1.1 200", 12)) {
        fprintf(stderr, "load: answer: %.60s\n", buffer);
        exit(1);
    }
    *body = 0;
    char *length = strcasestr(buffer, "\r\ncontent-length:");
    int chunked = strcasestr(buffer, "\r\ntransfer-encoding: chunked") != NULL;
    *body = '\r';
    body += 4;
    if (!chunked) {
        size_t total = body - buffer + (length ? strtoul(length + 17, NULL, 10) : 0);
        return connection->filled >= total ? total : 0;
    }
    for (;;) {
        char *line = memmem(body, end - body, "\r\n", 2);
        if (!line) return 0;
        size_t size = strtoul(body, NULL, 16);
        if ((size_t)(end - line) < size + 4) return 0;
        body = line + 2 + size + 2;
        if (!size) return body - buffer;
    }
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: load SOCKET PATH CONNECTIONS SECONDS\n");
        return 2;
    }
    static struct connection connections[CONNECTIONS_MAX];
    int count = atoi(argv[3]), epoll = epoll_create1(0);
    char request[1024];
    int size = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", argv[2]);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    if (count < 1 || count > CONNECTIONS_MAX) return 2;
    for (int i = 0; i < count; i++) {
        connections[i].fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(connections[i].fd, (void *)&address, sizeof address) < 0) die(argv[1]);
        connections[i].buffer = malloc(BUFFER);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
        epoll_ctl(epoll, EPOLL_CTL_ADD, connections[i].fd, &event);
        if (write(connections[i].fd, request, size) != size) die("write");
    }
    long answers = 0;
    double begin = now(), until = begin + atof(argv[4]);
    while (now() < until) {
        struct epoll_event events[64];
        int ready = epoll_wait(epoll, events, 64, 100);
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            ssize_t got = read(connection->fd, connection->buffer + connection->filled,
                               BUFFER - 1 - connection->filled);
            if (got <= 0) die("read");
            connection->filled += got;
            if (!answer_length(connection)) continue;
            connection->filled = 0;
            answers++;
            if (write(connection->fd, request, size) != size) die("write");
        }
    }
    printf("%.1f\n", answers / (now() - begin));
    return 0;
}
