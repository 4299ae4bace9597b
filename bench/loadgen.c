/*
 * loadgen: cost of one packet through a node's FORWARD path, several nodes ("lanes") side by side.
 *
 * Frames leave through an AF_PACKET socket on one end of a veth.  A veth hands a frame to the
 * softirq of the CPU that sent it, so the whole way (conntrack, every netfilter rule, routing, the
 * second veth) runs before sendmmsg() returns: elapsed time of the pinned sender / frames is the
 * cost of the path plus a constant for building the skb, the same constant in every lane.
 * The far end sees a foreign MAC address and drops the frame first thing in ip_rcv().
 *
 * Lanes take turns (A B C, B C A, ...) so that a noisy neighbour hits all of them alike.  Frames go
 * out in bursts, and a batch's cost is that of its median burst: one that was preempted says nothing.
 *
 * usage: loadgen MODE PROTOCOL FLOWS ROUNDS PACKETS CPU LANE...
 *   MODE     new          every frame opens a connection; conntrack is flushed between batches
 *            established  connections are opened from both ends first, then data is timed
 *            probe        like new, but one round: which flows are forwarded at all?
 *   PROTOCOL tcp | udp
 *   FLOWS    binary file of 12-byte records: saddr daddr sport dport, all in network byte order
 *   ROUNDS   batches per lane
 *   PACKETS  frames per batch of established; a batch of new sends every flow once
 *   CPU      CPU to run on
 *   LANE     GENIF,SINKIF,NETNS: the two veth ends here, and a path to the node's namespace
 * output: one line per batch: "round lane nanoseconds-per-frame sent forwarded mean", where the mean
 *   is over all frames, those of preempted bursts included
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	BURST = 64,
	MAX_LANES = 64,
	IP_OFF = 14,
	L4_OFF = 34,
	TCP_HEADER = 20,
	UDP_HEADER = 8,
	DATA = 16, /* bytes of payload in a frame that carries any */
	MAX_FRAME = L4_OFF + TCP_HEADER + DATA,
	CLIENT_SEQ = 1000,
	SERVER_SEQ = 2000,
	WINDOW = 65535,
};

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

struct flow {
	uint32_t saddr, daddr;
	uint16_t sport, dport;
} __attribute__((packed));

/* One step of a connection: who speaks, and for TCP with which flags. */
struct step {
	int from_server, flags, payload;
};

static const struct step OPEN = {0, SYN, 0}, ANSWER = {1, SYN | ACK, 0}, CONFIRM = {0, ACK, 0},
			 SPEAK = {0, ACK | PSH, DATA};

/* The frames of one step, one for each flow, at a distance of MAX_FRAME. */
struct frames {
	uint8_t *data;
	size_t count, length;
};

struct lane {
	char sink_name[IFNAMSIZ];
	int gen_fd, sink_fd, ct_fd;
};

static void die(const char *what)
{
	fprintf(stderr, "loadgen: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Every node end of a veth has this address, so one set of frames serves all lanes. */
static const uint8_t NODE_MAC[6] = {0x02, 0, 0, 0, 0, 0x01};
static const uint8_t PEER_MAC[6] = {0x02, 0, 0, 0, 0, 0x02};

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value & 0xffff);
}

static uint32_t sum16(const uint8_t *at, size_t length, uint32_t sum)
{
	for (size_t i = 0; i + 1 < length; i += 2)
		sum += (uint32_t)at[i] << 8 | at[i + 1];
	return sum;
}

static uint32_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

static void build_tcp(uint8_t *tcp, const uint8_t *ip, const struct step *step)
{
	const int begun = !(step->flags & SYN);
	const size_t length = TCP_HEADER + (size_t)step->payload;

	put32(tcp + 4, (step->from_server ? SERVER_SEQ : CLIENT_SEQ) + (uint32_t)begun);
	if (step->flags & ACK)
		put32(tcp + 8, (step->from_server ? CLIENT_SEQ : SERVER_SEQ) + 1);
	tcp[12] = TCP_HEADER / 4 << 4;
	tcp[13] = (uint8_t)step->flags;
	put16(tcp + 14, WINDOW);
	put16(tcp + 16, fold(sum16(ip + 12, 8, sum16(tcp, length, IPPROTO_TCP + (uint32_t)length))));
}

