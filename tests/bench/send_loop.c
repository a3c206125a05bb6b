/* What a delivery costs at least: for each byte on the control connection, one send() of a finished frame to each other
 * connection. It speaks like `broadcast` in references.py.
 *
 *     send_loop PORT BYTES
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 65536
#define ANSWER "HTTP/1.1 101 Switching Protocols\r\n\r\n"

static int listeners[MOST], count, control;
static char frame[MOST];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void send_all(int fd, const char *data, size_t size) {
    if (send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)size && errno != EPIPE && errno != ECONNRESET)
        fail("send");
}

/* Accept connections and answer their requests until the one with "/control" is there. */
static void accept_all(int server) {
    char request[4096];
    while (!control && count < MOST) {
        int fd = accept(server, NULL, NULL);
        ssize_t size = fd < 0 ? -1 : recv(fd, request, sizeof request - 1, 0);
        if (size < 0)
            fail("accept");
        request[size] = 0;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        send_all(fd, ANSWER, strlen(ANSWER));
        if (strstr(request, "/control"))
            control = fd;
        else
            listeners[count++] = fd;
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (argc != 3)
        return 2;
    address.sin_port = htons(atoi(argv[1]));
    int server = socket(AF_INET, SOCK_STREAM, 0), size = atoi(argv[2]);
    if (bind(server, (struct sockaddr *)&address, sizeof address) || listen(server, 1024))
        fail("bind");
    frame[0] = (char)0x81; /* one whole frame of text, with its length in two bytes */
    frame[1] = 126;
    frame[2] = (char)(size >> 8);
    frame[3] = (char)size;
    memset(frame + 4, 'x', size);
    accept_all(server);
    char rounds[1024];
    for (ssize_t asked; (asked = recv(control, rounds, sizeof rounds, 0)) > 0;)
        for (; asked > 0; asked--) {
            for (int n = 0; n < count; n++)
                send_all(listeners[n], frame, size + 4);
            send_all(control, "\x81", 2); /* an empty frame */
        }
    return 0;
}
