/* The smallest honest publisher on libmosquitto: CLIENTS clients in one thread and one poll loop, each with at most
 * WINDOW messages unacknowledged, until MESSAGES are acknowledged (QoS 0: written). It prints the messages, the
 * processor seconds of this process and the wall seconds of the publishing alone. With a RATE above 0 each client
 * publishes so many a second instead, on a schedule that was fixed beforehand.
 *
 *   cc -O2 -o loop loop.c -lmosquitto && ./loop PORT CLIENTS QOS WINDOW MESSAGES SIZE RATE
 */
#define _GNU_SOURCE
#include <mosquitto.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

struct client {
	struct mosquitto *m;
	int connected;
	int unacknowledged;
	char topic[32];
};

static long published, acknowledged;

static void on_connect(struct mosquitto *m, void *c, int rc)
{
	(void)m;
	if (rc) {
		fprintf(stderr, "CONNACK %d\n", rc);
		exit(1);
	}
	((struct client *)c)->connected = 1;
}

static void on_publish(struct mosquitto *m, void *c, int mid)
{
	(void)m;
	(void)mid;
	((struct client *)c)->unacknowledged--;
	acknowledged++;
}

static double processor(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double wall(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void check(int rc, const char *what)
{
	if (rc != MOSQ_ERR_SUCCESS) {
		fprintf(stderr, "%s: %s\n", what, mosquitto_strerror(rc));
		exit(1);
	}
}

int main(int argc, char **argv)
{
	if (argc != 8) {
		fprintf(stderr, "usage: loop PORT CLIENTS QOS WINDOW MESSAGES SIZE RATE\n");
		return 2;
	}
	int port = atoi(argv[1]), n = atoi(argv[2]), qos = atoi(argv[3]), window = atoi(argv[4]), size = atoi(argv[6]);
	long messages = atol(argv[5]);
	double rate = atof(argv[7]) * n;
	struct client *clients = calloc(n, sizeof *clients);
	struct pollfd *fds = calloc(n, sizeof *fds);
	char *payload = calloc(1, size);
	int up = 0;

	mosquitto_lib_init();
	for (int i = 0; i < n; i++) {
		struct client *c = &clients[i];
		char id[32];
		snprintf(id, sizeof id, "loop-%d", i);
		snprintf(c->topic, sizeof c->topic, "bench/loop/%08d", i);
		c->m = mosquitto_new(id, true, c);
		mosquitto_int_option(c->m, MOSQ_OPT_TCP_NODELAY, 1);
		mosquitto_max_inflight_messages_set(c->m, window);
		mosquitto_connect_callback_set(c->m, on_connect);
		mosquitto_publish_callback_set(c->m, on_publish);
		check(mosquitto_connect(c->m, "127.0.0.1", port, 60), "connect");
	}
	double cpu = 0, start = 0, last = 0;
	while (acknowledged < messages) {
		if (!start) {
			up = 0;
			for (int i = 0; i < n; i++)
				up += clients[i].connected;
			if (up == n) {
				start = wall();
				cpu = processor();
			}
		}
		while (start && rate > 0 && published < messages && wall() >= start + published / rate) {
			struct client *c = &clients[published % n];
			c->unacknowledged++;
			published++;
			check(mosquitto_publish(c->m, NULL, c->topic, size, payload, qos, false), "publish");
		}
		for (int i = 0; i < n; i++) {
			struct client *c = &clients[i];
			while (start && rate == 0 && published < messages && c->unacknowledged < window) {
				c->unacknowledged++;
				published++;
				check(mosquitto_publish(c->m, NULL, c->topic, size, payload, qos, false), "publish");
				if (qos == 0)
					break; /* at QoS 0 the window is the socket: one each round */
			}
			fds[i].fd = mosquitto_socket(c->m);
			fds[i].events = POLLIN | (mosquitto_want_write(c->m) ? POLLOUT : 0);
		}
		struct timespec wait = {qos == 0 && start && rate == 0 ? 0 : 1, 0};
		if (start && rate > 0 && published < messages) {
			double left = start + published / rate - wall();
			wait.tv_sec = 0;
			wait.tv_nsec = left > 0 ? left * 1e9 : 0;
		}
		if (ppoll(fds, n, &wait, NULL) < 0)
			return 1;
		for (int i = 0; i < n; i++) {
			if (fds[i].revents & POLLIN)
				check(mosquitto_loop_read(clients[i].m, 1), "read");
			if (fds[i].revents & POLLOUT)
				check(mosquitto_loop_write(clients[i].m, 1), "write");
		}
		if (wall() - last > 1) {
			last = wall();
			for (int i = 0; i < n; i++)
				mosquitto_loop_misc(clients[i].m);
		}
	}
	printf("%ld %.6f %.6f\n", acknowledged, processor() - cpu, wall() - start);
	return 0;
}