static void build_frame(uint8_t *frame, const struct flow *flow, const struct step *step, int tcp)
{
	uint8_t *ip = frame + IP_OFF, *l4 = frame + L4_OFF;
	const size_t header = tcp ? TCP_HEADER : UDP_HEADER;
	const size_t payload = tcp ? (size_t)step->payload : DATA;

	memset(frame, 0, MAX_FRAME);
	memcpy(frame, NODE_MAC, 6);
	memcpy(frame + 6, PEER_MAC, 6);
	put16(frame + 12, ETHERTYPE_IP);
	ip[0] = 0x45;
	put16(ip + 2, (uint32_t)(20 + header + payload));
	ip[6] = 0x40; /* don't fragment */
	ip[8] = 64;
	ip[9] = tcp ? IPPROTO_TCP : IPPROTO_UDP;
	memcpy(ip + 12, step->from_server ? &flow->daddr : &flow->saddr, 4);
	memcpy(ip + 16, step->from_server ? &flow->saddr : &flow->daddr, 4);
	put16(ip + 10, fold(sum16(ip, 20, 0)));
	memcpy(l4, step->from_server ? &flow->dport : &flow->sport, 2);
	memcpy(l4 + 2, step->from_server ? &flow->sport : &flow->dport, 2);
	if (tcp)
		build_tcp(l4, ip, step);
	else /* checksum 0 means none */
		put16(l4 + 4, (uint32_t)(header + payload));
}

static struct frames build_frames(const struct flow *flows, size_t count, const struct step *step,
				  int tcp)
{
	struct frames frames = {malloc(count * MAX_FRAME), count, L4_OFF};

	if (!frames.data)
		die("malloc");
	frames.length += tcp ? TCP_HEADER + (size_t)step->payload : UDP_HEADER + DATA;
	for (size_t i = 0; i < count; i++)
		build_frame(frames.data + i * MAX_FRAME, &flows[i], step, tcp);
	return frames;
}

static struct flow *read_flows(const char *path, size_t *count)
{
	FILE *file = fopen(path, "rb");
	struct flow *flows;
	long size;

	if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) < (long)sizeof(*flows))
		die(path);
	rewind(file);
	*count = (size_t)size / sizeof(*flows);
	flows = calloc(*count, sizeof(*flows));
	if (!flows || fread(flows, sizeof(*flows), *count, file) != *count)
		die(path);
	fclose(file);
	return flows;
}

static int open_packet(const char *ifname)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET};
	int fd = socket(AF_PACKET, SOCK_RAW, 0), one = 1;

	address.sll_ifindex = (int)if_nametoindex(ifname);
	if (fd < 0 || !address.sll_ifindex)
		die(ifname);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)))
		die(ifname);
	/* without a qdisc in the way nothing queues: one frame is forwarded before the next is sent */
	if (setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)))
		die("PACKET_QDISC_BYPASS");
	return fd;
}

/* A netlink socket belongs to the namespace it was opened in, whatever the process does later. */
static int open_conntrack(const char *netns)
{
	int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int there = open(netns, O_RDONLY | O_CLOEXEC);
	int fd;

	if (here < 0 || there < 0 || setns(there, CLONE_NEWNET))
		die(netns);
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (fd < 0 || setns(here, CLONE_NEWNET))
		die("netlink");
	close(here);
	close(there);
	return fd;
}

static void flush_conntrack(int fd)
{
	struct {
		struct nlmsghdr header;
		struct nfgenmsg message;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			   .nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		.message = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0},
	};
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
	} answer = {0};

	if (send(fd, &request, sizeof(request), 0) < 0 || recv(fd, &answer, sizeof(answer), 0) < 0)
		die("conntrack flush");
	if (answer.header.nlmsg_type == NLMSG_ERROR && answer.error.error) {
		errno = -answer.error.error;
		die("conntrack flush");
	}
}

/* Frames that came out at the sink: the receive counter of our end of the node's second veth. */
static uint64_t forwarded(const char *ifname)
{
	FILE *file = fopen("/proc/thread-self/net/dev", "r");
	char line[512], name[64];
	unsigned long long packets;
	int found = 0;

	if (!file)
		die("/proc/net/dev");
	while (!found && fgets(line, sizeof(line), file))
		found = sscanf(line, " %63[^:]: %*u %llu", name, &packets) == 2 && !strcmp(name, ifname);
	fclose(file);
	if (!found) {
		errno = ENODEV;
		die(ifname);
	}
	return packets;
}

/* Nanoseconds that the full bursts of a batch took. */
struct timing {
	uint64_t *bursts;
	size_t count;
};

struct load {
	struct frames open, answer, confirm, speak;
	struct timing timing;
	size_t packets;
	int established;
};

static int by_value(const void *left, const void *right)
{
	const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return (a > b) - (a < b);
}

static double median_per_frame(struct timing *timing)
{
	if (!timing->count)
		return 0;
	qsort(timing->bursts, timing->count, sizeof(*timing->bursts), by_value);
	return (double)timing->bursts[timing->count / 2] / BURST;
}

