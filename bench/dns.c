// Load for a name server: queries for one name by UDP, some of them under way at any time.
//
//   dns ADDRESS NAME OUTSTANDING SECONDS
//
// prints the answers a second. An answer without an address ends the program with a message.

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define OUTSTANDING_MAX 64

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void die(const char *what) {
    fprintf(stderr, "dns: %s: %s\n", what, strerror(errno));
    exit(1);
}

// A query for the address (A, IN) of a name without a trailing dot; returns its length.
static size_t make_query(unsigned char *query, const char *name) {
    static const unsigned char head[12] = {0, 0, 1, 0, 0, 1};
    memcpy(query, head, sizeof head);
    unsigned char *to = query + sizeof head;
    for (const char *label = name; *label;) {
        size_t length = strcspn(label, ".");
        *to++ = length;
        memcpy(to, label, length);
        to += length;
        label += length + (label[length] == '.');
    }
    memcpy(to, "\0\0\1\0\1", 5);
    return to + 5 - query;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: dns ADDRESS NAME OUTSTANDING SECONDS\n");
        return 2;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(53)};
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1 || strlen(argv[2]) > 200) return 2;
    int outstanding = atoi(argv[3]);
    if (outstanding < 1 || outstanding > OUTSTANDING_MAX) return 2;
    unsigned char query[256], answer[1500];
    size_t length = make_query(query, argv[2]);
    struct pollfd sockets[OUTSTANDING_MAX];
    for (int i = 0; i < outstanding; i++) {
        sockets[i].fd = socket(AF_INET, SOCK_DGRAM, 0);
        sockets[i].events = POLLIN;
        if (connect(sockets[i].fd, (void *)&address, sizeof address) < 0) die("connect");
        query[1] = i;
        if (send(sockets[i].fd, query, length, 0) < 0) die("send");
    }
    long answers = 0;
    double begin = now(), until = begin + atof(argv[4]);
    while (now() < until) {
        int ready = poll(sockets, outstanding, 1000);
        if (ready < 0) die("poll");
        for (int i = 0; i < outstanding; i++) {
            if (ready && !(sockets[i].revents & POLLIN)) continue;
            if (ready) {
                ssize_t got = recv(sockets[i].fd, answer, sizeof answer, 0);
                if (got < 12 || (answer[3] & 15) || !(answer[6] | answer[7])) {
                    fprintf(stderr, "dns: no address for %s\n", argv[2]);
                    return 1;
                }
                answers++;
            }
            query[1] = i;
            if (send(sockets[i].fd, query, length, 0) < 0) die("send");
        }
    }
    printf("%.1f\n", answers / (now() - begin));
    return 0;
}
