/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a switch owes two guests: plain, slow, and only the rules. */
#include "reference.h"

#include <string.h>

#define TCP 6
#define UDP 17

static uint32_t get2(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

static void put2(uint8_t *at, uint32_t v)
{
	at[0] = v >> 8;
	at[1] = v;
}

uint32_t ref_sum(uint32_t sum, const uint8_t *at, uint32_t n)
{
	uint64_t all = sum;
	uint32_t i;

	for (i = 0; i + 1 < n; i += 2)
		all += get2(at + i);
	if (n & 1)
		all += at[n - 1] << 8;
	while (all >> 16)
		all = (all & 0xffff) + (all >> 16);
	return all;
}

/* What is stored for a sum, once all is in it. */
static uint32_t complete(uint32_t sum)
{
	return sum == 0xffff ? 0xffff : ~sum & 0xffff;
}

/* ---- what the two may ask for and take (5.1.3.1: everything needs the checksum) ---- */

static bool has(uint64_t features, unsigned bit)
{
	return features >> bit & 1;
}

static bool may_ask(uint64_t f, uint8_t type)
{
	bool ecn = !(type & VIRTIO_NET_HDR_GSO_ECN) || has(f, VIRTIO_NET_F_HOST_ECN);

	switch (type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return has(f, VIRTIO_NET_F_HOST_TSO4) && ecn;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return has(f, VIRTIO_NET_F_HOST_TSO6) && ecn;
	}
	if (type == VIRTIO_NET_HDR_GSO_UDP)
		return has(f, VIRTIO_NET_F_HOST_UFO);
	return type == 5 && has(f, 56); /* UDP_L4, HOST_USO */
}

static bool takes(uint64_t f, uint8_t type, bool ip6)
{
	bool ecn = !(type & VIRTIO_NET_HDR_GSO_ECN) || has(f, VIRTIO_NET_F_GUEST_ECN);

	switch (type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return has(f, VIRTIO_NET_F_GUEST_TSO4) && ecn;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return has(f, VIRTIO_NET_F_GUEST_TSO6) && ecn;
	}
	if (type == VIRTIO_NET_HDR_GSO_UDP)
		return has(f, VIRTIO_NET_F_GUEST_UFO);
	return has(f, ip6 ? 55 : 54); /* GUEST_USO6, GUEST_USO4 */
}

/* ---- headers ---- */

struct parsed {
	bool ip6;
	uint32_t l3, l4;
	uint32_t end;      /* of the TCP or UDP header */
	uint32_t fragable; /* IPv6: behind the last header that routers look at (RFC 8200, 4.5) */
	uint32_t next_at;  /* IPv6: the byte that says what stands there */
	uint8_t proto;
};

static bool parse_ip4(struct parsed *p, const uint8_t *at, uint32_t max)
{
	const uint8_t *ip = at + p->l3;

	if (p->l3 + 20 > max || ip[0] >> 4 != 4 || (ip[0] & 15) < 5)
		return false;
	if (get2(ip + 6) & 0xbfff) /* a fragment, or a reserved bit */
		return false;
	p->proto = ip[9];
	p->l4 = p->l3 + (ip[0] & 15) * 4;
	return p->l4 <= max;
}

static bool parse_ip6(struct parsed *p, const uint8_t *at, uint32_t max)
{
	uint32_t next_at = p->l3 + 6, here = p->l3 + 40;

	if (here > max || at[p->l3] >> 4 != 6)
		return false;
	p->fragable = here;
	p->next_at = next_at;
	/* hop-by-hop options, routing, destination options */
	while (at[next_at] == 0 || at[next_at] == 43 || at[next_at] == 60) {
		bool for_routers = at[next_at] != 60;

		if (here + 8 > max)
			return false;
		next_at = here;
		here += (at[here + 1] + 1) * 8;
		if (here > max)
			return false;
		if (for_routers) {
			p->fragable = here;
			p->next_at = next_at;
		}
	}
	p->proto = at[next_at];
	p->l4 = here;
	return true;
}

/* False: not what @type says. */
static bool parse(struct parsed *p, const uint8_t *at, uint32_t len, uint8_t type)
{
	uint32_t max = len < REF_HDR_MAX ? len : REF_HDR_MAX, ether;
	uint8_t plain = type & ~VIRTIO_NET_HDR_GSO_ECN;
	bool tcp = plain == VIRTIO_NET_HDR_GSO_TCPV4 || plain == VIRTIO_NET_HDR_GSO_TCPV6;
	unsigned tags;

	p->l3 = 14;
	ether = get2(at + 12);
	for (tags = 0; tags < 2 && (ether == 0x8100 || ether == 0x88a8); tags++) {
		ether = get2(at + p->l3 + 2);
		p->l3 += 4;
	}
	p->ip6 = ether == 0x86dd;
	if (!p->ip6 && ether != 0x0800)
		return false;
	if ((plain == VIRTIO_NET_HDR_GSO_TCPV4 && p->ip6) ||
	    (plain == VIRTIO_NET_HDR_GSO_TCPV6 && !p->ip6))
		return false;
	if (!(p->ip6 ? parse_ip6(p, at, max) : parse_ip4(p, at, max)))
		return false;
	if (p->proto != (tcp ? TCP : UDP))
		return false;
	p->end = p->l4 + 8;
	if (tcp) {
		if (p->l4 + 20 > max || at[p->l4 + 12] >> 4 < 5)
			return false;
		p->end = p->l4 + (at[p->l4 + 12] >> 4) * 4;
	}
	if (p->end > max)
		return false;
	return len - p->l3 <= 65535u + (p->ip6 ? 40 : 0); /* or no IP header could say it */
}

/* Of @len bytes of TCP or UDP. */
static uint32_t pseudo(const struct parsed *p, const uint8_t *at, uint32_t len)
{
	uint8_t rest[4] = {0, p->proto, len >> 8, len};
	uint32_t sum;

	sum = p->ip6 ? ref_sum(0, at + p->l3 + 8, 32) : ref_sum(0, at + p->l3 + 12, 8);
	return ref_sum(sum, rest, 4);
}

/* ---- what arrives ---- */

static struct ref_frame *add(struct ref_result *r, uint32_t len)
{
	struct ref_frame *f = &r->frame[r->n++];

	memset(f, 0, sizeof(*f));
	f->at = r->bytes + r->used;
	f->len = len;
	r->used += len;
	return f;
}

static void add_copy(struct ref_result *r, const uint8_t *at, uint32_t len)
{
	memcpy(add(r, len)->at, at, len);
}

/* Fills in the checksum that starts at @start and is stored at @store. */
static void fill(struct ref_frame *f, uint32_t start, uint32_t store)
{
	put2(f->at + store, complete(ref_sum(0, f->at + start, f->len - start)));
}

/* The lengths, and the IPv4 header's checksum. */
static void finish_ip(struct ref_frame *f, const struct parsed *p)
{
	uint8_t *ip = f->at + p->l3;

	if (p->ip6) {
		put2(ip + 4, f->len - p->l3 - 40);
		return;
	}
	put2(ip + 2, f->len - p->l3);
	put2(ip + 10, 0);
	put2(ip + 10, ~ref_sum(0, ip, (ip[0] & 15) * 4));
}

/* TCP segments and UDP datagrams: the layer 4 header stands before each. */
static void cut_segments(struct ref_result *r, const struct parsed *p, uint64_t to,
			 const struct virtio_net_hdr *hdr, const uint8_t *at, uint32_t len)
{
	uint32_t done, n, k = 0, store = p->l4 + (p->proto == TCP ? 16 : 6), seq;

	for (done = 0; done < len - p->end; done += n, k++) {
		struct ref_frame *f;
		uint8_t *l4;

		n = len - p->end - done;
		if (n > hdr->gso_size)
			n = hdr->gso_size;
		f = add(r, p->end + n);
		memcpy(f->at, at, p->end);
		memcpy(f->at + p->end, at + p->end + done, n);
		l4 = f->at + p->l4;
		if (!p->ip6)
			put2(f->at + p->l3 + 4, get2(at + p->l3 + 4) + k);
		finish_ip(f, p);
		if (p->proto == TCP) {
			seq = (get2(l4 + 4) << 16 | get2(l4 + 6)) + done;
			put2(l4 + 4, seq >> 16);
			put2(l4 + 6, seq);
			if (k) /* CWR is for the first, FIN and PSH are for the last */
				l4[13] &= ~0x80;
			if (p->end + done + n < len)
				l4[13] &= ~0x09;
		} else {
			put2(l4 + 4, f->len - p->l4);
		}
		put2(f->at + store, pseudo(p, f->at, f->len - p->l4));
		if (has(to, VIRTIO_NET_F_GUEST_CSUM)) {
			f->hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
			f->hdr.csum_start = hdr->csum_start;
			f->hdr.csum_offset = hdr->csum_offset;
		} else {
			fill(f, p->l4, store);
		}
	}
}

/* IP fragments of one UDP datagram, whose own header is completed first. */
static void cut_fragments(struct ref_result *r, const struct parsed *p,
			  const struct virtio_net_hdr *hdr, const uint8_t *at, uint32_t len)
{
	static uint8_t whole[REF_FRAME_MAX];
	uint32_t begin = p->ip6 ? p->fragable : p->l4; /* what is before it stands in each */
	uint32_t done, n, size = hdr->gso_size & ~7u, room = p->ip6 ? 8 : 0;
	struct ref_frame *f = NULL;

	memcpy(whole, at, len);
	put2(whole + p->l4 + 4, len - p->l4);
	put2(whole + p->l4 + 6, 0);
	put2(whole + p->l4 + 6,
	     complete(ref_sum(pseudo(p, at, len - p->l4), whole + p->l4, len - p->l4)));
	for (done = begin; done < len; done += n) {
		n = (done == begin ? p->l4 - begin : 0) + size;
		if (n > len - done)
			n = len - done;
		f = add(r, begin + room + n);
		memcpy(f->at, whole, begin);
		memcpy(f->at + begin + room, whole + done, n);
		if (p->ip6) {
			uint8_t *fragment = f->at + begin;

			memset(fragment, 0, 8);
			fragment[0] = f->at[p->next_at];
			f->at[p->next_at] = 44;
			put2(fragment + 2, (done - begin) | (done + n < len));
			f->id_at = begin + 4;
		} else {
			put2(f->at + p->l3 + 6, (done - begin) / 8 | (done + n < len ? 0x2000 : 0));
		}
		finish_ip(f, p);
	}
}

static enum ref_verdict pass_gso(struct ref_result *r, uint64_t from, uint64_t to,
				 struct virtio_net_hdr *hdr, const uint8_t *at, uint32_t len)
{
	bool ufo = hdr->gso_type == VIRTIO_NET_HDR_GSO_UDP;
	uint32_t payload, size = ufo ? hdr->gso_size & ~7u : hdr->gso_size;
	struct parsed p = {0};

	if (!may_ask(from, hdr->gso_type) || !parse(&p, at, len, hdr->gso_type))
		return REF_BAD_OFFLOAD;
	if (hdr->csum_start != p.l4 || hdr->csum_offset != (p.proto == TCP ? 16 : 6))
		return REF_BAD_OFFLOAD;
	payload = len - (ufo ? p.l4 : p.end);
	if (!size || payload > size * REF_CUTS_MAX)
		return REF_BAD_OFFLOAD;
	hdr->hdr_len = p.end;
	if (payload <= hdr->gso_size) { /* nothing to be cut */
		hdr->gso_type = hdr->gso_size = hdr->hdr_len = 0;
	} else if (!has(to, VIRTIO_NET_F_GUEST_CSUM) || !takes(to, hdr->gso_type, p.ip6)) {
		if (ufo)
			cut_fragments(r, &p, hdr, at, len);
		else
			cut_segments(r, &p, to, hdr, at, len);
	}
	return REF_PASSES;
}

enum ref_verdict ref_pass(struct ref_result *r, uint64_t from, uint64_t to,
			  const struct virtio_net_hdr *hdr, const uint8_t *at, uint32_t len)
{
	struct virtio_net_hdr h = *hdr;
	uint32_t store = (uint32_t)h.csum_start + h.csum_offset;
	enum ref_verdict verdict;

	r->n = r->used = 0;
	if (len < 14)
		return REF_SHORT_FRAME;
	h.flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM; /* 5.1.6.2.2: others are to be ignored */
	if (!h.flags) {
		if (h.gso_type)
			return REF_BAD_OFFLOAD;
		add_copy(r, at, len);
		return REF_PASSES;
	}
	if (!has(from, VIRTIO_NET_F_CSUM) || h.csum_start < 34 || store + 2 > len ||
	    store + 2 > REF_HDR_MAX)
		return REF_BAD_OFFLOAD;
	if (!h.gso_type) {
		h.gso_size = h.hdr_len = 0;
	} else {
		verdict = pass_gso(r, from, to, &h, at, len);
		if (verdict || r->n)
			return verdict;
	}
	add_copy(r, at, len);
	if (has(to, VIRTIO_NET_F_GUEST_CSUM))
		r->frame[0].hdr = h;
	else
		fill(&r->frame[0], h.csum_start, store);
	return REF_PASSES;
}