static void send_burst(int fd, struct mmsghdr *messages, size_t count)
{
	for (size_t done = 0; done < count;) {
		const int sent = sendmmsg(fd, messages + done, (unsigned int)(count - done), 0);

		if (sent <= 0)
			die("sendmmsg");
		done += (size_t)sent;
	}
}

static void send_frames(int fd, const struct frames *frames, size_t count, struct timing *timing)
{
	struct mmsghdr messages[BURST];
	struct iovec vectors[BURST];

	memset(messages, 0, sizeof(messages));
	for (int i = 0; i < BURST; i++) {
		vectors[i].iov_len = frames->length;
		messages[i].msg_hdr.msg_iov = &vectors[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	for (size_t done = 0; done < count;) {
		const size_t burst = count - done < BURST ? count - done : BURST;
		uint64_t start;

		for (size_t i = 0; i < burst; i++)
			vectors[i].iov_base = frames->data + (done + i) * MAX_FRAME;
		start = now_ns();
		send_burst(fd, messages, burst);
		if (timing && burst == BURST)
			timing->bursts[timing->count++] = now_ns() - start;
		done += burst;
	}
}

static void open_lane(struct lane *lane, char *text)
{
	char *gen = strtok(text, ","), *sink = strtok(NULL, ","), *netns = strtok(NULL, ",");

	if (!gen || !sink || !netns || strlen(sink) >= IFNAMSIZ) {
		errno = EINVAL;
		die("lane");
	}
	strcpy(lane->sink_name, sink);
	lane->gen_fd = open_packet(gen);
	lane->sink_fd = open_packet(sink);
	lane->ct_fd = open_conntrack(netns);
	flush_conntrack(lane->ct_fd);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

static void connect_all(const struct lane *lane, const struct load *load)
{
	send_frames(lane->gen_fd, &load->open, load->open.count, NULL);
	send_frames(lane->sink_fd, &load->answer, load->answer.count, NULL);
	send_frames(lane->gen_fd, &load->confirm, load->confirm.count, NULL);
}

static void run_batch(const struct lane *lane, struct load *load, int round, int index)
{
	const struct frames *frames = load->established ? &load->speak : &load->open;
	uint64_t before, start;
	size_t sent = 0;
	double mean;

	if (load->established) /* keeps the flows from timing out and warms the caches */
		send_frames(lane->gen_fd, frames, frames->count, NULL);
	load->timing.count = 0;
	before = forwarded(lane->sink_name);
	start = now_ns();
	for (size_t part; sent < load->packets; sent += part) {
		part = load->packets - sent < frames->count ? load->packets - sent : frames->count;
		send_frames(lane->gen_fd, frames, part, &load->timing);
	}
	mean = (double)(now_ns() - start) / (double)sent;
	printf("%d %d %.2f %zu %llu %.2f\n", round, index, median_per_frame(&load->timing), sent,
	       (unsigned long long)(forwarded(lane->sink_name) - before), mean);
	if (!load->established)
		flush_conntrack(lane->ct_fd);
}

int main(int argc, char **argv)
{
	struct lane lanes[MAX_LANES];
	struct load load = {0};
	struct flow *flows;
	size_t count;
	const int lane_count = argc - 7;
	int tcp, rounds;

	if (lane_count < 1 || lane_count > MAX_LANES) {
		fprintf(stderr, "usage: loadgen MODE PROTOCOL FLOWS ROUNDS PACKETS CPU LANE...\n");
		return 2;
	}
	flows = read_flows(argv[3], &count);
	tcp = !strcmp(argv[2], "tcp");
	rounds = strcmp(argv[1], "probe") ? atoi(argv[4]) : 1;
	load.established = !strcmp(argv[1], "established");
	load.packets = load.established ? strtoul(argv[5], NULL, 10) : count;
	load.timing.bursts = calloc(load.packets / BURST + 1, sizeof(*load.timing.bursts));
	if (!load.timing.bursts)
		die("calloc");
	load.open = build_frames(flows, count, &OPEN, tcp);
	load.answer = build_frames(flows, count, &ANSWER, tcp);
	load.confirm = build_frames(flows, count, &CONFIRM, tcp);
	load.speak = build_frames(flows, count, &SPEAK, tcp);
	for (int i = 0; i < lane_count; i++)
		open_lane(&lanes[i], argv[7 + i]);
	pin(atoi(argv[6]));
	mlockall(MCL_CURRENT | MCL_FUTURE); /* a page fault is not a packet; failure only adds noise */
	for (int i = 0; load.established && i < lane_count; i++)
		connect_all(&lanes[i], &load);
	for (int round = 0; round < rounds; round++)
		for (int i = 0; i < lane_count; i++)
			run_batch(&lanes[(round + i) % lane_count], &load, round,
				  (round + i) % lane_count);
	return 0;
}
